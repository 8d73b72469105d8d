"""Builds the SQL that casts the cells of a column, once and strictly, to the type that the spec gives the column.

A cast has two SQL expressions. One computes the value of a cell. The other computes the code of the problem if the cell
cannot be read. Both are NULL if the cell is missing.

Speed: the value of a cell of text is a CASE. Its first branch accepts the usual spelling with one cheap test on the cell
as it is in the file. Only the other cells are trimmed, normalised and compared with more patterns. DuckDB evaluates a
branch of a CASE only for the rows that need the branch. It turns IN with several constants into a join of all rows, so
the expressions compare such cells with a pattern instead.
"""

import functools
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import duckdb
import numpy as np

from models.identifiers import CUSTOMER_ID_PATTERN, MARKET_PATTERN
from training.errors import SpecInvalid
from training.sources.reader.number_format import NumberFormat, fraction_pattern
from training.sources.reader.raw_table import RawColumn, RawTable, floor_to_microseconds, quote_literal
from training.spec.reading import ReadingSpec

CastKind = Literal["customer", "market", "text", "number", "money", "time"]
# In columns of numbers, times and labels, these cells stand for a missing value, as an empty cell does. They are not
# missing values in columns of markets and categories, because NA may be the market Namibia or a level.
MISSING_MARKERS = ("#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
_NO_PROBLEM = "CAST(NULL AS VARCHAR)"
_WHITE_SPACE = (
    "E' \\t\\r\\n\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000'"
)
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[ T]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_OFFSET = "( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))"
_LOCAL_TIME = quote_literal(f"{_DAY}({_CLOCK})?")
_KEY_PATTERNS = {"customer": CUSTOMER_ID_PATTERN, "market": MARKET_PATTERN}
# The digits of each directive of strftime that is a number, as a pattern (RE2).
_WIDTHS = {f"%{letter}": "[0-9]{2}" for letter in "dmyHIMS"} | {"%Y": "[0-9]{4}", "%j": "[0-9]{3}", "%f": "[0-9]+"}
_WIDTHS |= {f"%-{letter}": "[0-9]+" for letter in "dmyHIMSj"}
_FIRST_YEAR_OF_PATTERN = 1000  # an earlier year shows that the pattern does not fit, e.g. %Y for a year of two digits
# Texts that a program writes for a value that is not a customer. NA may be a customer.
_LOGICAL_WORDS, _MISSING_WORDS = ("true", "false"), ("null", "none", "nan")
_TYPES_WITHOUT_CUSTOMERS = ("BOOLEAN", "DATE", "TIME", "INTERVAL")
_EXPONENT = "([eE][+-]?[0-9]+)?"
# A number that a program wrote with an exponent, such as 1.785e4. 12E4 without a point or a sign may be a code.
_SCIENTIFIC = "[+-]?[0-9]+([.,][0-9]+[eE][+-]?|[eE][+])[0-9]+"
# The usual spellings of an ISO time, as patterns of GLOB. A cell that has one of them and can be cast is an ISO time.
_USUAL_DAY = "DDDD-DD-DD".replace("D", "[0-9]")
# 24:00 is not usual: it may mean the day of its date or the next day.
_USUAL_TIMES = tuple(f"{_USUAL_DAY}[ T]{hour}{':DD:DD'.replace('D', '[0-9]')}" for hour in ("[01][0-9]", "2[0-3]"))
_SHORT_WHOLE, _SHORT_FRACTION = "[0-9]{1,18}", "[0-9]{0,18}"  # a double with so few digits is finite
_WHOLE_FLOAT_MAX = {"DOUBLE": 2**53, "FLOAT": 2**24}  # larger whole numbers are not exact
# If an amount differs from a whole number of minor units by less than this share of a minor unit, the difference is a
# rounding error of doubles.
_FLOAT_NOISE = "1e-6"
INTEGER_TYPES = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
FLOAT_TYPES = ("FLOAT", "DOUBLE")
_EPOCH_FACTORS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
# Excel counts 29 February 1900, which did not exist, as day 60. The last day of Excel is 31 December 9999.
_EXCEL_DAYS = (61, 2_958_465)


@dataclass(frozen=True, slots=True)
class ColumnCast:
    """The cast of one column.

    Attributes:
        column: The column.
        field: The field of the spec that maps the column, e.g. "log.columns.amount".
        kind: The type to which the column is cast.
        value: SQL expression of the value; NULL if the cell is missing or unreadable.
        problem: SQL expression of the code of the problem; NULL if the cell is missing or readable.
        written: SQL expression of the cell as text, for messages.
        exempt: Values that are not checked, such as the customer ids in log.anonymous.
        span: SQL condition on the value of a time in a valid year, e.g. "BETWEEN ... AND ..."; "" for other kinds.
    """

    column: RawColumn
    field: str
    kind: CastKind
    value: str
    problem: str
    written: str
    exempt: tuple[str, ...] = ()
    span: str = ""

    @property
    def is_always_readable(self) -> bool:
        """Return whether every possible cell of the column is readable."""
        return self.problem == _NO_PROBLEM

    def unreadable_condition(self, value: str) -> str:
        """Return an SQL condition that is true for an unreadable cell.

        The condition evaluates `problem` only where the value leaves it open whether the cell is missing or unreadable.

        Args:
            value: Name of a column with the value.
        """
        if self.is_always_readable:
            return "false"
        if not self.column.is_text:
            is_time = self.column.type in {"DATE", "TIMESTAMP"} and self.span  # only the year may be wrong
            return "false" if is_time else f"({self.problem}) IS NOT NULL"
        if self.kind in _KEY_PATTERNS:
            exempt = f" AND NOT {_is_one_of(value, self.exempt)}" if self.exempt else ""
            return f"(NOT regexp_full_match({value}, '{_KEY_PATTERNS[self.kind]}'){exempt})"
        doubt = f"{value} IS NULL AND {_raw_text(self.column)} <> ''"
        return f"CASE WHEN {doubt} THEN ({self.problem}) IS NOT NULL ELSE false END"

    def rare_condition(self, value: str) -> str:
        """Return an SQL condition that is true for an unreadable cell that `unreadable_condition` does not find.

        Such cells are rare. Therefore the values of a whole log are tested first, and line by line only if necessary.

        Args:
            value: Name of a column with the value.
        """
        if self.kind == "customer" and self.column.is_text:
            exempt = f" AND NOT {_is_one_of(value, self.exempt)}" if self.exempt else ""
            return f"({_is_word(value, *_LOGICAL_WORDS, *_MISSING_WORDS)}{exempt})"
        return f"(NOT {value} {self.span})" if self.span else "false"

    @property
    def padding(self) -> str:
        """Return an SQL condition that is true for a cell with spaces around its text."""
        if not self.column.is_text:
            return "false"
        text = _raw_text(self.column)
        return f"({text} <> trim({text}) AND trim({text}) <> '')"

    @property
    def respelling(self) -> str:
        """Return an SQL condition that is true for a cell whose text is not in Unicode NFC."""
        return f"trim({self.column.sql}) <> nfc_normalize(trim({self.column.sql}))" if self.column.is_text else "false"


def _raw_text(column: RawColumn) -> str:
    """Return the SQL expression of a cell as text, without any change."""
    return column.sql if column.type == "VARCHAR" else f"CAST({column.sql} AS VARCHAR)"


def _unless_marked(value: str, column: RawColumn, missing: Collection[str]) -> str:
    """Return the SQL expression of a value of a declared type; NULL if its text stands for a missing value."""
    if not missing:
        return value
    text, markers = _whole_text(column), {*missing}
    if column.is_decimal:  # 96.00 is the marker 96
        text = f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
    if column.is_decimal or column.type in (*INTEGER_TYPES, *FLOAT_TYPES):
        numbers = [one for one in missing if re.fullmatch(r"-?[0-9]+[.][0-9]+", one)]
        markers |= {one.rstrip("0").rstrip(".") for one in numbers}
    return f"CASE WHEN NOT {_is_one_of(text, sorted(markers))} THEN {value} END"


def _may_be_padded(text: str) -> str:
    """Return an SQL condition that is true for every ASCII text that is empty or has a space at its start or end.

    A text below "!" is empty or begins with a space or a control character.
    """
    return f"{text} < '!' OR suffix({text}, ' ')"


def _without_markers(text: str, missing: Collection[str]) -> str:
    """Return the SQL expression of a text; NULL if the text is empty or stands for a missing value."""
    if not missing:
        return f"CASE WHEN {text} <> '' THEN {text} END"
    return f"CASE WHEN NOT {_is_one_of(text, ('', *missing))} THEN {text} END"


def _is_word(text: str, *words: str) -> str:
    """Return an SQL condition that is true for a text that is one of the words in upper or lower case."""
    lengths = sorted(map(len, words))
    same = " OR ".join(f"lower({text}) = '{word}'" for word in words)
    return f"(strlen({text}) BETWEEN {lengths[0]} AND {lengths[-1]} AND ({same}))"


def _is_scientific(text: str) -> str:
    """Return an SQL condition that is true for a number that is written with an exponent."""
    return f"regexp_full_match({text}, {quote_literal(_SCIENTIFIC)})"


def _is_one_of(text: str, values: Iterable[str]) -> str:
    """Return an SQL condition that is true for a text that is one of the values."""
    return f"regexp_full_match({text}, {quote_literal('|'.join(map(re.escape, values)))})"


def _cell_text(table: RawTable, column: RawColumn, missing: Collection[str], *, trims_controls: bool = False) -> str:
    """Return the SQL expression of a cell's text without white space around it; NULL if the cell is missing.

    The text is in Unicode NFC, so that a precomposed é equals an e with a combining accent. ASCII is always in NFC.
    """
    text = _raw_text(column)
    if column.is_text:
        text = f"trim({text}, {_WHITE_SPACE})" if trims_controls else f"trim({text})"
        text = text if table.is_ascii else f"nfc_normalize({text})"
    return _without_markers(text, missing)


def _whole_text(column: RawColumn) -> str:
    """Return the SQL expression of the text of a number, without a fraction if the number is whole."""
    if column.type in FLOAT_TYPES:
        whole = f"abs({column.sql}) < {_WHOLE_FLOAT_MAX[column.type]} AND {column.sql} = trunc({column.sql})"
        return f"CASE WHEN {whole} THEN CAST(TRY_CAST({column.sql} AS BIGINT) AS VARCHAR) WHEN NOT isnan({column.sql}) THEN CAST({column.sql} AS VARCHAR) END"
    if column.type == "BOOLEAN":
        return f"CASE {column.sql} WHEN true THEN 'True' WHEN false THEN 'False' END"
    return f"CAST({column.sql} AS VARCHAR)"


def text_cast(
    table: RawTable, name: str, field: str, missing: Collection[str] = (), *, is_log: bool = False
) -> ColumnCast:
    """Return the cast to text. Codes and levels keep their spelling, but white space around them is removed.

    In a log, only spaces are removed, because tabs and line ends are rare and their removal is slow.
    """
    column = _column(table, name)
    written = _cell_text(table, column, missing, trims_controls=not is_log)
    value = _log_text(table, column, missing) if is_log and column.is_text else written
    if not column.is_text:
        value = _unless_marked(_whole_text(column), column, missing)
    if column.is_nested or column.is_binary:
        problem = _not_null(column, "NOT_UTF8" if column.is_binary else "NOT_A_TEXT")
        return ColumnCast(column, field, "text", "CAST(NULL AS VARCHAR)", problem, written)
    return ColumnCast(column, field, "text", value, _NO_PROBLEM, written)


def _not_null(column: RawColumn, code: str) -> str:
    """Return the SQL expression of a problem that every value of a column has."""
    return f"CASE WHEN {column.sql} IS NOT NULL THEN '{code}' END"


def _log_text(table: RawTable, column: RawColumn, missing: Collection[str]) -> str:
    """Return the same value as `_cell_text` with spaces removed, by an SQL expression that is faster for ASCII."""
    text = _cell_text(table, column, missing)
    if not table.is_ascii:
        return text
    return f"CASE WHEN {_may_be_padded(column.sql)} THEN {text} ELSE {_without_markers(column.sql, missing)} END"


def key_cast(
    table: RawTable,
    name: str,
    field: str,
    kind: Literal["customer", "market"],
    missing: Collection[str] = (),
    exempt: Collection[str] = (),
) -> ColumnCast:
    """Return the cast to a customer or a market that the server accepts; the values in `exempt` are not checked.

    A customer that was stored as a double, such as 124.0, is the whole number 124.
    """
    column = _column(table, name)
    written = _cell_text(table, column, missing)
    if column.type in INTEGER_TYPES and kind == "customer" and not exempt:
        return ColumnCast(column, field, kind, written, _NO_PROBLEM, written)
    value, problem = _key_value(table, column, kind, missing)
    if exempt:
        problem = f"WHEN {_is_one_of(value, exempt)} THEN NULL {problem}"
    code = "INVALID_CUSTOMER" if kind == "customer" else "INVALID_MARKET"
    pattern = _KEY_PATTERNS[kind]
    problem = f"CASE WHEN {value} IS NULL THEN NULL {problem}WHEN NOT regexp_full_match({value}, '{pattern}') THEN '{code}' END"
    return ColumnCast(column, field, kind, value, problem, written, tuple(exempt))


def _key_value(table: RawTable, column: RawColumn, kind: str, missing: Collection[str]) -> tuple[str, str]:
    """Return the value of a key, and the branches of a CASE for the problems that depend on the type of the column."""
    if column.type in FLOAT_TYPES:
        value = f"CASE WHEN NOT isnan({column.sql}) THEN {_whole_text(column)} END"
        problem = (
            f"WHEN {column.sql} <> trunc({column.sql}) THEN 'NOT_WHOLE' "
            f"WHEN abs({column.sql}) >= {_WHOLE_FLOAT_MAX[column.type]} THEN 'NOT_EXACT' "
        )
        return _unless_marked(value, column, missing), problem
    if column.is_decimal:
        value = _unless_marked(f"CAST(CAST(trunc({column.sql}) AS HUGEINT) AS VARCHAR)", column, missing)
        return value, f"WHEN {column.sql} <> trunc({column.sql}) THEN 'NOT_WHOLE' "
    written = _cell_text(table, column, missing)
    if not column.is_text:
        is_other = kind == "customer" and column.type.startswith(_TYPES_WITHOUT_CUSTOMERS)
        code = "LOGICAL_AS_CUSTOMER" if column.type == "BOOLEAN" else "TIME_AS_CUSTOMER"
        return written, f"WHEN true THEN '{code}' " if is_other else ""
    value = _log_text(table, column, missing)
    if kind != "customer":
        return value, ""
    raw = _raw_text(column)
    # A plus makes a number in scientific notation an invalid customer, without another test of every customer.
    pointed = rf"CASE WHEN {_is_scientific(written)} THEN '+' || {written} ELSE regexp_replace({written}, '^([0-9]+)\.0$', '\1') END"
    value = f"CASE WHEN contains({raw}, '.') THEN {pointed} ELSE {value} END"
    return value, (
        f"WHEN {_is_word(value, *_LOGICAL_WORDS)} THEN 'LOGICAL_AS_CUSTOMER' "
        f"WHEN {_is_word(value, *_MISSING_WORDS)} THEN 'MARKER_AS_CUSTOMER' "
        f"WHEN {_is_scientific(value)} THEN 'SCIENTIFIC_CUSTOMER' "
    )


def number_cast(table: RawTable, name: str, field: str, missing: Collection[str | float] = ()) -> ColumnCast:
    """Return the cast to a double. Logical values are 0 and 1."""
    column = _column(table, name)
    marked = [value for value in missing if not isinstance(value, str)]
    texts = [value for value in missing if isinstance(value, str)]
    if column.is_text:
        written = _cell_text(table, column, texts, trims_controls=True)
        value, problem = _number_of_text(written, numbers_of(table, column), None, "DOUBLE", _EXPONENT)
        logical = _is_one_of(f"lower({written})", ("true", "false"))
        value = f"CASE WHEN {logical} THEN CAST(lower({written}) = 'true' AS DOUBLE) ELSE {value} END"
        problem = f"CASE WHEN {logical} THEN NULL ELSE {problem} END"
    else:
        written = f"CAST({column.sql} AS VARCHAR)"
        value, problem = _number_of_type(column)
        value = _unless_marked(value, column, texts)
        problem = problem if problem == _NO_PROBLEM else _unless_marked(problem, column, texts)
    if marked:
        markers = [*map(float, marked)]
        if column.type == "FLOAT":  # the marker -99.9 is stored as the nearest value of 32 bits
            markers += [one for one in map(float, np.array(marked, np.float32)) if math.isfinite(one)]
        value = f"CASE WHEN ({value}) NOT IN ({', '.join(map(repr, markers))}) THEN {value} END"
    finite = f"CASE WHEN isfinite({value}) THEN {value} END"
    if column.is_text and not missing:
        numbers = numbers_of(table, column)
        finite = _usual_number_first(_raw_text(column), numbers, _SHORT_FRACTION, "DOUBLE", finite, _SHORT_WHOLE)
    return ColumnCast(column, field, "number", finite, problem, written)


def numbers_of(table: RawTable, column: RawColumn) -> NumberFormat:
    """Return the format of the numbers in a column of text."""
    return column.numbers or table.numbers


def _usual_number_first(
    raw: str, numbers: NumberFormat, fraction: str, kind: str, other: str, whole: str = "[0-9]+"
) -> str:
    """Return an SQL expression that casts a cell without groups of digits, and evaluates `other` for any other cell."""
    decimals = "" if numbers.is_assumed else f"({re.escape(numbers.decimal)}{fraction})?"
    usual = quote_literal(f"-?{whole}{decimals}")
    return (
        f"CASE WHEN regexp_full_match({raw}, {usual}) THEN TRY_CAST({numbers.standard_sql(raw, is_grouped=False)} AS {kind}) "
        f"ELSE {other} END"
    )


def _number_of_type(column: RawColumn) -> tuple[str, str]:
    """Return the value and the problem of a column with a declared numeric type."""
    if column.type in FLOAT_TYPES:
        value = f"CASE WHEN NOT isnan({column.sql}) THEN CAST({column.sql} AS DOUBLE) END"
        return value, f"CASE WHEN isinf({column.sql}) THEN 'NOT_FINITE' END"
    if column.type in INTEGER_TYPES or column.type == "BOOLEAN" or column.is_decimal:
        return f"CAST({column.sql} AS DOUBLE)", _NO_PROBLEM
    return "CAST(NULL AS DOUBLE)", _not_null(column, "NOT_A_NUMBER")


def _number_of_text(
    text: str, numbers: NumberFormat, decimals: int | None, kind: str, exponent: str = ""
) -> tuple[str, str]:
    """Return the value and the problem of a number that is written as text."""
    plain = f"regexp_full_match({text}, {quote_literal(numbers.plain_pattern(decimals) + exponent)})"
    branches = f"WHEN {plain} THEN TRY_CAST({numbers.standard_sql(text, is_grouped=False)} AS {kind})"
    fits, any_number = plain, numbers.plain_pattern()
    if numbers.thousands:
        grouped = f"regexp_full_match({text}, {quote_literal(numbers.grouped_pattern(decimals))})"
        branches += f" WHEN {grouped} THEN TRY_CAST({numbers.standard_sql(text, is_grouped=True)} AS {kind})"
        fits, any_number = f"({plain} OR {grouped})", f"{any_number}|{numbers.grouped_pattern()}"
    doubt = ""
    if numbers.is_assumed:
        is_doubtful = f"regexp_full_match({text}, {quote_literal(numbers.doubtful_pattern)})"
        branches, doubt = f"WHEN {is_doubtful} THEN NULL {branches}", f"WHEN {is_doubtful} THEN 'AMBIGUOUS' "
    value = f"CASE {branches} END"
    is_too_large = f"isinf({value})" if kind == "DOUBLE" else f"{value} IS NULL"
    problem = (
        f"CASE WHEN {text} IS NULL THEN NULL {doubt}WHEN {fits} THEN CASE WHEN {is_too_large} THEN 'TOO_LARGE' END "
        f"WHEN {_is_one_of(text, MISSING_MARKERS)} THEN NULL "
        f"WHEN regexp_full_match({text}, {quote_literal(any_number)}) THEN 'TOO_MANY_DECIMALS' "
        f"WHEN regexp_full_match(lower({text}), '[+-]?(inf|infinity)') THEN 'NOT_FINITE' ELSE 'NOT_A_NUMBER' END"
    )
    return value, problem


def money_cast(table: RawTable, name: str, field: str, decimals: int, missing: Collection[str] = ()) -> ColumnCast:
    """Return the cast to an exact decimal. Only the rounding errors of doubles are rounded away."""
    column = _column(table, name)
    kind = money_type(decimals)
    value, problem = f"TRY_CAST({column.sql} AS {kind})", _NO_PROBLEM
    written = f"CAST({column.sql} AS VARCHAR)"
    rounded = f"round({column.sql}, {decimals})"
    if column.is_text:
        written, fraction = _cell_text(table, column, missing), fraction_pattern(decimals)
        numbers = numbers_of(table, column)
        value, problem = _number_of_text(written, numbers, decimals, kind)
        if not missing:
            value = _usual_number_first(_raw_text(column), numbers, fraction, kind, value)
    elif column.type in FLOAT_TYPES:
        noise = f"{_FLOAT_NOISE} / 1e{decimals}" if column.type == "DOUBLE" else f"1e-7 * abs({column.sql})"
        value = f"CASE WHEN NOT isnan({column.sql}) THEN TRY_CAST({rounded} AS {kind}) END"
        limit = 2**53 if column.type == "DOUBLE" else 2**24
        problem = (
            f"CASE WHEN isinf({column.sql}) THEN 'NOT_FINITE' WHEN isnan({column.sql}) THEN NULL "
            f"WHEN abs({column.sql}) * 1e{decimals} >= {limit} THEN 'NOT_EXACT' "
            f"WHEN abs({column.sql} - {rounded}) > {noise} THEN 'TOO_MANY_DECIMALS' END"
        )
    elif column.is_decimal:
        problem = (
            f"CASE WHEN {column.sql} IS NULL THEN NULL WHEN {rounded} <> {column.sql} THEN 'TOO_MANY_DECIMALS' "
            f"WHEN {value} IS NULL THEN 'TOO_LARGE' END"
        )
    elif column.type in INTEGER_TYPES:
        problem = f"CASE WHEN {column.sql} IS NOT NULL AND {value} IS NULL THEN 'TOO_LARGE' END"
    else:
        value, problem = f"CAST(NULL AS {kind})", _not_null(column, "NOT_A_NUMBER")
    if not column.is_text:
        value, problem = (_unless_marked(one, column, missing) for one in (value, problem))
    return ColumnCast(column, field, "money", value, problem, written)


def money_type(decimals: int) -> str:
    """Return the SQL type of amounts."""
    return f"DECIMAL(18,{max(2, decimals)})"


def time_cast(
    table: RawTable, name: str, field: str, reading: ReadingSpec, market: str, missing: Collection[str] = ()
) -> ColumnCast:
    """Return the cast to the local time of the market.

    Args:
        table: The table.
        name: The column.
        field: The field of the spec that maps the column.
        reading: The format and the time zone.
        market: SQL expression of the market of a row, which determines the time zone.
        missing: Cells that stand for a missing value.

    Raises:
        SpecInvalid: time_format is not a valid pattern.
    """
    column = _column(table, name)
    zone = _zone_sql(reading.time_zone, market)
    text = _cell_text(table, column, (*missing, *MISSING_MARKERS))
    has_format = column.is_text or column.is_decimal or column.type in (*INTEGER_TYPES, *FLOAT_TYPES)
    if reading.time_format is not None and has_format:
        text = text if column.is_text else _text_of_time(column)
        value, problem = _time_of_format(text, reading.time_format, zone)
        if column.is_text and not missing:
            value = f"COALESCE({_time_of_format(_raw_text(column), reading.time_format, zone)[0]}, {value})"
    elif column.is_text:
        value, problem = _time_of_iso(text, zone)
        if not missing:
            raw = _raw_text(column)
            usual = " OR ".join(f"{raw} GLOB '{pattern}'" for pattern in (*_USUAL_TIMES, _USUAL_DAY))
            value = f"CASE WHEN {usual} THEN TRY_CAST({raw} AS TIMESTAMP) ELSE {value} END"
    else:
        value, problem = _time_of_type(column, text, zone)
    if missing and not column.is_text:
        value = f"CASE WHEN {text} IS NOT NULL THEN {value} END"
    first, last = reading.years
    span = f"BETWEEN TIMESTAMP '{first:04}-01-01' AND TIMESTAMP '{last:04}-12-31 23:59:59.999999'"
    problem = f"CASE WHEN ({value}) {span} THEN NULL WHEN ({value}) IS NOT NULL THEN 'OUTSIDE_YEARS' ELSE {problem} END"
    return ColumnCast(column, field, "time", value, problem, text, span=span)


def _text_of_time(column: RawColumn) -> str:
    """Return the SQL expression of the text of a time that is stored as a number; 20240131.00 is the day 20240131."""
    text = _whole_text(column)
    return rf"regexp_replace({text}, '\.0+$', '')" if column.is_decimal else text


def _time_of_type(column: RawColumn, text: str, zone: str) -> tuple[str, str]:
    """Return the value and the problem of a column with a declared type of times."""
    if column.type == "TIMESTAMP WITH TIME ZONE":
        value = f"{column.sql} AT TIME ZONE {zone}" if zone else "CAST(NULL AS TIMESTAMP)"
        return value, f"CASE WHEN {column.sql} IS NOT NULL AND ({value}) IS NULL THEN 'HAS_ZONE' END"
    if column.type == "DATE" or (column.type.startswith("TIMESTAMP") and not column.is_nested):
        is_finer = column.type == "TIMESTAMP_NS"  # of a database; those of Parquet are converted before
        value = floor_to_microseconds(column.sql, column.type) if is_finer else f"CAST({column.sql} AS TIMESTAMP)"
        return value, _NO_PROBLEM
    return "CAST(NULL AS TIMESTAMP)", f"CASE WHEN {text} IS NOT NULL THEN 'NOT_A_TIME' END"


def _zone_sql(time_zone: str | Mapping[str, str] | None, market: str) -> str:
    """Return the SQL expression of the time zone of a row; "" if the spec has none."""
    if time_zone is None:
        return ""
    if isinstance(time_zone, str):
        return quote_literal(time_zone)
    cases = " ".join(f"WHEN '{name}' THEN {quote_literal(zone)}" for name, zone in sorted(time_zone.items()))
    return f"(CASE {market} {cases} END)"


def _time_of_iso(text: str, zone: str) -> tuple[str, str]:
    """Return the value and the problem of an ISO 8601 time."""
    local = f"regexp_full_match({text}, {_LOCAL_TIME})"
    remote = f"regexp_full_match({text}, {quote_literal(_DAY + _CLOCK + _OFFSET)})"
    instant = f"TRY_CAST(regexp_replace({text}, ' ([Z+-])', '\\1') AS TIMESTAMPTZ)"
    shifted = f"WHEN {remote} THEN {instant} AT TIME ZONE {zone} " if zone else ""
    value = f"CASE WHEN {local} THEN TRY_CAST({text} AS TIMESTAMP) {shifted}END"
    problem = (
        f"CASE WHEN {text} IS NULL OR ({value}) IS NOT NULL THEN NULL "
        f"WHEN {remote} AND {instant} IS NOT NULL THEN 'HAS_ZONE' ELSE 'NOT_A_TIME' END"
    )
    return value, problem


def _time_of_format(text: str, time_format: str, zone: str) -> tuple[str, str]:
    """Return the value and the problem of a time in the format of the spec."""
    number = f"TRY_CAST(CASE WHEN regexp_full_match({text}, '[0-9]+([.][0-9]*)?') THEN {text} END AS DECIMAL(28,9))"
    if time_format in _EPOCH_FACTORS:
        instant = f"make_timestamp(CAST(CASE WHEN {number} < 1e11 * 1e6 / {_EPOCH_FACTORS[time_format]} THEN {number} * {_EPOCH_FACTORS[time_format]} END AS BIGINT))"
        value = f"(({instant}) AT TIME ZONE 'UTC' AT TIME ZONE {zone})" if zone else f"({instant})"
    elif time_format == "excel":
        within = f"{number} BETWEEN {_EXCEL_DAYS[0]} AND {_EXCEL_DAYS[1]}"
        days = f"CASE WHEN {within} THEN CAST(round({number} * 86400, 3) * 1000000 AS BIGINT) END"
        value = f"(TIMESTAMP '1899-12-30' + to_microseconds({days}))"
    else:
        value = _time_of_pattern(text, time_format, zone)
    return value, f"CASE WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'NOT_IN_FORMAT' END"


@functools.cache  # `inspect` tries every pattern on every column, and a connection takes milliseconds
def _check_pattern(pattern: str) -> None:
    """Raise SpecInvalid unless DuckDB accepts a strftime pattern."""
    if "Z" in re.findall(r"%-?(.)", pattern):
        raise SpecInvalid(
            f"time_format: {pattern!r} has %Z, but the name of a time zone is not read; write offsets such as +01:00 and use %z, or write local "
            "times and set time_zone"
        )
    quoted = quote_literal(pattern)
    try:
        with duckdb.connect() as connection:
            connection.execute(f"SELECT try_strptime('2026', {quoted}), strftime(TIMESTAMP '2026-01-31', {quoted})")
    except duckdb.Error as error:
        raise SpecInvalid(
            f"time_format: {pattern!r} is not a valid pattern; use the directives of strftime, such as '%d.%m.%Y %H:%M'"
        ) from error


def _time_of_pattern(text: str, pattern: str, zone: str) -> str:
    """Return the value of a time in a strftime pattern."""
    _check_pattern(pattern)
    parsed = f"try_strptime({text}, {quote_literal(pattern)})"
    width = _adjacent_numbers(pattern)
    checks = f"regexp_full_match({text}, {quote_literal(width)})" if width else ""
    if "%z" in pattern:
        value = f"({parsed} AT TIME ZONE {zone})" if zone else "CAST(NULL AS TIMESTAMP)"
        return f"(CASE WHEN {checks} THEN {value} END)" if checks else value
    checks = f"{checks} AND " if checks else ""
    return f"(CASE WHEN {checks}year({parsed}) >= {_FIRST_YEAR_OF_PATTERN} THEN {parsed} END)"


def _adjacent_numbers(pattern: str) -> str:
    """Return a regular expression of texts in which every number has its full width that no character separates from the next.

    If no character separates the directives, 2023013 or 130 can be read in two ways. The result is "" without such directives.
    """
    parts = re.findall(r"%-?[A-Za-z%]|[^%]", pattern)
    widths = [_WIDTHS.get(part, "") for part in parts]
    expression, found = "", False
    for index, (part, width) in enumerate(zip(parts, widths, strict=True)):
        before = widths[index - 1] if index else ""
        after = widths[index + 1] if index + 1 < len(parts) else ""
        if width and (before or after):
            expression, found = expression + width, True
        elif part == "%%" or not part.startswith("%"):
            expression += " +" if part == " " else re.escape(part[-1])
        else:
            expression += ".+"
    return expression if found else ""


def _column(table: RawTable, name: str) -> RawColumn:
    """Return a column that is known to exist."""
    column = table.find(name)
    assert column is not None, name
    return column


def staged_select(casts: Mapping[str, ColumnCast], source: str, *, finds_rare: bool) -> str:
    """Return a SELECT with the value of each role, and with `is_unreadable`, which is true if any cell is unreadable.

    Without `finds_rare`, cells that meet their `rare_condition` count as readable. The subquery computes each value once. Without it, DuckDB would evaluate an expression again for each use.
    """
    values = ", ".join(f"{cast.value} AS {role}" for role, cast in casts.items())
    conditions = [cast.unreadable_condition(role) for role, cast in casts.items()]
    conditions += [cast.rare_condition(role) for role, cast in casts.items()] if finds_rare else []
    problems = " OR ".join(conditions)
    return f"SELECT *, COALESCE({problems}, false) AS is_unreadable FROM (SELECT *, {values} FROM {source})"  # noqa: S608 - constant names, quoted text
