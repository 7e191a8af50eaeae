"""The page of a model: readable everywhere, complete, and safe with any data."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest

from propensity.learning import thresholds
from propensity.learning.report.page import training_page
from propensity.learning.report.worth import worth
from propensity.pages.words import compact
from tests.propensity.learning.model_cards import (
    CARDS,
    VALUE,
    blank,
    hostile_card,
    model_card,
    rows,
)
from tests.propensity.learning.report_pages import parse, pictures

LARGEST_PAGE = 300_000


@pytest.fixture(params=CARDS, name="page")
def rendered(request: pytest.FixtureRequest) -> str:
    """Render a card of each sort."""
    return training_page(CARDS[request.param]())


def test_a_page_is_well_formed(page: str) -> None:
    """Elements close in order and SVG is XML, whatever is in the data."""
    parser = parse(page)

    assert page.startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in parser.tags].count("h1") == 1
    assert not [m for m in re.findall(r"\$\w+|\$\{", page) if m not in {"${", "$body"}]
    for picture in pictures(page):
        assert picture[0].tag == "title"
        assert picture[0].text
        assert picture[1].tag == "desc"
        assert picture[1].text


def test_a_page_needs_nothing_but_itself(page: str) -> None:
    """No script, no address, no import: it reads the same without a network."""
    parser = parse(page)
    allowed = {"href": "data:,"}

    for tag, attributes in parser.tags:
        assert tag not in {"script", "img", "iframe", "object", "embed", "a", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert value == allowed[name]
    style = "".join(re.findall(r"<style>.*?</style>", page, re.S))
    assert "@import" not in style
    assert "url(" not in style
    assert "http" not in style


def test_tables_have_captions_and_headers(page: str) -> None:
    """Each says what it holds, and each row begins with its name."""
    for table in re.findall(r"<table>.*?</table>", page, re.S):
        assert re.match(r"<table><caption><span>[^<]+", table)
        for row in re.findall(r"<tr.*?</tr>", table, re.S):
            assert re.match(r'<tr[^>]*><th scope="(col|row)"', row)


def test_no_two_tables_of_a_page_have_one_name() -> None:
    """Somebody who hears the page can tell them apart."""
    labels = re.findall(r'aria-label="(.*?)"', training_page(model_card()))

    assert len(labels) == len(set(labels)) > 10


def test_a_page_is_the_same_each_time() -> None:
    """It depends on the card alone, leaves it as it was, and is the same of the card in
    the bucket."""
    card = model_card()
    before = copy.deepcopy(card)

    assert training_page(card) == training_page(json.loads(json.dumps(card)))
    assert card == before


def test_names_from_data_are_text_only() -> None:
    """Nothing of a hostile name becomes markup; it is readable as it was."""
    page = training_page(hostile_card())
    parser = parse(page)
    words = "".join(parser.words)

    assert '<script>alert("1")</script>&amp;\'`]]>-->' in words
    assert "${x} $body" in words
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202e\ud800\uffff]", page)
    assert page.encode("utf-8")
    assert "script" not in {tag for tag, _ in parser.tags}


def test_the_page_begins_with_the_answer() -> None:
    """One plain sentence says how good the model is."""
    page = training_page(model_card())

    assert (
        "<h1>Of the 10% of users ranked highest, 32.1% went on to buy within 7 days, "
        "3.1 times the average.</h1>"
    ) in page
    assert "it ranks the right one higher 72 times in 100" in page
    assert "On average it promised that 10.2% buy; it was 10.4%." in page


def test_the_page_speaks_of_the_use_case_s_outcome() -> None:
    """Users buy or leave; nobody "converts" who does not."""
    sampled = {"positive_sampling_rate": 0.5, "negative_sampling_rate": 0.1}
    card = model_card(title="Churn", outcome="do not come back", **sampled)
    page = training_page(card)
    words = " ".join(parse(page).words)

    assert not re.search(r"conver|\bbuy\b", page.lower())
    assert "Who do not come back" in words
    assert "those who do not come back" in words
    assert "50.0% of the rows of users who do not come back" in words


def test_sizes_of_groups_are_written_as_they_are() -> None:
    """A tenth of 703 users is 70.3, and a rate is of that."""
    card = model_card()
    card["quality"]["lift"][0] |= {"users": 70.3, "conversions": 70.3}
    words = parse(training_page(card)).words

    assert words.count("70.3") == 2
    assert "100.0%" in words


def test_the_top_group_is_the_one_with_the_highest_probabilities() -> None:
    """However the groups are numbered."""
    card = model_card()
    for decile in card["quality"]["lift"]:
        decile["decile"] = 11 - decile["decile"]

    assert "32.1% went on to buy" in training_page(card)


def test_a_top_group_without_a_conversion_has_a_lift_of_zero() -> None:
    """Defect: its tile had the dash of what is not known."""
    card = model_card()
    card["quality"]["lift"][0] |= {"conversions": 0, "rate": 0.0, "lift": 0.0}

    assert "0.0×" in parse(training_page(card)).words


def written(value: float) -> set[str]:
    """Give the ways in which a page may write a number."""
    plain = {f"{value:.{places}f}" for places in range(1, 5)}
    shares = {f"{100 * value:.{places}f}%" for places in (1, 2)}
    whole = {f"{value:,.0f}"} if float(value).is_integer() else set()
    return plain | shares | whole | {compact(value), str(value)}


def figures(value: Any) -> Iterator[float]:
    """Walk over the numbers of a part of a card."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from figures(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_every_number_of_the_card_is_on_the_page() -> None:
    """Outside of curves, histograms and the map of correlations, all are written."""
    card = model_card()
    dataset = card["dataset"]
    words = " ".join(parse(training_page(card)).words)
    tokens = set(re.findall(r"[\w.,%\u2212]*[\w%]", words)) | set(words.split())
    tokens = {token.replace("\u2212", "-") for token in tokens}
    shown = {
        key: part for key, part in card.items() if key not in {"curves", "dataset"}
    }
    shown["correlations"] = dataset["correlations"]["rows"]
    for key in ("as_ofs", "categories", "rows", "users", "conversions", "base_rate"):
        shown[key] = dataset[key]
    shown["numbers"] = [
        {k: v for k, v in number.items() if k not in {"histogram", "infinite"}}
        for number in dataset["numbers"]
    ]
    lost = [
        (key, value)
        for key, part in shown.items()
        for value in figures(part)
        if not {w.replace("\u2212", "-") for w in written(value)} & tokens
    ]

    assert lost == []
    for name in dataset["correlations"]["features"]:
        assert name in words
    for artifact in card["artifacts"]:
        assert artifact["object"] in words
        assert artifact["sha256"] in words


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Walk over the places of a card's numbers."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def test_no_number_of_the_card_is_ignored() -> None:
    """Changing any one changes the page."""
    card = model_card(rows(400, numbers=2))
    for name in ("roc", "pr"):
        card["curves"][name] = card["curves"][name][::50]
    for number in card["dataset"]["numbers"]:
        # Labels are drawn apart where there are two; ticks name three of the edges.
        del number["histogram"]["share"]
        n_edges = len(number["histogram"]["edges"])
        number["histogram"]["edges"] = list(range(n_edges))
    # Half of a symmetric matrix is drawn.
    card["dataset"]["correlations"]["matrix"] = [[None, None], [0.4, None]]
    before = training_page(card)
    ignored = []
    for path in list(leaves(card)):
        place: Any = card
        for key in path[:-1]:
            place = place[key]
        number = place[path[-1]]
        place[path[-1]] = number * 0.5 + 0.21
        if training_page(card) == before:
            ignored.append(path)
        place[path[-1]] = number

    between = [path for path in ignored if path[-2] == "edges"]
    assert len(between) == len([p for p in leaves(card) if p[-2:-1] == ("edges",)]) - 6
    sizes = [path for path in ignored if path[-1] == "users" and "curves" in path]
    assert [path for path in ignored if path not in between + sizes] == []


