"""Tables as strangers have them, drawn: columns of any kind, with any gaps."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from propensity.table_files import files as table_files
from propensity.usecases import Candidate

Draw = Callable[[np.random.Generator, pd.Series], Any]
MONTHS = pd.date_range("2025-01-01", periods=8, freq="MS")
# One candidate that is fitted at once: tables are drawn for how they are read.
QUICK = [Candidate("lr", "LogisticRegression")]
_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def _texts(form: str) -> Draw:
    """Return a draw of dates before the rows' times, as texts of a form."""

    def draw(random: np.random.Generator, months: pd.Series) -> Any:
        return _days(random, months).map(
            lambda day: form.format(
                day=day, thai=day.year + 543, taiwan=day.year - 1911,
                hijri=day.year - 579, reiwa=day.year - 2018,
            )
        )  # fmt: skip

    return draw


def _days(random: np.random.Generator, months: pd.Series) -> pd.Series:
    return months - pd.to_timedelta(random.integers(3, 200, len(months)), "D")


def _choice(*values: Any, p: Sequence[float] | None = None) -> Draw:
    def draw(random: np.random.Generator, months: pd.Series) -> Any:
        return pd.Series(values, dtype="object").iloc[
            random.choice(len(values), len(months), p=p)
        ]

    return draw


def _numbers(write: Callable[[float], Any]) -> Draw:
    return lambda random, months: [write(v) for v in random.gamma(2, 30, len(months))]


