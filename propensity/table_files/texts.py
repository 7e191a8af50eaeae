"""
What the texts of a stranger's table mean: numbers, times, truths, gaps, ids.

A column is read as a whole. What is clean is read by Arrow at once; of the rest each
different text is read once. ``try`` decides by most of the texts what a column is;
where a table declares a type, its texts are read by the same rules. Errors name column,
row and value, and say what to do. Rows are counted from 1.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.errors import SchemaError
from propensity.ids import INEXACT

# Spreadsheets, databases and data frames write these where a value is not known.
GAPS = r"n/?a|#n/a|<na>|nan|nat|null|none|[?.-]|\\n|0000-00-00( 00:00:00)?"
_GAP = re.compile(GAPS, re.IGNORECASE)
# A spreadsheet's way to keep a text from becoming a number: ="00029", or '00029.
_KEPT_AS_TEXT = r"""^(?:=\s*\(?"(.*)"\)?|'(\d+))$"""
# Numbers as programs write them, but for codes.
_PLAIN = r"^-?((0|[1-9]\d{0,15})(\.\d+)?|\d(\.\d+)?[eE][-+]\d+)$"
_WHOLE = r"^-?(0|[1-9]\d{0,15})$"
# A number with a decimal comma, and one whose comma can be nothing else.
WITH_COMMA = r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?([eE][-+]\d+)?"
_DECIMAL_COMMA = r"[-+]?([\d.]*\.\d{3},\d+|0,\d+|\d+,(\d{1,2}|\d{4,}|\d+[eE][-+]\d+))"
# Numbers for people: with a currency, brackets, thousands' separators, a percent sign.
_SIGNS = r"[-+\u2010-\u2015\u2212()%\u2030'\s$€£¥₹₩₽₺₴₪฿₫₱¢]*"
_MONEY = (
    r"(?:[a-z]{1,2}\$|eur|euros?|usd|dollars?|gbp|chf|jpy|cny|inr|aud|cad|nzd|sek|nok|"
    r"dkk|pln|czk|huf|ron|bgn|try|brl|mxn|zar|sgd|hkd|krw|ils|aed|sar|thb|idr|myr|php|"
    r"rub|uah|kr|zł|kč|ft|lei|tl|rs|r|fr|s?fr|cr|dr"
)
# Thousands and millions are behind a number: k6 is a name.
_BEHIND = (
    rf"{_MONEY}|[tkm]|mio|mrd|mn|bn|thousand|million|billion|lakhs?|lacs?|crores?)?\.?"
)
_MONEY += r")?\.?"
_DIGITS = (
    r"(?:\d{1,3}(?:[,.\s'’]?\d{3})*|\d{1,4}(?P<apart>[,_٬])\d{2,4}(?:(?P=apart)\d{2,4})*|"
    r"\d+)(?:[.,]\d+)?"
)
# Arabic and full-width signs of decimals.
_DECIMAL_SIGNS = str.maketrans("٫．，", "..,")
WRITTEN = rf"(?i){_SIGNS}{_MONEY}{_SIGNS}{_DIGITS}{_SIGNS}{_BEHIND}{_SIGNS}"
# Account numbers, and numbers of 17 digits, of which a number would lose some.
_CODE = r"\d+[eE]\d+|\d{17,}"
# Postcodes and telephone numbers, unless the column has negative numbers.
_CODE_WITHOUT_MINUS = r"0\d+|\+\d{4,}"
# Numbers of goods and accounts that somebody keeps as texts.
_CODE_AS_TEXT = r"=\s*\(?\"\d{8,}\""
# If so many of a column's numbers are written as codes, all are codes.
FEW = 0.05
# Values of a label, and their opposites.
PAIRS = {"1": "0", "yes": "no", "y": "n", "ja": "nein", "true": "false", "t": "f"}

ISO = "%Y-%m-%d"
# Days as texts, beside the time of day, which says how far its clock is from UTC.
_DAYS = (
    ISO, "%Y%m%d", "%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y",
    "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%d-%b-%Y", "%d-%b-%y", "%b-%d-%Y",
    "%Y-%b-%d", "%b-%d-%y", "%Y-%m", "%m-%Y", "%b-%Y", "%Y-%b", "%b-%y", "%m.%Y",
    "%d%b%Y", "%d%b%y", "%Y-%j",
)  # fmt: skip
# Other digits and points are numbers or versions.
_SHAPES = {
    "%Y%m%d": r"(19|20)\d{6}",
    "%d.%m.%y": r"\d\d\.\d\d\.\d\d",
    "%Y.%m.%d": r"(19|20)\d\d\.\d\d?\.\d\d?",
    "%m.%Y": r"\d\d?\.(19|20)\d\d",
    "%Y-%m": r"\d{4}-\d\d?",
    "%Y-%j": r"(19|20)\d\d-\d{3}",
}
_MAY_BE_A_DAY = r"^((19|20)\d{6}(\d{6})?|\d\d?\.(19|20)\d\d)$"
# Days that are numbers by their type lie between these.
DIGITS = (19_000_101, 20_991_231)
_ZONE = (
    r"(?:\s*(?P<zone>Z|(?:UTC|GMT)?\s?[-+]\d\d(?::?\d\d)?(?::?\d\d)?|[a-z]{2,5}|"
    r"[a-z]+/[a-z_/]+))?(?:\s*\([^)]*\))?"
)
_CLOCK = re.compile(
    # From the first of several blanks alone: from each, it would grow by squares.
    r"(?P<day>.*?)(?:(?<![T\s,])[T\s,]+|-(?=\d\d\.)|:(?=\d\d:))(?:(?:at|um)\s+)?"
    r"(?P<hour>\d\d?)[:.h](?P<minute>\d\d)(?:[:.](?P<second>\d\d(?:[.,:]\d+)?))?"
    r"(?:\s*(?P<half>[ap])\.?\s?m\.?|\s*uhr)?" + _ZONE,
    re.IGNORECASE,
)
_COMPACT = re.compile(
    r"(?P<day>.*\d)T(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d(?:[.,]\d+)?)"
    r")?)?(?P<half>)" + _ZONE,
    re.IGNORECASE,
)
# Sat Mar 01 10:15:30 UTC 2025, and a week or month as its first and last day.
_YEAR_LAST = re.compile(
    r"(?:[a-z]{3,9}\.?,?\s+)?([a-z]{3})\s+(\d\d?)\s+([\d:.]+)(\s+[-+a-z\d:]+)?\s+(\d{4})",
    re.IGNORECASE,
)
# Dates by years of a reign, of Taiwan, of Thailand or of Islam: R7.3.1, 114/03/01.
_OTHER_CALENDAR = re.compile(
    r"(?P<era>[MTSHR]\.?|[^\W\d_]{2}(?=\d+年))?\s?(?P<first>\d{1,4})\s?(?P<apart>[./年-])"
    r"\s?(?P<month>\d{1,2})\s?[./月-]\s?(?P<last>\d{1,4})\s?日?"
)
# With the name of a month: 7 Tishrei 5784, 7 มี.ค. 2567.
_OTHER_MONTH = re.compile(r"\d{1,2}[\s-]\D{2,15}[\s-](1[34]|2[456]|5[78])\d\d")
_ALL_DIGITS = re.compile(r"^((?:19|20)\d{6})(\d{6})$")
_SPAN = re.compile(r"(\d{4}-\d\d-\d\d)/\d{4}-\d\d-\d\d")
_WEEKDAY = re.compile(
    r"^(?:[^\W\d_]+\.?,\s*|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?\s+)"
)
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th|er|º|\.)(?=[\s,/-]|$)")
_QUARTER = re.compile(
    r"(?:(?P<year>\d{4})-?(?P<unit>[qw])-?(?P<count>\d\d?)|"
    r"(?:q(?P<first>[1-4])-?|(?P<digit>[1-4])q-?)(?P<last>\d{4}))"
)
# Names of months in seven languages, without accents; of four letters and more they may
# be cut off. Shorter ones are these alone: others are words as well, such as set.
_MONTHS = {
    "jan": "january januar janner janvier enero gennaio janeiro januari",
    "feb": "february februar fevrier febrero febbraio fevereiro februari",
    "mar": "march marz mars marzo marco maart",
    "apr": "april avril abril aprile",
    "may": "may mai mayo maggio maio mei",
    "jun": "june juni juin junio giugno junho",
    "jul": "july juli juillet julio luglio julho",
    "aug": "august aout agosto augustus",
    "sep": "september septembre septiembre settembre setembro",
    "oct": "october oktober octobre octubre ottobre outubro",
    "nov": "november novembre noviembre novembro",
    "dec": "december dezember decembre diciembre dicembre dezembro",
}
_SHORT_MONTHS = {
    "mrz": "mar", "mrt": "mar", "mai": "may", "mei": "may", "okt": "oct", "dez": "dec",
    "fev": "feb", "avr": "apr", "abr": "apr", "ene": "jan", "dic": "dec",
}  # fmt: skip
_ACCENTS = str.maketrans("äâàáéèêíîóôúûüçñ", "aaaaeeeiioouuucn")
# Words of dates that are neither months nor zones.
_OF_DATES = frozenset({
    "am", "pm", "utc", "gmt", "de", "del", "of", "at", "um", "uhr",
    "th", "st", "nd", "rd",
})  # fmt: skip
# A newest date of two digits lies so many years ahead at most; a contract may.
_AHEAD = 20
# The newest date is of this year at most where nothing else tells when the table is of.
_NO_LATER = 2049
# The exact types, which have so many decimals.
_NINE_DECIMALS = Decimal("0.000000001")
_TOO_LARGE = Decimal(10) ** 29
_EXACT = Context(prec=60)