@pytest.mark.parametrize(
    ("budget", "best"), [("10%", "the best 10%, 312 users,"), ("312", "the 312 best,")]
)
def test_what_comes_of_acting_on_some_is_said_in_words(budget: str, best: str) -> None:
    """Of a number or a share of the best, and from the best threshold on."""
    card = model_card()
    card["quality"]["budget"] = budget
    words = " ".join(" ".join(parse(training_page(card)).words).split())

    assert (
        f"Of {best} 98.5 went on to buy: precision 31.6%, which is 3.0 times the base "
        "rate." in words
    )
    assert (
        "0.143 was the threshold with the best F1 on earlier rows. Of the 537 users "
        "from there on, 134 went on to buy: precision 24.9%, which is 2.4 times the "
        "base rate." in words
    )


@pytest.mark.parametrize(("hits", "says_little"), [(43, True), (143, False)])
def test_a_fixed_threshold_stands_beside_them(hits: int, says_little: bool) -> None:
    """Marked as saying little where hardly any calibrated probability reaches it."""
    card = model_card()
    card["quality"]["true_positives"] = hits
    words = " ".join(" ".join(parse(training_page(card)).words).split())

    row = "From 0.470 on, says little" if says_little else "From 0.470 on"
    assert f"{row} {hits + 28} {hits} 60.6%" in words
    assert ("The fixed threshold 0.470 says little here" in words) is says_little
    assert ("hardly reach it. 71 users did." in words) is says_little
    assert ("at 0.470 say little here" in words) is says_little


