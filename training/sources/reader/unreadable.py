"""Counts the values of a table that cannot be read, and rejects the table with a message that a person can act on."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
from babel import Locale

from training.errors import DataInvalid, quote_name, shorten_list
from training.sources.reader.casts import MISSING_MARKERS, ColumnCast
from training.sources.reader.raw_table import RawTable
from training.spec.reading import ReadingSpec
from training.spec.toml_text import toml_text

_PROBLEMS_SHOWN = 8
_EXAMPLE_CHARACTERS = 40
_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pl")
_PROBLEMS = {
    "NOT_A_TEXT": ("is not a single value", "are not single values"),
    "NOT_UTF8": (
        "is in a column of bytes that are not all UTF-8",
        "are in a column of bytes that are not all UTF-8",
    ),
    "NOT_A_NUMBER": ("is not a number", "are not numbers"),
    "AMBIGUOUS": (
        "has either three decimals or a separator of thousands",
        "have either three decimals or a separator of thousands",
    ),
    "TOO_MANY_DECIMALS": ("has more decimals than the currency", "have more decimals than the currency"),
    "TOO_LARGE": ("is too large", "are too large"),
    "NOT_FINITE": ("is infinite, but must be finite", "are infinite, but must be finite"),
    "NOT_A_TIME": ("is not an ISO day or time such as 2026-01-31", "are not ISO days or times such as 2026-01-31"),
    "NOT_IN_FORMAT": ("does not have the time_format of the spec", "do not have the time_format of the spec"),
    "OUTSIDE_YEARS": ("is in a year outside the valid years", "are in a year outside the valid years"),
    "HAS_ZONE": ("has a time zone or an offset", "have a time zone or an offset"),
    "LOGICAL_AS_CUSTOMER": ("is a logical value and not a customer", "are logical values and not customers"),
    "MARKER_AS_CUSTOMER": ("usually stands for a missing customer", "usually stand for a missing customer"),
    "TIME_AS_CUSTOMER": ("is a day or time and not a customer", "are days or times and not customers"),
    "NOT_WHOLE": ("is a customer with decimals", "are customers with decimals"),
    "SCIENTIFIC_CUSTOMER": (
        "is a customer in scientific notation, which may lose digits",
        "are customers in scientific notation, which may lose digits",
    ),
    "NOT_EXACT": (
        "is a floating-point number whose last digits are lost",
        "are floating-point numbers whose last digits are lost",
    ),
    "INVALID_CUSTOMER": ("is not a valid customer", "are not valid customers"),
    "INVALID_MARKET": ("is not a valid market", "are not valid markets"),
}
# Problems of a cell with which another program may have written a missing value, and such cells.
_MARKED = {"MARKER_AS_CUSTOMER", "NOT_A_TIME", "NOT_IN_FORMAT", "INVALID_CUSTOMER", "INVALID_MARKET"}
_NULL_MARKS = {*map(str.casefold, MISSING_MARKERS), "\\n", "(null)", "<null>", "nat", "-", "--", "?", "."}
_HINTS = {
    "NOT_UTF8": "write the column as text",
    "AMBIGUOUS": "set decimal = '.' or thousands = '.' in [{section}]",
    "TOO_LARGE": "correct the value",
    "NOT_FINITE": "correct the value, or leave the cell empty",
    "NOT_WHOLE": "write customers as text or as whole numbers",
    "SCIENTIFIC_CUSTOMER": "write customers as text or as whole numbers, such as 17850 for 1.785e4",
    "NOT_EXACT": "write the column as an integer, a decimal or text",
    "LOGICAL_AS_CUSTOMER": "set {field} to the column of the customer",
    "TIME_AS_CUSTOMER": "set {field} to the column of the customer",
    "HAS_ZONE": 'set time_zone in [{section}], such as time_zone = "Europe/Berlin", to the zone in which a day of the market begins',
    "INVALID_CUSTOMER": "a customer must be 1 to 64 letters, digits or . _ : - so that it can be requested; correct the value, or set {field} to the column of the customer",
}


@dataclass(frozen=True, slots=True)
class UnreadableValues:
    """The values of one column that cannot be read for the same reason.

    Attributes:
        cast: The cast of the column.
        code: Code of the reason.
        count: Number of values.
        example: The first of the values.
        place: Place of the first value, e.g. "line 17".
    """

    cast: ColumnCast
    code: str
    count: int
    example: str
    place: str

    def sentence(self, table: RawTable, reading: ReadingSpec) -> str:
        """Return one sentence: the column, the problem, the first value, and what to write in the spec."""
        one, many = _PROBLEMS[self.code]
        problem = f"1 value {one}" if self.count == 1 else f"{self.count:,} values {many}"
        example = (
            self.example if len(self.example) <= _EXAMPLE_CHARACTERS else f"{self.example[:_EXAMPLE_CHARACTERS]}..."
        )
        return (
            f"column {quote_name(self.cast.column.name)}: {problem}, first {example!r} in {self.place} of {table.name}; "
            f"{self._hint(table, reading)}"
        )

    def _hint(self, table: RawTable, reading: ReadingSpec) -> str:
        """Return what to change."""
        section = _section(self.cast.field)
        if self.code in _MARKED and self.example.casefold() in _NULL_MARKS:
            return f"set missing = [{toml_text(self.example)}] in [{section}] if it means a missing value, or correct the value"
        if self.code in _HINTS:
            return _HINTS[self.code].format(section=section, field=self.cast.field)
        if self.code == "OUTSIDE_YEARS":
            return _years_hint(self.example, reading, section)
        if self.code == "TOO_MANY_DECIMALS":
            return _decimals_hint(self.example, table.numbers.decimal, section)
        if self.code == "NOT_IN_FORMAT":
            return f"correct the value, or change time_format = {reading.time_format!r} in [{section}]"
        return self._spelling_hint(section)

    def _spelling_hint(self, section: str) -> str:
        """Return what to change if a cell is not spelt as its type requires."""
        if self.code == "INVALID_MARKET":
            return _market_hint(self.cast, self.example)
        if not self.cast.column.is_text and self.code in {"NOT_A_NUMBER", "NOT_A_TEXT"}:
            wanted = "numbers" if self.code == "NOT_A_NUMBER" else "text or numbers"
            return f"the column has the type {self.cast.column.type}; map a column of {wanted}"
        if self.code == "NOT_A_TIME":
            return _time_hint(self.example, section)
        category = ", or set kind = 'category' in the feature" if self.cast.field.startswith("features.") else ""
        return f"{_number_hint(self.example, section)}{category}"


def _section(field: str) -> str:
    """Return the section of the spec that describes the file to which a field refers."""
    section = field.split(".", 1)[0]
    return section if section in {"log", "status"} else "table"


def _market_hint(cast: ColumnCast, example: str) -> str:
    """Return the table of values to write in the spec for markets that are not country codes."""
    rule = "a market must be two uppercase letters such as DE"
    section, _, field = cast.field.partition(".")
    if section not in {"log", "table"}:
        return f"{rule}; correct the value"
    code = country_code(example)
    return (
        f"{rule}; set market = {{ column = {toml_text(cast.column.name)}, values = {{ {toml_text(example[:_EXAMPLE_CHARACTERS])} = "
        f'"{code}" }} }} in [{section}] instead of {field}, with the code of every value, or map = "FILE.csv" with two columns'
    )


def country_code(name: str) -> str:
    """Return the code of a country whose code or name in a usual language is known, otherwise XX."""
    if re.fullmatch("[A-Za-z]{2}", name):
        return {"UK": "GB"}.get(name.upper(), name.upper())
    for language in _LANGUAGES:
        codes = {text.casefold(): code for code, text in Locale(language).territories.items() if code.isalpha()}
        if name.casefold() in codes:
            return str(codes[name.casefold()])
    return "XX"


def _years_hint(example: str, reading: ReadingSpec, section: str) -> str:
    """Return what to write for a time that may stand for a missing time."""
    first, last = reading.years
    return (
        f"valid years are {first} to {last}; set missing = [{toml_text(example)}] in [{section}] if it stands for a missing "
        f"time, or years = [FIRST, LAST] in [{section}] if the year is right"
    )


def _decimals_hint(example: str, decimal: str, section: str) -> str:
    """Return what to write for an amount with too many decimals."""
    decimals = len(example.rpartition(decimal)[2]) if decimal in example else 3
    hint = f"set decimals = {min(decimals, 6)} in [{section}] if that is an amount of the currency"
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}\.\d{3}", example) and decimal == ".":
        hint += f', or thousands = "." if it means {example.replace(".", "")}'
    return hint


def _number_hint(example: str, section: str) -> str:
    """Return what to write in the spec if the cell is a number in a different format."""
    if re.search(r"\d", example) and re.fullmatch(r"[+-]?[\d.]*,\d*", example):
        return f'set decimal = "," or thousands = "," in [{section}], or correct the value'
    if re.search(r"\d", example) and re.fullmatch(r"[+-]?[\d' \u00a0\u202f,.]+", example):
        return f"set decimal and thousands in [{section}] to the characters of the file, or correct the value"
    if re.search(r"\d", example):
        return (
            "correct the value: write digits, one decimal mark and, for a negative number, a leading -, as in -1234.56"
        )
    return f"correct the value, or set missing = [{toml_text(example[:_EXAMPLE_CHARACTERS])}] in [{section}] if it means a missing value"


def _time_hint(example: str, section: str) -> str:
    """Return the time_format to write in the spec if the cell is a time in a different format."""
    if found := re.match(r"\d{1,2}([./-])\d{1,2}\1(\d{2,4})(.*)", example):
        mark, year = found[1], "%Y" if len(found[2]) > 2 else "%y"  # noqa: PLR2004 - a year of two digits
        clock = _clock_format(found[3])
        day_first, month_first = (f"%d{mark}%m{mark}{year}{clock}", f"%m{mark}%d{mark}{year}{clock}")
        return f'set time_format in [{section}] to "{day_first}" or "{month_first}", whichever the file means'
    if re.match(r"\d{4}-\d{2}-\d{2}", example):
        return "correct the value: there is no such day or time, or it has other characters than an ISO time"
    formats = {r"\d{8}": "%Y%m%d", r"\d{10}": "epoch_s", r"\d{13}": "epoch_ms", r"\d{5}([.]\d+)?": "excel"}
    formats |= {r"\d{4}/\d\d/\d\d": "%Y/%m/%d", r"\d{8}T\d{6}": "%Y%m%dT%H%M%S", r"\d{14}": "%Y%m%d%H%M%S"}
    for pattern, time_format in formats.items():
        if re.fullmatch(pattern, example):
            return f'set time_format = "{time_format}" in [{section}] if that is its meaning'
    return f'set time_format in [{section}], such as "%d.%m.%Y %H:%M", or correct the value'


def _clock_format(text: str) -> str:
    """Return the strftime pattern of the text after a day, such as " 09:05 PM"; "" if it is not a time of day."""
    found = re.fullmatch(r"([ T]+)\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?", text)
    if found is None:
        return ""
    hour, half = ("%I", found[3][:-2] + "%p") if found[3] else ("%H", "")
    return f"{found[1]}{hour}:%M{':%S' if found[2] else ''}{half}"


def find_unreadable(
    connection: duckdb.DuckDBPyConnection, table: RawTable, casts: Iterable[ColumnCast], record: str = ""
) -> list[UnreadableValues]:
    """Return the unreadable values of the given columns, by column and reason.

    Args:
        connection: The connection that can read the table.
        table: The table.
        casts: The casts of the columns.
        record: Column of table.sql with the number of the record; "" if the rows of table.sql are to be numbered.
    """
    checked = [cast for cast in casts if not cast.is_always_readable]
    if not checked:
        return []
    number = record or "row_number() OVER ()"
    cells = ", ".join(
        f"{{'column': {position}, 'code': {cast.problem}, 'written': {cast.written}}}"
        for position, cast in enumerate(checked)
    )
    odd = " OR ".join(f"({cast.problem}) IS NOT NULL" for cast in checked)
    # One scan finds the rows with a problem. Only these rows are classified.
    query = f"""SELECT cell.column, cell.code, COUNT(*), ARG_MIN(cell.written, place), MIN(place) FROM (
        SELECT place, UNNEST([{cells}]) AS cell FROM (SELECT {number} AS place, * FROM {table.sql}) WHERE {odd}
    ) WHERE cell.code IS NOT NULL GROUP BY ALL ORDER BY cell.column, MIN(place)"""  # noqa: S608 - constant names, quoted text
    found = connection.execute(query).fetchall()
    if not found:
        return []  # without a search for places, which reads a text file again
    wanted = sorted({first for *_, first in found})
    places = dict(zip(wanted, table.places(wanted), strict=True))
    return [
        UnreadableValues(checked[position], code, count, str(example), places[first])
        for position, code, count, example, first in found
    ]


def refuse_unreadable(table: RawTable, reading: ReadingSpec, unreadable: Sequence[UnreadableValues], rows: int) -> None:
    """Raise DataInvalid if a larger share of the rows than the spec allows has an unreadable value in a column."""
    problems = unreadable_sentences(table, reading, unreadable, rows)
    if problems:
        raise DataInvalid("\n".join(shorten_list(problems, _PROBLEMS_SHOWN, "")))


def unreadable_sentences(
    table: RawTable, reading: ReadingSpec, unreadable: Sequence[UnreadableValues], rows: int
) -> list[str]:
    """Return a sentence for each element of `unreadable` whose share of the rows is larger than the spec allows."""
    return [one.sentence(table, reading) for one in unreadable if one.count > reading.max_unreadable_share * rows]