def refuse(column: pd.Series, rows: pd.Series, problem: str, *, hint: str) -> NoReturn:
    """Raise SchemaError about the first value whose flag is set."""
    row = rows.index[int(np.argmax(rows))]
    value = "" if pd.isna(column[row]) else str(column[row])
    where = f"column {column.name}, row {row + 1}"
    raise SchemaError(f"{where}: {value[:64]!r} {problem}", hint=hint)


def texts(column: pd.Series) -> pd.Series:
    """
    Return values as stripped texts; null where there is none.

    A whole number is the same text whether or not there are gaps in its column. What a
    spreadsheet keeps from becoming a number is the text that it shows.
    """
    codes, different = different_texts(column)
    # The last one is that of rows without a text.
    read = np.array(different.to_list() + [None], dtype=object)[codes]
    return pd.Series(read, column.index, dtype=object, name=column.name)


def different_texts(column: pd.Series) -> tuple[NDArray[np.int64], pd.Series]:
    """
    Return the place of each row's text, as ``texts`` reads it, among all, each once.

    Returns:
        -1 where a row has none, (rows,); the texts in the order of their first rows.
    """
    if column.dtype.kind == "f":
        numbers = column.dropna()
        if (numbers.mod(1).eq(0) & numbers.abs().lt(INEXACT)).all():
            column = column.astype("Int64")
    try:
        values = pa.array(column, pa.string(), from_pandas=True)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        # Of moments alone that are all missing, it would be moments again.
        written = column.astype("object").map(str, na_action="ignore").astype("object")
        values = pa.array(written, pa.string(), from_pandas=True)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    encoded = values.dictionary_encode()
    cleaned = unwrapped(pc.utf8_trim_whitespace(encoded.dictionary))
    cleaned = pc.if_else(pc.equal(cleaned, ""), None, cleaned)
    places, different = pd.factorize(cleaned.to_numpy(zero_copy_only=False))
    # The last one is that of rows without a text.
    places = np.append(places, -1)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return places[codes], pd.Series(different, dtype="object")


