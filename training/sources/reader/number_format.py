"""Detects the decimal mark and the separator of thousands from numbers that are written as text."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from training.errors import DataInvalid, quote_name
from training.spec.reading import ReadingSpec

_SPACES = " \u00a0\u202f"  # space, no-break space, narrow no-break space
_APOSTROPHES = "'\u2019"
_GROUP_MARKS = {".": ".", ",": ",", " ": _SPACES, "'": _APOSTROPHES}
_OTHER_MARK = {".": ",", ",": "."}
_DOUBTFUL = (
    "[1-9][0-9]{{0,2}}{}[0-9]{{3}}"  # a number in which a mark may be a decimal mark or a separator of thousands
)
_SIGNS = "+\u2212\u2013-"
CURRENCY_CODES = [
    "EUR",
    "USD",
    "GBP",
    "CHF",
    "JPY",
    "CNY",
    "PLN",
    "CZK",
    "HUF",
    "RON",
    "SEK",
    "DKK",
    "NOK",
    "TWD",
    "INR",
    "BRL",
]
_UNITS = rf"[A-Za-z]{{0,3}}[\p{{Sc}}%‰]|(?i:{'|'.join(CURRENCY_CODES)}|kr|zł|kč|ft|lei|rp|rs|s?fr|euros?|dollars?|cr|dr|k|tsd|m|mn|mio|mrd|bn|pct|bps?)\.?"
_DIGITS = rf"[\p{{Nd}}]+([,{_APOSTROPHES}_\s\x{{A0}}\x{{2009}}\x{{202F}}][\p{{Nd}}]{{2,3}})*([.,][\p{{Nd}}]*)?([eE][+-]?[\p{{Nd}}]+)?"
# A number in a spelling that a program cannot read as a number, such as (1,200.00), 1200-, 5 %, 5 kr, 1.2M or '12. RE2.
_UNUSUAL_NUMBER = (
    rf"[='\"]*[({_SIGNS}]?(({_UNITS})\s*)?[({_SIGNS}]?{_DIGITS}"
    rf"\s*({_UNITS})?[){_SIGNS[1:]}]*['\"]*|[+-]?(?i:inf|infinity)"
)
# A number with a comparison or a unit, such as <5 or 12 months (RE2). Alone it may be a level, but not among numbers.
_MARKED_NUMBER = rf"[<>≤≥≈~]=?\s*{_DIGITS}|{_DIGITS}(\s+\pL{{1,8}}|\pL{{2,8}})\.?"
# A text that begins like this (RE2) is a code and no number: 0111 is not 111, and 01.11 is not 1.11.
CODE_START = "^0[0-9]"
_Example = tuple[str, str]  # a column and a cell


def fraction_pattern(decimals: int | None) -> str:
    """Return a regular expression (RE2) of at most so many decimals, apart from zeros after them; None for any number."""
    return "[0-9]*" if decimals is None else f"[0-9]{{0,{decimals}}}0*"


def unusual_sql(text: str, problem: str, number: str) -> tuple[str, str]:
    """Return an SQL condition that is true for a number in an unusual spelling, and the number of such cells in a column.

    A cell such as <5 or 12 months is counted only if another cell of the column is a number.

    Args:
        text: SQL expression of the text of a cell.
        problem: SQL expression of the problem of the cell as a number.
        number: SQL expression of its value as a number.
    """
    usual, marked = (
        f"{problem} IS NOT NULL AND regexp_full_match({text}, '{pattern.replace(chr(39), chr(39) * 2)}')"
        for pattern in (_UNUSUAL_NUMBER, _MARKED_NUMBER)
    )
    count = f"CASE WHEN COUNT({number}) > 0 THEN COUNT(*) FILTER (({usual}) OR ({marked})) ELSE COUNT(*) FILTER ({usual}) END"
    return f"(({usual}) OR ({marked}))", count


@dataclass(frozen=True, slots=True)
class AllColumnsExcept:
    """All columns may have numbers, except some.

    Attributes:
        names: Columns without numbers, although their cells may look like numbers, such as the customer 4711.1.
    """

    names: Collection[str] = ()


NumberColumns = Collection[str] | AllColumnsExcept
ANY_COLUMN = AllColumnsExcept()


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How numbers are written.

    Attributes:
        decimal: The decimal mark.
        thousands: The character between groups of three digits; "" if a number with such a character is unreadable.
        is_assumed: True if no cell and no field of the spec shows that the decimal mark is not a separator of thousands. A
            number such as 1.234, in which it may be one, is then unreadable.
        proved_by: The columns whose first cells show the decimal mark, if nothing else does.
    """

    decimal: str = "."
    thousands: str = ""
    is_assumed: bool = False
    proved_by: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def doubtful_pattern(self) -> str:
        """Return a regular expression (RE2) of numbers whose mark may be a decimal mark or a separator of thousands."""
        return f"[+-]?{_DOUBTFUL}".format(re.escape(self.decimal))

    def plain_pattern(self, decimals: int | None = None) -> str:
        """Return a regular expression (RE2) of numbers without groups that have at most so many decimals, apart from zeros.

        A decimal mark without a digit is not a number.
        """
        mark = re.escape(self.decimal)
        some = "[0-9]+" if decimals is None else f"[0-9]{{1,{decimals}}}0*" if decimals else "0+"
        return f"[+-]?([0-9]+({mark}{fraction_pattern(decimals)})?|{mark}{some})"

    def grouped_pattern(self, decimals: int | None = None) -> str:
        """Return a regular expression (RE2) of numbers with groups of three digits that have at most so many decimals."""
        return f"[+-]?[0-9]{{1,3}}([{_GROUP_MARKS[self.thousands]}][0-9]{{3}})+({re.escape(self.decimal)}{fraction_pattern(decimals)})?"

    def standard_sql(self, text: str, *, is_grouped: bool) -> str:
        """Return an SQL expression that converts the text of a number to a decimal point and no groups."""
        if is_grouped:
            marks = _GROUP_MARKS[self.thousands].replace("'", "''")
            text = f"translate({text}, '{marks}', '')"
        return text if self.decimal == "." else f"replace({text}, '{self.decimal}', '.')"


