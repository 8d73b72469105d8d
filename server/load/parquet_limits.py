"""Reads Parquet files within limits, so that a small crafted file cannot use up the memory of the machine.

A file of one megabyte can declare billions of values, because repeated values take no space. This module checks the
limits on the footer and on the headers of all pages, before it reads any value. It reads texts as dictionaries, in which a
repeated text takes space only once, and converts them to plain texts only after it has checked their lengths.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from server.errors import LoadRefused
from server.load.parquet_pages import PageHeaderInvalid, read_page_headers

_FOOTER_BYTES_MAX = 16 * 1024 * 1024
_COLUMNS_MAX = 2_000
_ROW_GROUPS_MAX = 10_000
_ROWS_MAX = 20_000_000
# Real rows differ in the customer or the time, so they take at least one byte each. Therefore a file must not have more
# rows than bytes, unless it has at most this number of rows.
_ROWS_OF_SMALL_FILE = 10_000
_CHUNK_BYTES_MAX = 256 * 1024 * 1024  # for one column in one row group
_VALUES_PER_ROW_MAX = 10_000  # in a column of lists
_VALUES_MAX = _CHUNK_BYTES_MAX // 8  # of one column in one row group
_TEXT_BYTES_MAX = 64 * 1024  # the longest texts of real files are the drivers of a customer
_BUFFERS_PER_FILE_BYTE = 20
# Plain texts of one column that are in memory at the same time: at least this many bytes are allowed, and more for more rows.
_TEXTS_BYTES = 64 * 1024 * 1024
_TEXTS_BYTES_PER_ROW = 128
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
            LoadRefused: A text is too long, the texts are too long together, or the file is damaged.
        """
        with _refuse_damaged(self.path):
            return self._plain(self._file.read(list(names)))

    def iterate_batches(self, rows: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of at most `rows`.

        Raises:
            LoadRefused: A text is too long, the texts are too long together, or the file is damaged.
        """
        # PyArrow cannot read lists of texts as dictionaries if a batch has rows of two row groups.
        for group in range(self._file.num_row_groups):
            batches = self._file.iter_batches(rows, row_groups=[group], columns=list(names))
            while (plain := self._next_plain(batches)) is not None:
                yield from plain

    def _next_plain(self, batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch] | None:
        """Return the rows of the next batch with plain texts; None at the end."""
        with _refuse_damaged(self.path):
            batch = next(batches, None)
            return None if batch is None else self._plain(pa.Table.from_batches([batch])).combine_chunks().to_batches()

    def _plain(self, table: pa.Table) -> pa.Table:
        """Check the lengths of the texts, and return the table with plain texts instead of dictionaries."""
        texts_max = max(_TEXTS_BYTES, _TEXTS_BYTES_PER_ROW * table.num_rows)
        for number, name in enumerate(table.schema.names):
            column, kind = table.column(number), self.schema.field(name).type
            if column.type == kind:
                continue
            total = 0
            for chunk in column.chunks:
                longest, chunk_total = _text_lengths(chunk)
                total += chunk_total
                if longest > _TEXT_BYTES_MAX:
                    raise LoadRefused(
                        f"{self.path}: column {name!r}: a text must have at most {_TEXT_BYTES_MAX} bytes, found {longest}"
                    )
            if total > texts_max:
                raise LoadRefused(
                    f"{self.path}: column {name!r}: the texts of {table.num_rows:,} rows must have at most {texts_max:,} bytes "
                    f"together, found {total:,}"
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
    with _refuse_damaged(path):
        _check_footer_length(path)
        with pq.ParquetFile(path) as file:
            schema, problems = file.schema_arrow, list(_footer_problems(path, file.metadata))
            if not problems:
                problems = list(_page_problems(path, file.metadata))
            texts = [
                file.schema.column(number).path
                for number in range(file.metadata.num_columns if not problems else 0)
                if file.schema.column(number).physical_type == _BYTE_ARRAY
            ]
    if problems:
        raise LoadRefused(f"{path}: {'; '.join(problems)}; split the file, or write it again with `python -m training`")
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        yield LimitedParquet(path, schema, file)


@contextmanager
def _refuse_damaged(path: Path) -> Iterator[None]:
    """Raise LoadRefused instead of an error of the reader during the block."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        raise LoadRefused(f"{path}: cannot be read as Parquet: {error}") from error


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
    stored = sum(
        column.total_compressed_size
        for group in map(footer.row_group, range(footer.num_row_groups))
        for column in map(group.column, range(min(group.num_columns, footer.num_columns)))
    )
    if stored > path.stat().st_size:
        yield f"the columns of all row groups must have at most the {path.stat().st_size:,} bytes of the file, the footer states {stored:,}"
        return
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        if group.num_columns != footer.num_columns:  # PyArrow would read memory that does not belong to the footer
            yield f"row group {number} must have the {footer.num_columns} columns of the schema, found {group.num_columns}"
            return
        for column in map(group.column, range(group.num_columns)):
            if problem := _chunk_problem(column, group.num_rows):
                yield f"column {column.path_in_schema!r}: {problem}"
                return


def _chunk_problem(column: pq.ColumnChunkMetaData, rows: int) -> str:
    """Return which limit a column exceeds in one row group, according to the footer; "" if none."""
    sizes = (column.total_uncompressed_size, column.total_compressed_size, column.num_values)
    if min(sizes) < 0:
        return "must have no negative size"
    if max(sizes[:2]) > _CHUNK_BYTES_MAX:
        return f"must have at most {_CHUNK_BYTES_MAX:,} bytes per row group, found {max(sizes[:2]):,}"
    if column.num_values > min(_VALUES_MAX, max(1, rows) * _VALUES_PER_ROW_MAX):
        return (
            f"must have at most {_VALUES_PER_ROW_MAX:,} values per row and {_VALUES_MAX:,} per row group, found "
            f"{column.num_values:,} in {rows:,} rows"
        )
    return ""


def _page_problems(path: Path, footer: pq.FileMetaData) -> Iterator[str]:
    """Yield a sentence about the first column whose pages exceed a limit, if there is one.

    The footer may state smaller sizes than the pages have.

    Raises:
        PageHeaderInvalid: A page header cannot be parsed, or the pages contradict the footer.
        OSError: The file cannot be read.
    """
    # A reader has one page and the dictionary of every column in memory. Pages of real files are not much larger than the file.
    buffers_max = max(_CHUNK_BYTES_MAX, _BUFFERS_PER_FILE_BYTE * path.stat().st_size)
    with path.open("rb", buffering=0) as file:
        for number in range(footer.num_row_groups):
            group, buffers = footer.row_group(number), 0
            for column in (group.column(index) for index in range(group.num_columns)):
                total, largest, problem = _measure_pages(file.fileno(), column)
                buffers += largest
                if not problem and max(total, largest) > _CHUNK_BYTES_MAX:
                    problem = f"must have at most {_CHUNK_BYTES_MAX:,} bytes per row group, and its pages have more"
                if not problem and buffers > buffers_max:
                    problem = f"the largest pages of all columns must have at most {buffers_max:,} bytes together"
                if problem:
                    yield f"column {column.path_in_schema!r}: {problem}"
                    return


def _measure_pages(descriptor: int, column: pq.ColumnChunkMetaData) -> tuple[int, int, str]:
    """Read the headers of all pages of a column chunk.

    Returns:
        The bytes of all pages and headers; the bytes of the dictionary and the largest other page together; and the
        problem of the dictionary, "" if it has none.

    Raises:
        PageHeaderInvalid: A page header cannot be parsed, or the pages contradict the footer.
    """
    if not column.num_values:  # in this case, a reader reads no page
        return 0, 0, ""
    starts = [column.data_page_offset]
    if column.has_dictionary_page and column.dictionary_page_offset:
        starts.append(column.dictionary_page_offset)
    total = dictionary = largest = 0
    for page in read_page_headers(descriptor, min(starts), column.total_compressed_size, column.num_values):
        total += page.header_bytes + page.uncompressed_bytes
        if page.is_dictionary:
            dictionary += page.uncompressed_bytes
            if page.values > page.uncompressed_bytes:
                return total, largest, "a dictionary must not have more values than bytes"
        else:
            largest = max(largest, page.uncompressed_bytes)
        if total > _CHUNK_BYTES_MAX:
            return total, dictionary + largest, ""
    if total != column.total_uncompressed_size:
        raise PageHeaderInvalid(
            f"the pages of column {column.path_in_schema!r} have {total:,} bytes, but the footer states "
            f"{column.total_uncompressed_size:,}"
        )
    return total, dictionary + largest, ""


def _text_lengths(values: pa.Array) -> tuple[int, int]:
    """Return the number of bytes of the longest text, and of all texts together if each is stored plainly.

    Args:
        values: An array of dictionaries of texts, or of lists of them. Other arrays have no texts.
    """
    while pa.types.is_list(values.type):
        values = values.flatten()
    if not pa.types.is_dictionary(values.type):
        return 0, 0
    lengths = pc.binary_length(values.dictionary).cast(pa.int64())
    return int(pc.max(lengths).as_py() or 0), int(pc.sum(lengths.take(values.indices)).as_py() or 0)
