"""Reads Parquet files within limits, so that a small crafted file cannot use up the memory of the machine.

A file of one megabyte can declare billions of values, because repeated values take no space. This module checks the
limits on the footer, before it reads any value. It reads texts as dictionaries, in which a repeated text takes space
only once, and converts them to plain texts only after it has checked their lengths.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from server.errors import LoadRefused

_FOOTER_BYTES_MAX = 16 * 1024 * 1024
_COLUMNS_MAX = 2_000
_ROW_GROUPS_MAX = 10_000
_ROWS_MAX = 20_000_000
# Real rows differ in the customer or the time, so they take at least one byte each. Therefore a file must not have more
# rows than bytes, unless it has at most this number of rows.
_ROWS_OF_SMALL_FILE = 10_000
_CHUNK_BYTES_MAX = 256 * 1024 * 1024  # for one column in one row group
_VALUES_PER_ROW_MAX = 10_000  # in a column of lists
_TEXT_BYTES_MAX = 64 * 1024  # the longest texts of real files are the drivers of a customer
_FOOTER_END_BYTES = 8  # 4 bytes with the length of the footer, 4 bytes PAR1
_BYTE_ARRAY = "BYTE_ARRAY"  # the physical type of texts


class LimitedParquet:
    """An open Parquet file whose footer is within the limits.

    Attributes:
        path: Path of the file.
        schema: Arrow schema of the file.
    """

    def __init__(self, path: Path, schema: pa.Schema, file: pq.ParquetFile) -> None:
        self.path, self.schema, self._file = path, schema, file

    def read_columns(self, names: Sequence[str]) -> pa.Table:
        """Read whole columns.

        Raises:
            LoadRefused: A text is too long.
        """
        return self._plain(self._file.read(list(names)))

    def iterate_batches(self, rows: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of at most `rows`.

        Raises:
            LoadRefused: A text is too long.
        """
        for batch in self._file.iter_batches(rows, columns=list(names)):
            yield from self._plain(pa.Table.from_batches([batch])).combine_chunks().to_batches()

    def _plain(self, table: pa.Table) -> pa.Table:
        """Check the lengths of the texts, and return the table with plain texts instead of dictionaries."""
        for number, name in enumerate(table.schema.names):
            column, kind = table.column(number), self.schema.field(name).type
            if column.type == kind:
                continue
            for chunk in column.chunks:
                if (longest := _longest_text(chunk)) > _TEXT_BYTES_MAX:
                    raise LoadRefused(
                        f"{self.path}: column {name!r}: a text must have at most {_TEXT_BYTES_MAX} bytes, found {longest}"
                    )
            table = table.set_column(number, name, column.cast(kind))
        return table.replace_schema_metadata(self.schema.metadata)


@contextmanager
def open_parquet(path: Path) -> Iterator[LimitedParquet]:
    """Open a Parquet file, and check its footer.

    Raises:
        LoadRefused: The file is not a Parquet file, or its footer exceeds a limit. The message states the first
            exceeded limit.
    """
    try:
        _check_footer_length(path)
        with pq.ParquetFile(path) as file:
            schema, problems = file.schema_arrow, list(_footer_problems(path, file.metadata))
            texts = [
                file.schema.column(number).path
                for number in range(file.metadata.num_columns if not problems else 0)
                if file.schema.column(number).physical_type == _BYTE_ARRAY
            ]
    except (OSError, pa.ArrowException, ValueError) as error:
        raise LoadRefused(f"{path}: cannot be read as Parquet: {error}") from error
    if problems:
        raise LoadRefused(f"{path}: {'; '.join(problems)}; split the file, or write it again with `python -m training`")
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        yield LimitedParquet(path, schema, file)


def _check_footer_length(path: Path) -> None:
    """Raise ValueError if the footer is too long to be parsed."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _FOOTER_END_BYTES))
        length = int.from_bytes(file.read(4), "little")
    if length > min(size, _FOOTER_BYTES_MAX):
        raise ValueError(f"the footer must have at most {min(size, _FOOTER_BYTES_MAX)} bytes, its length is {length}")


def _footer_problems(path: Path, footer: pq.FileMetaData) -> Iterator[str]:
    """Yield a sentence about the first exceeded limit, if there is one."""
    rows_max = min(_ROWS_MAX, max(_ROWS_OF_SMALL_FILE, path.stat().st_size))
    for what, count, limit in (
        ("columns", footer.num_columns, _COLUMNS_MAX),
        ("row groups", footer.num_row_groups, _ROW_GROUPS_MAX),
        ("rows", footer.num_rows, rows_max),
    ):
        if count > limit:
            yield f"must have at most {limit:,} {what} for its size, found {count:,}"
            return
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for column in (group.column(index) for index in range(group.num_columns)):
            size = max(column.total_uncompressed_size, column.total_compressed_size)
            if size > _CHUNK_BYTES_MAX:
                yield f"column {column.path_in_schema!r}: must have at most {_CHUNK_BYTES_MAX:,} bytes per row group, found {size:,}"
                return
            if column.num_values > max(1, group.num_rows) * _VALUES_PER_ROW_MAX:
                yield (
                    f"column {column.path_in_schema!r}: must have at most {_VALUES_PER_ROW_MAX:,} values per row, found "
                    f"{column.num_values:,} in {group.num_rows:,} rows"
                )
                return


def _longest_text(values: pa.Array) -> int:
    """Return the number of bytes of the longest text in the dictionary of an array, or of the values of its lists."""
    while pa.types.is_list(values.type):
        values = values.values
    if not pa.types.is_dictionary(values.type):
        return 0
    return int(pc.max(pc.binary_length(values.dictionary)).as_py() or 0)
