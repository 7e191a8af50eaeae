"""Who the chosen are: lines that are beyond chance, and that name nobody."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from propensity.trying.first_look.reading import read_table
from propensity.trying.first_look.table import look_at_table
from propensity.trying.first_look.who import Trait, traits_text, who_they_are
from propensity.usecases.declaration import Telling

USERS = 3_000
LAST_VISIT = Telling(phrase="Last visit", unit="days ago")


def drawn(seed: int, users: int = USERS) -> pd.DataFrame:
    """Features of users that have nothing to do with each other."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "recency": random.integers(0, 90, users).astype("float64"),
            "purchases": random.poisson(0.5, users).astype("float64"),
            "spent": random.gamma(1, 40, users),
            "gaps": np.where(random.random(users) < 0.4, np.nan, 3.0),
            "city": random.choice(["Porto", "Faro", "Braga", "Lisboa"], users),
        }
    )


TELLINGS = {
    "recency": LAST_VISIT,
    "purchases": Telling(phrase="Purchases", unit="count"),
    "spent": Telling(phrase="Spent", unit="EUR"),
    "gaps": Telling(),
    "city": Telling(phrase="City"),
}


def told(frame: pd.DataFrame, chosen: np.ndarray) -> list[Trait]:
    tellings = {name: TELLINGS.get(name, Telling()) for name in frame}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return who_they_are(table, chosen, tellings)


def test_what_decides_comes_first_with_shares_as_one_counts_them():
    """An edge is a fixed one, and a feature has one line."""
    frame = drawn(0)
    odds = 3 * (frame["recency"] <= 7) + 2 * (frame["city"] == "Porto") - 3
    noise = np.random.default_rng(1).logistic(0, 1, USERS)
    chosen = (odds + noise > 0).to_numpy()
    lines = told(frame, chosen)
    recent = frame["recency"] <= 7
    porto = frame["city"] == "Porto"

    assert [line.words for line in lines] == [
        "Last visit at most 7 days ago",
        "City Porto",
    ]
    for line, is_so in zip(lines, (recent, porto), strict=True):
        assert line.chosen == f"{100 * is_so[chosen].mean():.0f}%"
        assert line.others == f"{100 * is_so[~chosen].mean():.0f}%"
    first = f"{lines[0].chosen} (of the others {lines[0].others})."
    assert traits_text(lines).startswith(f"Last visit at most 7 days ago: {first}")


def test_where_nothing_differs_hardly_any_table_has_a_line():
    """200 tables, each so small that shares differ by chance: at 5% there are ten."""
    users = 600
    with_lines = 0
    for seed in range(200):
        chosen = np.random.default_rng(1_000 + seed).random(users) < 0.25
        with_lines += bool(told(drawn(seed).head(users), chosen))

    assert with_lines <= 10


def test_a_share_of_fewer_than_20_people_is_never_told():
    """Nor of those who are not so. It is a bound, in whole percents."""
    chosen = np.arange(USERS) < 500
    recency = np.where(chosen, 2.0, 60.0)
    recency[:5] = 60
    recency[-7:] = 2
    [line] = told(drawn(0)[["recency"]].assign(recency=recency), chosen)

    assert (line.chosen, line.others) == ("more than 96%", "fewer than 1%")


@pytest.mark.parametrize(
    "value", ["ana@example.com", "order 1234567", "x" * 41], ids=["mail", "id", "long"]
)
def test_a_value_that_may_be_a_persons_is_no_line(value):
    chosen = np.arange(USERS) < 500
    others = np.where(np.arange(USERS) % 10 == 0, value, "Faro")
    frame = pd.DataFrame({"city": np.where(chosen, value, others)})

    assert not any(value in line.words for line in told(frame, chosen))


def test_a_value_is_text_in_the_report():
    """Who the best tenth of the test set are stands there and under Use."""
    random = np.random.default_rng(0)
    city = random.choice(["<b>Porto</b>", "Faro"], 4_000)
    bought = random.random(4_000) < np.where(city == "Faro", 0.1, 0.5)
    visits = random.integers(0, 9, 4_000)
    frame = pd.DataFrame({"city": city, "visits": visits, "bought": bought})
    frame["customer"] = [f"c{n}" for n in range(4_000)]
    look = look_at_table(read_table(frame, label="bought", user="customer"))

    [told_last] = [line for line in repr(look).splitlines() if line.startswith("Who")]
    assert "best 10% of the test set: " in told_last
    assert "city <b>Porto</b>: " in told_last
    assert "city &lt;b&gt;Porto&lt;/b&gt;" in look.page()
    assert "<b>Porto" not in look.page()