def unwrapped(values: Any) -> Any:
    """Return texts of Arrow without what keeps them from becoming numbers."""
    if pc.any(pc.match_substring_regex(values, _KEPT_AS_TEXT)).as_py():
        return pc.replace_substring_regex(values, _KEPT_AS_TEXT, r"\1\2")
    return values


def _in_ascii_digits(text: str) -> str:
    """Return a text with the digits and decimal signs of another script in ours."""
    if text.isascii():
        return text
    signs = []
    for sign in text:
        digit = unicodedata.decimal(sign, None)
        signs.append(sign if digit is None else str(digit))
    return "".join(signs).translate(_DECIMAL_SIGNS)


@dataclass(frozen=True)
class Words:
    """
    The texts of a column that are no gaps.

    Attributes:
        column: As the table has it, for messages.
        different: Each text once, (words,), with the digits of ASCII.
        word_of_row: Which of them a row has; -1 where it has a gap, (rows,).
    """

    column: pd.Series
    different: pd.Series
    word_of_row: NDArray[np.int64]

    @classmethod
    def of(cls, column: pd.Series) -> Words:
        codes, different = different_texts(column)
        is_word = ~different.str.fullmatch(GAPS, case=False).astype("bool").to_numpy()
        numbers = np.where(is_word, np.cumsum(is_word) - 1, -1)
        # The last one is that of gaps.
        numbers = np.append(numbers, -1)
        words = different[is_word].reset_index(drop=True)
        return cls(column, words.map(_in_ascii_digits), numbers[codes])

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """How many rows have each, (words,)."""
        present = self.word_of_row[self.word_of_row >= 0]
        return np.bincount(present, minlength=len(self.different))

    def __len__(self) -> int:
        """How many rows have a text."""
        return int(self.rows.sum())

    def matching(self, pattern: str) -> NDArray[np.bool_]:
        """Return which texts are of a form as a whole, (words,)."""
        flags = self.different.str.fullmatch(pattern)
        return np.asarray(flags, dtype=bool)

    def share(self, is_so: Any) -> float:
        """Return the share of rows with a text whose text is so, (words,)."""
        return float(self.rows[np.asarray(is_so, dtype=bool)].sum()) / max(1, len(self))

    @cached_property
    def usual(self) -> str | None:
        """The text that most rows have, if it is a word: maybe one for a gap."""
        if not len(self.rows):
            return None
        most = self.different[self.rows == self.rows.max()]
        # Of two, the one that no order of rows decides.
        text = str(most.min())
        return None if re.search(r"\d", text) else text

    def share_of_others(self, is_so: Any) -> float:
        """Return ``share`` of the rows that have another text than the usual word."""
        others = self.rows * (self.different != self.usual).to_numpy()
        flags = np.asarray(is_so, dtype=bool)
        return float(others[flags].sum()) / max(1, int(others.sum()))

    def by_row(self, values: pd.Series) -> pd.Series:
        """Return values of the texts, (words,), by row; null in gaps."""
        return values.reindex(self.word_of_row).set_axis(self.column.index)

    def every(self, values: pd.Series, problem: str, hint: str) -> pd.Series:
        """As ``by_row``; refuse the first row whose text has no value."""
        if values.isna().any():
            wrong = self.by_row(values.isna()).eq(True)
            refuse(self.column, wrong, problem, hint=hint)
        return self.by_row(values)