def test_a_budget_never_holds_more_outcomes_than_rows() -> None:
    """A tenth of 703 users is 70.3, all of whom may buy: 70.3 of 70.3, not of 70."""
    card = model_card()
    card["quality"] |= {
        "users_at_budget": 70.3,
        "true_positives_at_budget": 70.3,
        "precision_at_budget": 1.0,
    }
    words = " ".join(parse(training_page(card)).words)

    assert "Of the best 10%, 70.3 users, 70.3 went on to buy: precision 100.0%" in words


def test_a_table_says_how_many_of_its_rows_are_left_out() -> None:
    """Of features at the top, and of correlated pairs; nothing where all are shown."""
    data = rows(400, numbers=37)
    many = " ".join(parse(training_page(model_card(data))).words)
    few = " ".join(parse(training_page(model_card(rows(400, numbers=3)))).words)

    assert "with its 95% interval. 12 of 39 shown." in many
    assert re.search(r"what the other does\. 8 of \d{2,} shown\.", many)
    assert "shown." not in few


def test_a_card_from_before_such_figures_has_a_page() -> None:
    """An older version's page says that they were not measured."""
    card = model_card()
    for name in thresholds.COLUMNS:
        card["quality"].pop(name)
    page = training_page(card)

    assert "Not measured for this version" in page


def test_a_holdout_of_one_class_says_why_figures_are_missing() -> None:
    """A dash, and the reason beside it."""
    card = model_card()
    counts = {"users": 60, "conversions": 0, "base_rate": 0.0, "true_negatives": 60}
    card["quality"] = blank(card["quality"]) | counts | {"lift": []}
    card["curves"] = {"roc": [], "pr": [], "calibration": []}
    page = training_page(card)

    assert "could not be measured: nobody in the holdout is of label 1" in page
    assert "no user is above the threshold" in page
    assert "No curve: nobody in the holdout is of label 1" in page
    assert "nan" not in page.lower().split()


def test_a_training_set_of_one_class_is_drawn() -> None:
    """Histograms show the one class there is; features of nulls say so."""
    table, features = rows(300)
    table = table.set_column(
        table.column_names.index("label"), "label", pa.array([0] * 300)
    )
    table = table.append_column("null_number", pa.nulls(300, pa.float64()))
    table = table.append_column("null_category", pa.nulls(300, pa.string()))
    features |= {"null_number": "number", "null_category": "category"}
    page = training_page(model_card((table, features)))
    drawn = [p for p in pictures(page) if p[0].text == "Distribution of number_0"]

    assert [path.get("class") for path in drawn[0].iter("path")] == ["fill-0", "axis"]
    assert "It has no finite value." in page
    assert "It has no value." in page
    parse(page)


def test_a_first_model_has_nobody_to_be_compared_with() -> None:
    """The page says so, and says when it was not promoted."""
    verdict = {"promoted": False, "reason": "too few rows", "compared_version": None}
    page = training_page(model_card(verdict=verdict))

    assert "There was no champion to compare it with." in page
    assert "<b>Verdict: do not promote.</b> Too few rows." in page


@pytest.mark.parametrize("numbers", [34, 90])
def test_a_page_stays_small(numbers: int) -> None:
    """With dozens of features it can still be sent by mail."""
    card = model_card(rows(numbers=numbers))

    assert len(training_page(card).encode()) < LARGEST_PAGE


def test_what_users_are_worth_has_sums():
    page = training_page(model_card(value=VALUE))

    assert "What users are worth" in page
    for shown in ("98,539.38", "105,386.07"):
        assert shown in page


def test_what_users_are_worth_is_not_on_the_page_of_a_version_without_amounts():
    assert worth(model_card()) is None
    assert "What users are worth" not in training_page(model_card())


@pytest.mark.parametrize("name", [*VALUE])
def test_a_figure_of_what_users_are_worth_that_is_missing_is_a_dash(name):
    """As where nobody of the holdout paid anything."""
    page = training_page(model_card(value={**VALUE, name: None}))

    assert "What users are worth" in page
    assert "None" not in page.split("What users are worth")[1].split("</section>")[0]