@dataclass(slots=True)
class _Evidence:
    """The first cells that prove how numbers are written.

    Attributes:
        decimals: A cell for each decimal mark that is proved.
        groups: A cell for each separator of thousands that is proved.
        doubts: A cell for each mark that may be a decimal mark or a separator of thousands, as in 1.234.
        columns: The columns whose cells prove each decimal mark.
    """

    decimals: dict[str, _Example] = field(default_factory=dict)
    groups: dict[str, _Example] = field(default_factory=dict)
    doubts: dict[str, _Example] = field(default_factory=dict)
    columns: dict[str, set[str]] = field(default_factory=dict)

    def add(self, column: str, cell: str) -> None:
        """Add the evidence of one cell."""
        text = cell.strip().lstrip("+-")
        if not text or text.isdigit():
            return
        example = (column, cell)
        grouped = re.fullmatch(rf"\d{{1,3}}([.,{_SPACES}{_APOSTROPHES}])\d{{3}}(?:\1\d{{3}})*([.,])\d*", text)
        if grouped and grouped[1] != grouped[2]:
            self.groups.setdefault(_canonical_mark(grouped[1]), example)
            self._add_decimal(grouped[2], example)
        elif found := re.fullmatch(rf"\d{{1,3}}([{_SPACES}{_APOSTROPHES}])\d{{3}}(?:\1\d{{3}})*", text):
            self.groups.setdefault(_canonical_mark(found[1]), example)
        elif found := re.fullmatch(r"\d{1,3}([.,])\d{3}(?:\1\d{3})+", text):
            self.groups.setdefault(found[1], example)
            self._add_decimal(_OTHER_MARK[found[1]], example)
        elif found := re.fullmatch(_DOUBTFUL.format("([.,])"), text):
            self.doubts.setdefault(found[1], example)
        elif found := re.fullmatch(r"(?=[.,]?\d)\d*([.,])\d*(?:[eE][+-]?\d+)?", text):
            self._add_decimal(found[1], example)

    def _add_decimal(self, mark: str, example: _Example) -> None:
        """Add a cell that proves a decimal mark."""
        self.decimals.setdefault(mark, example)
        self.columns.setdefault(mark, set()).add(example[0])


def _canonical_mark(mark: str) -> str:
    """Return the character that stands for a separator of thousands in the spec, e.g. a space for a no-break space."""
    return next(name for name, marks in _GROUP_MARKS.items() if mark in marks)


def is_number_like(cell: str) -> bool:
    """Return whether a cell is a number in any format."""
    return bool(re.fullmatch(rf"[+-]?[\d.,{_SPACES}{_APOSTROPHES}]*\d[\d.,]*([eE][+-]?\d+)?", cell.strip()))


def detect_number_format(
    name: str, separator: str, columns: Mapping[str, Iterable[str]], reading: ReadingSpec
) -> NumberFormat:
    """Return the format of the numbers of a file.

    Args:
        name: Name of the file, for the message.
        separator: The separator of the file; "" if it has none. In a file with commas between the cells, 1.234 has three
            decimals.
        columns: Cells of the columns that have numbers, by name.
        reading: Fields of the spec, which take precedence over the cells.

    Raises:
        DataInvalid: The numbers contradict each other, or are ambiguous, such as 1.234 in a file with semicolons.
    """
    evidence = _Evidence()
    for column, cells in columns.items():
        for cell in cells:
            evidence.add(column, cell)
    decimal = reading.decimal or _decimal_mark(name, separator, evidence, reading)
    if reading.thousands is not None:
        return NumberFormat(decimal, reading.thousands)
    is_proved = reading.decimal is not None or decimal in evidence.decimals
    unusual = [mark for mark in evidence.groups if mark in {" ", "'"}]
    is_assumed = not is_proved and not unusual and separator != ","
    thousands = unusual[0] if unusual else _OTHER_MARK[decimal] if is_proved else ""
    # In a file with commas between the cells, the decimal point needs no proof.
    needs_proof = reading.decimal is None and (separator != "," or decimal != ".")
    proved_by = frozenset(evidence.columns.get(decimal, ())) if needs_proof else frozenset[str]()
    return NumberFormat(decimal, thousands, is_assumed, proved_by)


def _decimal_mark(name: str, separator: str, evidence: _Evidence, reading: ReadingSpec) -> str:
    """Return the decimal mark that `thousands` implies or that the cells prove; the point if there is none."""
    if reading.thousands in _OTHER_MARK:  # takes precedence over the cells
        return _OTHER_MARK[reading.thousands]
    if len(evidence.decimals) > 1:
        shown = " and ".join(f"{cell!r} in column {quote_name(column)}" for column, cell in evidence.decimals.values())
        raise DataInvalid(f"{name}: numbers are written in two ways: {shown}; set decimal and thousands in the spec")
    if evidence.decimals:
        return next(iter(evidence.decimals))
    for mark, (column, cell) in evidence.doubts.items():
        if mark == "," or separator != ",":
            raise DataInvalid(
                f"{name}: column {quote_name(column)}: {cell!r} has either three decimals or a separator of thousands; set decimal = "
                f"{mark!r} or thousands = {mark!r} in the spec"
            )
    return "."