# -- numbers ---------------------------------------------------------------------------


def clean_numbers(column: pd.Series, *, has_commas: bool) -> pd.Series | None:
    """
    Read numbers by Arrow, null in gaps; None if a text is another one, or a code, or
    all may be days.
    """
    try:
        values = pa.array(column, pa.string(), from_pandas=True)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    # Beside decimal commas, 1.000 is a thousand.
    plain = _WHOLE if has_commas else _PLAIN
    is_plain = pc.fill_null(pc.match_substring_regex(values, plain), True)
    others = values.filter(pc.invert(is_plain)).unique().to_pylist()
    if any(other.strip() and not _GAP.fullmatch(other.strip()) for other in others):
        return None
    if pc.all(pc.match_substring_regex(values, _MAY_BE_A_DAY)).as_py():
        return None
    numbers = pc.if_else(is_plain, values, None).cast(pa.float64())
    return pd.Series(numbers.to_numpy(zero_copy_only=False), column.index)


def may_have_commas(column: pd.Series) -> bool:
    """Tell whether a text of a column has a comma."""
    try:
        values = pa.array(column, pa.string(), from_pandas=True)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return False
    return bool(pc.any(pc.match_substring(values, ",")).as_py())


def has_decimal_commas(words: Words) -> bool:
    """Tell whether a column has numbers with a comma before decimals."""
    is_comma = words.matching(_DECIMAL_COMMA)
    return bool(is_comma.any()) and words.share(words.matching(WITH_COMMA)) > 0.5


def numbers_of(words: Words, *, has_commas: bool = False) -> pd.Series:
    """Read numbers, (words,); null where a text is none."""
    different = words.different
    if has_commas:
        has_comma = words.matching(WITH_COMMA)
        different = (
            different.where(has_comma).str.replace(".", "").str.replace(",", ".")
        )
    return pd.to_numeric(different, errors="coerce").astype("float64")


