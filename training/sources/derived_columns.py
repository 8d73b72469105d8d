"""Adds the columns that a spec computes to a raw table: SQL expressions of one row, and values from tables of values.

A derived column has the expression as its name. The strict casts of the reader then apply to it as to any other column.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from models.identifiers import CUSTOMER_ID_PATTERN, MARKET_PATTERN
from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list
from training.sources.reader.casts import FLOAT_TYPES, INTEGER_TYPES, ColumnCast, number_cast, numbers_of, text_cast
from training.sources.reader.number_format import CODE_START
from training.sources.reader.raw_table import RawColumn, RawTable, open_file, quote_literal, read_strictly
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.sources.sql.compared_times import check_parsed_times, time_value
from training.sources.sql.expressions import (
    computed_columns,
    is_plain_name,
    names_in,
    referenced_columns,
    rename_columns,
    text_columns,
)
from training.sources.sql.rejections import rejection_with_types
from training.spec import MappedColumn, Spec
from training.spec.reading import ReadingSpec

_MOSTLY = 0.5
_KEY_FIELDS = {
    *(f"table.{name}" for name in ("customer_id", "market_column", "market", "as_of_column")),
    *(f"log.columns.{name}" for name in ("customer_id", "market", "basket", "product", "time")),
}
_MAPPED = " (mapped for "
DIGITS_MAX, _WHOLE_DIGITS_MAX = 18, 38
_VALUES_SHOWN = 8
_UNUSED_SHOWN = 5
# The valid replacements of a value, by the role of the column.
_RESULTS = {
    "market": (MARKET_PATTERN, "a market must be two uppercase letters such as DE"),
    "customer_id": (CUSTOMER_ID_PATTERN, "a customer must be 1 to 64 letters, digits or . _ : -"),
}


@dataclass(frozen=True, slots=True)
class ColumnDerivation:
    """A column to add to a raw table.

    Attributes:
        field: Field of the spec, e.g. "log.columns.amount".
        source: The expression or the table of values.
        is_number: Whether the new column is a number.
    """

    field: str
    source: str | MappedColumn
    is_number: bool = False

    @property
    def name(self) -> str:
        """Return the name of the new column."""
        if isinstance(self.source, str):
            return self.source
        return f"{self.source.column}{_MAPPED}{self.field})"


def feature_expressions(spec: Spec) -> dict[str, str]:
    """Return the SQL expression of each feature that the spec computes, by the key that a manifest uses for it."""
    return {
        f"features.{feature.name}.column": feature.column
        for feature in spec.features
        if feature.column is not None and (spec.log is not None or not is_plain_name(feature.column))
    }


def expression_columns(derivations: Iterable[ColumnDerivation]) -> set[str]:
    """Return the columns that may have numbers because an expression uses them, and not as text."""
    return {
        name
        for one in derivations
        if (source := _expression(one))
        for name in {*names_in(source)} - text_columns(source, is_key=one.field in _KEY_FIELDS)
    }


def text_sources(derivations: Iterable[ColumnDerivation]) -> set[str]:
    """Return the columns that are only used as text to compute other columns."""
    derivations = tuple(derivations)
    mapped = {one.source.column for one in derivations if isinstance(one.source, MappedColumn)}
    names = {name for one in derivations for name in names_in(_expression(one))}
    return (mapped | names) - expression_columns(derivations)


def _expression(derivation: ColumnDerivation) -> str:
    """Return the expression of a derived column; "" if its source is a column."""
    source = derivation.source if isinstance(derivation.source, str) else derivation.source.column
    return "" if is_plain_name(source) else source


def input_columns(table: RawTable) -> set[str]:
    """Return the columns from which the spec computes other columns of a table."""
    return {name for column in table.columns for name in column.inputs or ()}


def source_columns(table: RawTable) -> set[str]:
    """Return the columns that the spec computes, and the columns from which it computes them."""
    return input_columns(table) | {column.name for column in table.columns if column.inputs is not None}


def add_derived_columns(
    table: RawTable, derivations: Iterable[ColumnDerivation], reading: ReadingSpec, folder: Path, temporary: Path
) -> RawTable:
    """Return the table with the derived columns that are not columns of the table already.

    Args:
        table: The table.
        derivations: The columns to add.
        reading: Fields of the spec about the format of the table.
        folder: Folder of the spec file; the paths of tables of values are relative to this folder.
        temporary: Folder for temporary files.

    Raises:
        SpecInvalid: An expression is invalid or uses an unknown column.
        DataInvalid: A value of a column in an expression cannot be read, or a value is not in the table of values.
    """
    for derivation in derivations:
        if isinstance(derivation.source, MappedColumn):
            table = _add_mapped_column(table, derivation, derivation.source, reading, folder, temporary)
        elif table.find(derivation.source) is None and not is_plain_name(derivation.source):
            table = _add_expression(table, derivation, derivation.source, reading, temporary)
    return table


def _add_expression(
    table: RawTable, derivation: ColumnDerivation, expression: str, reading: ReadingSpec, temporary: Path
) -> RawTable:
    """Return the table with an additional column that has the values of an expression."""
    names = referenced_columns(derivation.field, expression, [column.name for column in table.columns])
    table = read_strictly(table, temporary, _read_completely)
    with duckdb.connect() as connection:
        check_parsed_times(connection, table, derivation.field, expression)
    texts = text_columns(expression, is_key=derivation.field in _KEY_FIELDS)
    numbers = {*names} if derivation.is_number else computed_columns(expression)
    values = {
        name: time_value(table, derivation.field, expression, name, reading)
        or _value_sql(table, derivation.field, name, reading, is_text=name in texts, keeps_codes=name not in numbers)
        for name in names
    }
    aliases = {name: f"v{number}" for number, name in enumerate(names)}
    sql = rename_columns(derivation.field, expression, aliases)
    present = ", ".join(column.sql for column in table.columns)
    inner = ", ".join([present, *(f"{values[name]} AS {alias}" for name, alias in aliases.items())])
    new = f"c{len(table.columns) + 1}"
    source = f"(SELECT {present}, {sql} AS {new} FROM (SELECT {inner} FROM {table.sql}))"  # noqa: S608 - constant names, checked expression
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE SELECT {inner} FROM {table.sql}").fetchall()  # noqa: S608 - as above
        types = {str(row[0]): str(row[1]) for row in described}
        try:
            kind = str(connection.execute(f"DESCRIBE SELECT {new} FROM {source}").fetchall()[0][1])  # noqa: S608 - as above
        except duckdb.Error as error:
            used = {name: types[alias] for name, alias in aliases.items()}
            raise SpecInvalid(
                f"{derivation.field}: {expression!r} {rejection_with_types(error, used)}; correct the expression, e.g. with CAST(... AS TYPE)"
            ) from error
    columns = (*table.columns, RawColumn(derivation.name, new, kind, inputs=names))
    return replace(table, sql=source, columns=columns, text=None, expressions=(*table.expressions, expression))


def _read_completely(table: RawTable) -> RawTable:
    """Return the table after reading every value once, so that an irregular file raises an error here."""
    with duckdb.connect() as connection:
        connection.execute(f"SELECT COUNT(COLUMNS(*)) FROM {table.sql}").fetchall()  # noqa: S608 - constant or quoted names
    return table


def _value_sql(
    table: RawTable, field: str, name: str, reading: ReadingSpec, *, is_text: bool, keeps_codes: bool
) -> str:
    """Return the SQL by which an expression uses a column: numbers as exact decimals, everything else as text.

    A column of text stays text if the expression uses it as text (`is_text`), because 00123 and 1.10 are codes there.
    So does a column in which a code such as 0111 occurs anywhere, if the expression does not compute with it
    (`keeps_codes`). Otherwise it is numeric if at least half of its values are numbers. Every other value of a numeric column is
    unreadable. A numeric column is a DECIMAL with as many digits as its values need, so that products are exact. If a
    column needs more than 18 digits, it is a HUGEINT if it has whole numbers, otherwise a DOUBLE. The cast is strict: a value
    that it cannot keep raises an error.

    Logical values are 1 and 0 if the expression computes with the column or other values of the column are numbers.
    """
    column = table.find(name)
    assert column is not None
    number, text = number_cast(table, name, field, reading.missing), text_cast(table, name, field, reading.missing)
    if is_text and (column.is_text or column.type in (*INTEGER_TYPES, *FLOAT_TYPES)):
        return text.value  # as in a file of text: '01' is not 1, and 17850.0 is 17850
    if not column.is_text:
        value = f"CAST({column.sql} AS TINYINT)" if column.type == "BOOLEAN" and not keeps_codes else column.sql
        return f"CASE WHEN {text.value} IS NOT NULL THEN {value} END" if reading.missing else value
    plain = plain_number(table, number, text)
    digits_sql, decimals_sql = digits_of(plain)
    codes = f"regexp_matches({text.value}, '{CODE_START}')" if keeps_codes else "false"
    query = f"""SELECT COUNT(*), COUNT({text.value}), COUNT({number.value}), COUNT(*) FILTER ({codes}),
        COUNT(*) FILTER (lower({text.value}) = 'true' OR lower({text.value}) = 'false'), MAX({digits_sql}), MAX({decimals_sql})
        FROM {table.sql}"""  # noqa: S608 - constant or quoted names
    with duckdb.connect() as connection:
        rows, known, readable, codes, logical, digits, decimals = connection.execute(query).fetchall()[0]
        if not known or readable < _MOSTLY * known or codes:
            return text.value
        refuse_unreadable(table, reading, find_unreadable(connection, table, [number]), rows)
    if keeps_codes and logical == readable:
        return f"({number.value} = 1)"
    return exact_number(number, plain, digits, decimals)


def exact_number(number: ColumnCast, plain: str, digits: int, decimals: int) -> str:
    """Return the SQL expression of the numbers of a column of text, exact if a type has enough digits, otherwise a DOUBLE.

    A double cannot distinguish 9007199254740993 from its neighbours, and 0.2 + 0.1 is not 0.3 as doubles.

    Args:
        number: The cast of the column to numbers.
        plain: SQL expression of the text of a number with a decimal point.
        digits: Largest number of digits before the decimal point.
        decimals: Largest number of digits after it.
    """
    if digits + decimals <= DIGITS_MAX:
        return f"CAST({plain} AS DECIMAL({max(digits, 1) + decimals},{decimals}))"
    if decimals == 0 and digits <= _WHOLE_DIGITS_MAX:
        return f"CAST(CAST({plain} AS DECIMAL(38,0)) AS HUGEINT)"
    return number.value


def plain_number(table: RawTable, number: ColumnCast, text: ColumnCast) -> str:
    """Return the SQL expression of the text of a number with a decimal point and without groups; NULL without a number.

    Args:
        table: The table.
        number: The cast of a column of text to numbers.
        text: The cast of the column to text.
    """
    numbers = numbers_of(table, number.column)
    plain = numbers.standard_sql(text.value, is_grouped=bool(numbers.thousands))
    plain = f"CASE lower({text.value}) WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE ltrim({plain}, '+') END"
    return f"CASE WHEN {number.value} IS NOT NULL THEN {plain} END"


def digits_of(number: str) -> tuple[str, str]:
    """Return SQL expressions of how many digits a number needs before and after its decimal point.

    Args:
        number: SQL expression of the text of a number with a decimal point, without groups; 1e5 needs six digits.
    """
    power = (
        f"CASE WHEN contains(lower({number}), 'e') THEN CAST(split_part(lower({number}), 'e', 2) AS INTEGER) ELSE 0 END"
    )
    mantissa = f"ltrim(split_part(lower({number}), 'e', 1), '-')"
    whole, fraction = (f"LENGTH(split_part({mantissa}, '.', {part}))" for part in (1, 2))
    return f"GREATEST({whole} + {power}, 0)", f"GREATEST({fraction} - {power}, 0)"


def _add_mapped_column(
    table: RawTable,
    derivation: ColumnDerivation,
    source: MappedColumn,
    reading: ReadingSpec,
    folder: Path,
    temporary: Path,
) -> RawTable:
    """Return the table with an additional column: the values of a column, replaced as a table of values states."""
    if table.find(source.column) is None:
        table = _add_expression(
            table, ColumnDerivation(derivation.field, source.column), source.column, reading, temporary
        )
    values = _value_pairs(source, derivation.field, folder, temporary) | source.values
    _check_results(
        source, derivation.field, source.values, lambda value: f"values of {derivation.field} replaces {value!r}"
    )
    written = text_cast(table, source.column, derivation.field, reading.missing).value
    listed = ", ".join(f"{quote_literal(old)}: {quote_literal(new)}" for old, new in sorted(values.items()))
    sql = f"MAP {{{listed}}}[{written}]"
    table = read_strictly(table, temporary, _read_completely)
    with duckdb.connect() as connection:
        query = f"""SELECT {written} AS written, COUNT(*), {sql} IS NULL FROM {table.sql} WHERE {written} IS NOT NULL
            GROUP BY ALL ORDER BY COUNT(*) DESC, written"""  # noqa: S608 - constant names, quoted text
        found = connection.execute(query).fetchall()
    unknown = [(value, count) for value, count, is_unknown in found if is_unknown]
    if unknown:
        shown = ", ".join(f"{value!r} ({count:,})" for value, count in unknown[:_VALUES_SHOWN])
        more = ", ..." if len(unknown) > _VALUES_SHOWN else ""
        raise DataInvalid(
            f"column {quote_name(source.column)}: {len(unknown):,} values have no entry in {source.map or 'values'} of {derivation.field}: "
            f"{shown}{more}; add them to the table of values"
        )
    new = f"c{len(table.columns) + 1}"
    present = ", ".join(column.sql for column in table.columns)
    mapped = f"(SELECT {present}, {sql} AS {new} FROM {table.sql})"  # noqa: S608 - constant names, quoted text
    note = _note_of_unused({*values} - {value for value, *_ in found}, len(values))
    column = RawColumn(derivation.name, new, "VARCHAR", inputs=(source.column,), note=note)
    return replace(table, sql=mapped, columns=(*table.columns, column), text=None)


def _note_of_unused(unused: Collection[str], count: int) -> str:
    """Return a clause about the entries of a table of values that replace no value; "" if there are none."""
    if not unused:
        return ""
    shown = ", ".join(shorten_list([*map(repr, sorted(unused))], _UNUSED_SHOWN, ""))
    return f"{len(unused):,} of {count:,} entries of the table of values replace no value: {shown}"


def _value_pairs(source: MappedColumn, field: str, folder: Path, temporary: Path) -> dict[str, str]:
    """Return the pairs of a table of values: its first column has the values in the data, and its second column the values to use instead.

    Raises:
        DataInvalid: The file is unreadable, does not have two columns, or has two entries for a value.
    """
    if source.map is None:
        return {}
    pairs = open_file(folder / source.map, ReadingSpec(), temporary, (), f"{field}.map")
    if len(pairs.columns) != 2:  # noqa: PLR2004 - the old value and the new one
        raise DataInvalid(
            f"{field}.map: {source.map} must have two columns, the value and its replacement, got {len(pairs.columns)} columns; correct the file"
        )
    pairs = read_strictly(pairs, temporary, _read_completely)
    old, new = (text_cast(pairs, column.name, f"{field}.map").value for column in pairs.columns)
    with duckdb.connect() as connection:
        query = (
            f"SELECT DISTINCT {old}, {new} FROM {pairs.sql} WHERE {old} IS NOT NULL AND {new} IS NOT NULL ORDER BY 1"  # noqa: S608 - constant or quoted names
        )
        rows = connection.execute(query).fetchall()
    found = dict(rows)
    _check_results(
        source, field, found, lambda value: f"{_place_of(pairs, old, value)} of {source.map} replaces {value!r}"
    )
    if len(found) < len(rows):
        raise DataInvalid(f"{field}.map: {source.map} has several replacements for a value; keep one for each value")
    return found


def _check_results(source: MappedColumn, field: str, values: Mapping[str, str], entry: Callable[[str], str]) -> None:
    """Raise DataInvalid if a value is replaced with an invalid market or customer.

    Args:
        source: The mapped column.
        field: Field of the spec.
        values: The replacement of each value.
        entry: Function that returns the beginning of a sentence about the entry of a value.
    """
    role = field.rpartition(".")[2].removesuffix("_column")
    if role not in _RESULTS:
        return
    pattern, rule = _RESULTS[role]
    for value, replacement in values.items():
        if not re.fullmatch(pattern, replacement):
            raise DataInvalid(
                f"column {quote_name(source.column)}: {entry(value)} with {replacement!r}, but {rule}; correct this entry"
            )


def _place_of(pairs: RawTable, old: str, value: str) -> str:
    """Return the line or row of a table of values that has a value in its first column.

    Args:
        pairs: The table of values.
        old: SQL expression of its first column.
        value: The value.
    """
    query = f"SELECT MIN(record) FROM (SELECT row_number() OVER () AS record, {old} AS old FROM {pairs.sql}) WHERE old = $value"  # noqa: S608 - constant or quoted names
    with duckdb.connect() as connection:
        record = int(connection.execute(query, {"value": value}).fetchall()[0][0])
    return pairs.places([record])[0]