# What a column holds, beside its gaps.
KINDS: Mapping[str, Draw] = {
    "number": _numbers(float),
    "whole": _numbers(int),
    "decimal": _numbers(lambda value: Decimal(f"{value:.2f}")),
    "large": _numbers(lambda value: 1e9 * value**9),
    "text of a number": _numbers("{:.2f}".format),
    "decimal comma": _numbers(lambda value: f"{value:.2f}".replace(".", ",")),
    "money": _numbers("{:.2f} EUR".format),
    "arabic digits": _numbers(lambda value: f"{value:.0f}".translate(_ARABIC)),
    "grouped by four": _numbers(lambda value: f"{value:.0f},{value * 99:04.0f}"),
    "ids": lambda random, months: random.permutation(10**6 + np.arange(len(months))),
    "code": _numbers("{:05.0f}".format),
    "truth": _choice(True, False),
    "few": _choice(0, 1, 2),
    "one value": _choice("NL"),
    "category": _choice("basic", "plus", "pro"),
    "spellings": _choice("Köln", unicodedata.normalize("NFD", "Köln"), " KÖLN "),
    "words beside a number": _choice("basic", "2", "pro", p=[0.7, 0.2, 0.1]),
    "a word for a gap": _choice("k.A.", "12.5", "3", "7.25", p=[0.7, 0.1, 0.1, 0.1]),
    "prose": lambda random, months: [f"note {n}" for n in random.random(len(months))],
    "typed day": _days,
    "moment": lambda random, months: _days(random, months).dt.tz_localize("Asia/Tokyo"),
    "date": lambda random, months: _days(random, months).dt.date,
    "period": lambda random, months: _days(random, months).dt.to_period("M"),
    "span": lambda random, months: months - _days(random, months),
    "future": lambda random, months: months + (months - _days(random, months)),
    "day of a text": _texts("{day:%Y-%m-%d}"),
    "day of Germany": _texts("{day:%d.%m.%Y}"),
    "day of Islam": _texts("{hijri}/{day:%m/%d}"),
    "day of Thailand": _texts("{day:%d/%m}/{thai}"),
    "day of Taiwan": _texts("{taiwan}/{day:%m/%d}"),
    "day of Japan": _texts("令和{reiwa}年{day.month}月{day.day}日"),
    "arabic day": _texts("{day:%Y}-{day:%m}-{day:%d}"),
    "packed": lambda random, months: pd.Categorical(_choice("a", "b")(random, months)),
    "list": lambda random, months: [[n] for n in random.integers(0, 3, len(months))],
}
GAPS = (
    "full", "full", "full", "empty", "before", "after", "by label", "open", "but three",
    "random",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A table, how it is stored, and the options that it is tried with."""

    frame: pd.DataFrame
    form: str
    options: Mapping[str, Any]

    def read(self, folder: Path) -> Any:
        return stored(self.frame, self.form, folder / "table")


def stored(frame: pd.DataFrame, form: str, path: Path) -> Any:
    """Return a table as it is read from a file of a form, or as a data frame."""
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        return frame
    return table_files.read_file(path, [])


def table(seed: int) -> Drawn:
    """Draw a table of users and months."""
    random = np.random.default_rng(seed)
    users = int(random.integers(10, 60))
    months = pd.Series(np.repeat(MONTHS, users))
    visits = random.poisson(4, len(months))
    label = pd.Series(
        np.where(random.random(len(months)) < 1 / visits.clip(2), 1.0, 0.0)
    )
    is_open = pd.Series(False, index=months.index)
    if random.random() < 0.5:
        is_open = months == MONTHS[-1]
    frame = pd.DataFrame(
        {
            "user": [f"u{n % users}" for n in months.index],
            "month": months.dt.strftime("%Y-%m"),
            "label": label.mask(is_open),
            "visits": visits,
        }
    )
    names = random.choice(list(KINDS), random.integers(1, 5), replace=False)
    for name in names:
        values = pd.Series(KINDS[name](random, months)).set_axis(frame.index)
        gaps = _gaps(random, months, label == 1, is_open)[str(random.choice(GAPS))]
        frame[name] = values.mask(gaps)
    if random.random() < 0.3:
        frame = frame.sample(frac=1, random_state=int(random.integers(99)))
        frame = frame.reset_index(drop=True)
    form = str(random.choice(["csv", "parquet", "frame"]))
    return Drawn(frame=frame, form=form, options=_options(random, names))


def _gaps(
    random: np.random.Generator,
    months: pd.Series,
    is_one: pd.Series,
    is_open: pd.Series,
) -> dict[str, pd.Series]:
    """Return which rows have no value, by why."""
    first = pd.Series(months.index < 3, months.index)
    return {
        "full": pd.Series(False, months.index),
        "empty": pd.Series(True, months.index),
        "before": months < MONTHS[-int(random.integers(1, 4))],
        "after": months >= MONTHS[-int(random.integers(1, 4))],
        "by label": ~is_one,
        "open": is_open,
        "but three": ~first,
        "random": pd.Series(random.random(len(months)) < 0.5, months.index),
    }


def _options(random: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    """Draw options of ``try``, each of which may be left out."""
    options = dict[str, Any](label="label", candidates=QUICK)
    if random.random() < 0.8:
        options["time"] = "month"
        if random.random() < 0.2:
            options["horizon_days"] = int(random.choice([1, 20, 40]))
        if random.random() < 0.2:
            options["test_times"] = int(random.choice([1, 2, 7]))
    if "time" in options or random.random() < 0.5:
        options["user"] = "user"
    for option in ("categories", "without", "plans"):
        if random.random() < 0.1:
            options[option] = [str(random.choice(names))]
    if random.random() < 0.2:
        options["missing"] = ["k.A.", "basic"]
    if random.random() < 0.2:
        options["outcome"] = str(random.choice(["1", "0", "2"]))
    return options


def campaign(seed: int, users: int | None = None) -> pd.DataFrame:
    """Draw an experiment of a few hundred users, or of so many."""
    random = np.random.default_rng(seed)
    drawn = int(random.integers(700, 1_200))
    if users is None:
        users = drawn
    visits = random.poisson(4, users)
    is_mailed = random.random(users) < 0.5
    rate = 0.1 + 0.02 * visits + is_mailed * random.choice([-0.15, 0.0, 0.1])
    return pd.DataFrame(
        {
            "user": [f"u{n}" for n in range(users)],
            "visits": visits,
            "city": random.choice(["a", "b", "c"], users),
            "mail": np.where(is_mailed, "spring", "none"),
            "bought": (random.random(users) < rate).astype(int),
        }
    )