def codes_of(words: Words) -> NDArray[np.bool_]:
    """Tell which digits are the name of something: programs write no number so."""
    is_code = words.matching(_CODE)
    if words.share(words.matching(r"-\d.*")) <= FEW:
        is_code = is_code | words.matching(_CODE_WITHOUT_MINUS)
    if words.column.astype("str").str.match(_CODE_AS_TEXT).mean() > FEW:
        is_code = is_code | words.matching(r"\d{8,}")
    return is_code


# -- times -----------------------------------------------------------------------------


@dataclass(frozen=True)
class DayForm:
    """How a column's days are written; and the newest year that two digits mean."""

    pattern: str
    last_year: int = 0


@dataclass(frozen=True, kw_only=True)
class Moments:
    """
    Times of the texts of a column, (words,); null where one is none.

    Attributes:
        clock: By the clock that they were written by.
        ahead_s: How far this clock is ahead of UTC; 0 where a text has no zone, and
            null where it has one that only its country knows.
    """

    clock: pd.Series
    ahead_s: pd.Series
    form: DayForm


def moments_of(
    words: Words, *, form: DayForm | None = None, newest: pd.Timestamp | None = None
) -> Moments:
    """
    Read days and times in the one form that most have.

    Args:
        form: The form, where it is known.
        newest: When the newest row was true, which says what two digits of a year mean.
    """
    plain = words.different.str.replace(r"(?i)(?<=\d) ?(Z|UTC)$", "", regex=True)
    with contextlib.suppress(pa.ArrowException):
        clock = pc.cast(pa.array(plain, pa.string()), pa.timestamp("us"))
        moments = pd.Series(clock.to_numpy(zero_copy_only=False))
        return Moments(
            clock=moments, ahead_s=0.0 * moments.index.to_series(), form=DayForm(ISO)
        )
    parts = [_parts(text) for text in words.different]
    read = pd.DataFrame(parts, columns=["day", "clock_s", "ahead_s"])
    days, form = _days_of(words, read["day"], form, newest)
    seconds = pd.to_timedelta(read["clock_s"].astype("float64"), "s")
    moments = days.astype("datetime64[us]") + seconds.dt.as_unit("us")
    return Moments(clock=moments, ahead_s=read["ahead_s"].astype("float64"), form=form)


def _days_of(
    words: Words, days: pd.Series, form: DayForm | None, newest: pd.Timestamp | None
) -> tuple[pd.Series, DayForm]:
    """Return days, (words,), by the form that most rows have."""
    patterns = (ISO, form.pattern) if form else _DAYS
    best_count = 0
    best = patterns[-1]
    best_days = pd.to_datetime(days.where(days.isna()), format=ISO)
    rivals: list[pd.Series] = []
    for pattern in patterns:
        fits = days.str.fullmatch(_SHAPES.get(pattern, ".*")).fillna(False).astype(bool)
        read = pd.to_datetime(days.where(fits), format=pattern, errors="coerce")
        count = int(words.rows[read.notna()].sum())
        if count > best_count:
            best_count = count
            best = pattern
            best_days = read
            rivals = []
        elif count == best_count:
            rivals.append(read)
    is_clear = all(rival.equals(best_days) for rival in rivals)
    if 2 * best_count > len(words) and not is_clear:
        refuse(
            words.column,
            words.by_row(best_days).notna(),
            "may have the day, the month or the year first, and no row tells",
            hint="write 2026-03-01",
        )
    if not best.endswith("%y") and not best.startswith("%y"):
        return best_days, DayForm(best)
    last_year = form.last_year if form else _last_year(best_days, newest)
    years = best_days.dt.year
    too_late = years - (last_year - (last_year - years % 100) % 100)
    moved = [
        _years_back(day, back) for day, back in zip(best_days, too_late, strict=True)
    ]
    return pd.Series(moved, dtype="datetime64[us]"), DayForm(best, last_year)


