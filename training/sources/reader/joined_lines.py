"""Rejects a text file in which a quotation mark joins lines that are separate records."""

import re

import duckdb

from training.errors import DataInvalid, quote_name
from training.sources.reader.raw_table import RawTable, quote_literal

_COLUMNS_MIN = 3  # a text of several lines may look like the records of fewer columns
_COLUMNS_MAX = 500  # a regular expression cannot count more


def check_joined_lines(connection: duckdb.DuckDBPyConnection, table: RawTable, rows: int, source: str = "") -> None:
    """Raise DataInvalid if a quoted cell consists of the end of a record, of whole records, and of the start of another.

    A quotation mark at the start of one cell and another at the end of a cell of a later line make one record of these lines,
    with the right number of cells. The file is searched only if it has more lines than records.

    Args:
        connection: A connection that can read the table.
        table: The table.
        rows: Number of its rows.
        source: SQL table expression of its rows; "" for that of the table.
    """
    text = table.quoted_text
    if text is None or not _COLUMNS_MIN <= len(text.header) <= _COLUMNS_MAX:
        return
    if text.count_line_feeds() <= rows + text.first_lines + 1:
        return
    mark = re.escape(text.separator)
    start, further = rf"[^{mark}\n]*", rf"[{mark}]([^ {mark}\n][^{mark}\n]*)?"  # a comma of a sentence precedes a space
    width = len(text.header)
    for position, column in enumerate(table.columns[:width]):
        before, whole, after = (
            f"{start}({further}){{{count}}}" for count in (width - 1 - position, width - 1, position)
        )
        pattern = quote_literal(rf"{before}\n({whole}\n)*{after}")
        joined = f"contains({column.sql}, chr(10)) AND regexp_full_match({column.sql}, {pattern})"
        numbered = f"(SELECT row_number() OVER () AS place, {column.sql} FROM {source or table.sql})"  # noqa: S608 - constant or quoted names
        first = connection.execute(f"SELECT MIN(place) FROM {numbered} WHERE {joined}").fetchall()[0][0]  # noqa: S608 - as above
        if first is not None:
            raise DataInvalid(
                f"column {quote_name(column.name)}: a quoted cell in {table.places([first])[0]} of {table.name} has the text of several "
                "lines with all their cells, because a quotation mark is missing or superfluous; correct the quotation marks, or write "
                "the file without line ends in its cells"
            )


def count_rows(connection: duckdb.DuckDBPyConnection, table: RawTable) -> int:
    """Return the number of rows of a table.

    Raises:
        DataInvalid: A quotation mark joins lines of its file.
    """
    rows = int(connection.execute(f"SELECT COUNT(*) FROM {table.sql}").fetchall()[0][0])  # noqa: S608 - quoted
    check_joined_lines(connection, table, rows)
    return rows
