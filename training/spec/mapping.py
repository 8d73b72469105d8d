"""The part of the spec about computed columns: SQL expressions, and tables of values."""

from pydantic import Field

from training.spec.part import SpecPart


class MappedColumn(SpecPart):
    """A column whose values are replaced with the help of a table of values.

    Attributes:
        column: The column, or an SQL expression over columns of the same row, such as TRIM(Country).
        map: Path of a table with two columns, the value in the data and its replacement, relative to the spec file.
        values: The replacement of each value in the data, in addition to the rows of `map`.
    """

    column: str = Field(min_length=1)
    map: str | None = None
    values: dict[str, str] = Field(default_factory=dict)


# A mapped column is the name of a column, an SQL expression over columns of the same row, or a table of values.
ColumnSource = str | MappedColumn