def _last_year(days: pd.Series, newest: pd.Timestamp | None) -> int:
    """
    Return the last of the hundred years that two digits mean.

    They are cut where there is no date for longest; the newest lies in the past where
    it would be far ahead, so that birth dates do.
    """
    years = np.unique(days.dropna().dt.year % 100)
    if not len(years):
        return _NO_LATER
    gaps = np.diff(np.append(years, years[0] + 100))
    widest = int(gaps.argmax())
    latest = _NO_LATER if newest is None else newest.year + _AHEAD
    last = 2000 + int(years[widest])
    if last > latest:
        last -= 100
    # Further rows may have a later one.
    return min(last + int(gaps[widest]) // 2, max(last, latest))


def _years_back(day: Any, years: Any) -> Any:
    return day if pd.isna(day) else day - pd.DateOffset(years=int(years))


def _parts(text: str) -> tuple[str | None, float, float]:
    """Return the day of a text in one spelling, its time of day, and its zone."""
    if len(text) > 100 or not re.search(r"\d", text):
        return None, np.nan, np.nan
    text = _YEAR_LAST.sub(r"\2-\1-\5 \3\4", text)
    text = _SPAN.sub(r"\1", text)
    text = _ALL_DIGITS.sub(r"\1T\2", text)
    match = _CLOCK.fullmatch(text)
    if match is None:
        match = _COMPACT.fullmatch(text)
    if match is None:
        return _day_in(text), 0.0, 0.0
    hour = int(match["hour"])
    minute = int(match["minute"]) if match["minute"] else 0
    written = match["second"].replace(",", ".") if match["second"] else "0"
    # Oracle writes 10:15:30:000000 as well.
    second = float(written.replace(":", "."))
    if match["half"]:
        hour = hour % 12 + 12 * (match["half"].lower() == "p")
    if hour > 23 or minute > 59 or second >= 60:
        return None, np.nan, np.nan
    seconds = hour * 3600 + minute * 60 + second
    return _day_in(match["day"]), seconds, _ahead(match["zone"])


def _ahead(zone: str | None) -> float:
    """Return the seconds by which a zone's clock is ahead of UTC; NaN of a name."""
    name = "" if zone is None else zone.upper().removeprefix("UTC").removeprefix("GMT")
    name = name.strip()
    if name in {"", "Z"}:
        return 0.0
    if name[0] not in "+-":
        return np.nan
    digits = name[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60
    return float(-seconds if name[0] == "-" else seconds)


def _day_in(text: str) -> str | None:
    """Return a day with its parts joined by hyphens, months in English."""
    text = _WEEKDAY.sub("", text.strip().lower())
    text = re.sub(r"\s*[年月년월]\s*", "-", text).rstrip("日일 ")
    text = _ORDINAL.sub("", text)
    text = re.sub(r"\b(?:de|del|of)\b", " ", text)
    text = re.sub(r"[^\W\d_]{3,}\.?", lambda match: _month(match[0]), text)
    text = re.sub(r"[/\s,-]+", "-", text.strip())
    quarter = _QUARTER.fullmatch(text)
    return text if quarter is None else _first_day(quarter)


def _month(word: str) -> str:
    """Return the English name of a month, of three letters; another word as it is."""
    plain = word.rstrip(".").translate(_ACCENTS)
    if len(plain) == 3:
        return _SHORT_MONTHS.get(plain, plain if plain in _MONTHS else word)
    for month, names in _MONTHS.items():
        if len(plain) > 3 and any(name.startswith(plain) for name in names.split()):
            return month
    return word


def _first_day(quarter: re.Match[str]) -> str | None:
    """Return the first day of a quarter, or of a week as ISO 8601 counts them."""
    year = int(quarter["year"] or quarter["last"])
    count = int(quarter["count"] or quarter["first"] or quarter["digit"])
    with contextlib.suppress(ValueError):
        if quarter["unit"] == "w":
            return date.fromisocalendar(year, count, 1).isoformat()
        return date(year, 3 * count - 2, 1).isoformat()
    return None


def _is_of_a_calendar(match: re.Match[str]) -> bool:
    """Tell a date of another calendar from a version, which has points as well."""
    ends = sorted([int(match["first"]), int(match["last"])])
    digits = max(len(match["first"]), len(match["last"]))
    is_year = bool(match["era"]) or digits > (3 if match["apart"] == "." else 2)
    return is_year and 1 <= int(match["month"]) <= 12 and 1 <= ends[0] <= 31


def is_like_a_day(text: str) -> bool:
    """Tell whether a text may be a date, also one in a form that is not read."""
    other = _OTHER_CALENDAR.fullmatch(text)
    if other is not None and _is_of_a_calendar(other):
        return True
    if _OTHER_MONTH.fullmatch(text):
        return True
    numbers = re.findall(r"\d+", text)
    words = re.findall(r"[^\W\d_]+", text.lower())
    others = []
    has_month = False
    for word in words:
        is_month = _month(word) in _MONTHS
        has_month = has_month or is_month
        is_known = is_month or len(word) == 1 or word in _OF_DATES
        if not is_known and not _WEEKDAY.match(f"{word} "):
            others.append(word)
    has_year = any(re.fullmatch(r"(19|20)\d\d", number) for number in numbers)
    has_day = any(len(number) <= 2 and 1 <= int(number) <= 31 for number in numbers)
    is_short = len(text) <= 60 and len(numbers) <= 8 and len(others) <= 1
    # As JSON of .NET writes moments.
    is_dated = text.startswith("/Date(")
    has_both = has_year or (has_month and len(numbers) > 1)
    return is_dated or (is_short and has_day and has_both)


# -- declared types --------------------------------------------------------------------

# What is wrong with a text of another type, and what to do.
_READINGS = {
    "BOOL": ("is neither 1 nor 0", "write 1 or 0, true or false"),
    "INT64": ("is not a whole number of 64 bits", "write it like 1234"),
    "FLOAT64": ("is not a number", "write it like 1234.5"),
    "NUMERIC": (
        "is not a number of 29 digits at most before its point",
        "write it like 1234.5",
    ),
    "DATE": ("is not a day", "write it like 2026-03-01"),
    "TIMESTAMP": (
        "is not a time",
        "write 2026-03-01T08:30:00, in UTC or with its offset",
    ),
}


def as_declared(column: pd.Series, kind: str, *, is_needed: bool = False) -> pd.Series:
    """
    Read a column of texts in a type of BigQuery; null where it has a gap.

    Args:
        is_needed: Whether a gap is no way out, so that nobody is told to leave one.
    """
    words = Words.of(column)
    what, hint = _READINGS[kind]
    if not is_needed and kind != "TIMESTAMP":
        hint += ", or leave it empty"
    if kind in {"DATE", "TIMESTAMP"}:
        return _declared_moments(words, kind, what, hint)
    if kind == "FLOAT64":
        numbers = numbers_of(words, has_commas=has_decimal_commas(words))
        numbers = numbers.where(np.isfinite(numbers))
        return words.every(numbers, what, hint)
    read_as = {"BOOL": truth, "INT64": _whole, "NUMERIC": _exact}[kind]
    written = words.different
    if kind != "BOOL" and has_decimal_commas(words):
        written = written.str.replace(".", "").str.replace(",", ".")
    values = pd.Series([read_as(text) for text in written], dtype="object")
    return words.every(values, what, hint)


def _declared_moments(words: Words, kind: str, what: str, hint: str) -> pd.Series:
    read = moments_of(words)
    moments = read.clock - pd.to_timedelta(read.ahead_s, "s").dt.as_unit("us")
    if kind == "DATE":
        moments = moments.where(moments == moments.dt.normalize())
    elif read.clock[moments.isna()].notna().any():
        what = "has a time zone that is not known"
    return words.every(moments, what, hint)


def truth(text: str) -> bool | None:
    """Return a text as true or false, in any case; None for another one."""
    # R writes quotes.
    word = re.sub(r"[.,]0+$", "", text.strip("'").lower())
    if word in PAIRS:
        return True
    return False if word in PAIRS.values() else None


def _whole(text: str) -> int | None:
    """Return a whole number; data frames write those beside gaps with a point."""
    number = _exact(text)
    if number is None or number != int(number) or not -(2**63) <= number < 2**63:
        return None
    return int(number)


def _exact(text: str) -> Decimal | None:
    """Return a number with nine decimals, rounded as BigQuery rounds."""
    if not re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?", text, re.ASCII):
        return None
    number = Decimal(text)
    if number.copy_abs() >= _TOO_LARGE:
        return None
    return number.quantize(_NINE_DECIMALS, ROUND_HALF_UP, _EXACT)
