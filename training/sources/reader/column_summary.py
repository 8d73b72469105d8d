"""The summary of a source. It states for every column what training uses the column as, or why it is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """What training does with one column.

    Attributes:
        column: The name of the column as its owner wrote it.
        use: What the column is used as, e.g. "feature"; "left out" if it is not used.
        detail: The reason, and the number of values that were changed or are missing.
        first_odd: The first value that does not have the type of the column, with its place; "" if there is none.
    """

    column: str
    use: str
    detail: str = ""
    first_odd: str = ""


def column_table(columns: Sequence[ColumnSummary]) -> Table:
    """Return the terminal table of the columns."""
    table = Table(title="Columns", title_justify="left")
    for heading in ("column", "used as", "how it was read", "first odd value"):
        table.add_column(heading, overflow="fold")
    for column in columns:
        table.add_row(column.column, column.use, column.detail, column.first_odd)
    return table
