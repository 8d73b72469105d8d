"""A small crafted Parquet file is refused before its values fill the memory."""

import itertools
import json
import random
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.errors import LoadRefused
from server.load.parquet_limits import open_parquet
from server.load.parquet_pages import read_page_headers
from server.stores.database import Database
from tests.conftest import LOAD_TIME
from tests.server.load.test_files import AS_OF, GOOD, write
from tests.server.loading import load_file

MANIFEST = {"kind": "features", "family": "credit", "feature_set_digest": "0" * 64}
MEMORY_MAX = 300 * 1024 * 1024


def write_repeated(path: Path, rows: int, columns: int, text: str = "C1") -> Path:
    """Write a feature file whose rows are all equal, so that the compressed file is tiny; return the path."""
    names = [f"f{number}" for number in range(columns)]
    schema = pa.schema(
        [
            ("market", pa.string()),
            ("customer_id", pa.string()),
            ("as_of", pa.timestamp("us", tz="UTC")),
            *((name, pa.float64()) for name in names),
        ],
        metadata={"grounds": json.dumps({**MANIFEST, "feature_names": names})},
    )
    keys = [
        pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [word]).cast(pa.string())
        if len(word) < 100
        else pa.array([word] * rows)
        for word in ("DE", text)
    ]
    time = pa.array(np.full(rows, int(AS_OF.timestamp()) * 10**6), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    arrays = [*keys, time, *([pa.array(np.zeros(rows))] * columns)]
    pq.write_table(pa.table(dict(zip(schema.names, arrays, strict=True)), schema=schema), path, compression="zstd")
    return path


@pytest.mark.parametrize(
    ("rows", "columns", "problem"),
    [(3_000_000, 20, "rows for its size, found 3,000,000"), (3, 2001, "at most 2,000 columns")],
)
def test_a_file_that_declares_too_much_for_its_size_is_refused_without_being_read(
    database: Database, tmp_path: Path, rows: int, columns: int, problem: str
) -> None:
    path = write_repeated(tmp_path / "bomb.parquet", rows, columns)
    assert path.stat().st_size < 1_200_000
    before = pa.total_allocated_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(LoadRefused, match=problem):
        load_file(database, path, LOAD_TIME)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[1]
    assert grown * 1024 < MEMORY_MAX
    assert pa.total_allocated_bytes() <= before[0] + 1024 * 1024


def test_a_long_text_that_is_repeated_in_every_row_is_refused_before_it_is_copied(
    database: Database, tmp_path: Path
) -> None:
    path = write_repeated(tmp_path / "long.parquet", 500, 1, "C" * 200_000)
    assert path.stat().st_size < 100_000

    with pytest.raises(LoadRefused, match="column 'customer_id': a text must have at most 65536 bytes, found 200000"):
        load_file(database, path, LOAD_TIME)


def test_texts_that_are_too_long_together_are_refused_before_they_are_copied(
    database: Database, tmp_path: Path
) -> None:
    path = write_repeated(tmp_path / "texts.parquet", 10_000, 1, "C" * 99)
    long = pq.read_table(path).set_column(
        1, "customer_id", pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), ["C" * 60_000]).cast(pa.string())
    )
    pq.write_table(long, path, compression="zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert path.stat().st_size < 10_000

    with pytest.raises(LoadRefused, match=r"the texts of 10,000 rows must have at most .* found 600,000,000"):
        load_file(database, path, LOAD_TIME)

    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_MAX


def varint(number: int) -> bytes:
    """Return a number that is not negative as an integer of Thrift's compact protocol."""
    number, content = 2 * number, b""
    while number > 127:
        number, content = number >> 7, content + bytes([number & 127 | 128])
    return content + bytes([number])


def write_large_page(path: Path, megabytes: int, *, states: int | None = None) -> Path:
    """Write a feature file whose last column has one page, which is larger than the footer states; return the path.

    Args:
        path: Path of the file.
        megabytes: Size of the page. Its first values are the zeros of all rows.
        states: Size in bytes that the header of the page states; None for the true size.
    """
    rows = 9_000
    table = pq.read_table(write_repeated(path, rows, 1))
    table = table.set_column(1, "customer_id", pa.array([f"C{number}" for number in range(rows)]))
    table = table.set_column(
        3, "f0", pa.array(np.random.default_rng(0).random(rows))
    )  # takes the place of the large page
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    column = pq.read_metadata(path).row_group(0).column(3)
    compressed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(compressed, "zstd") as stream:
        stream.write(b"\x04\0\0\0" + varint(rows) + b"\x01")  # no value is null
        for _ in range(megabytes):
            stream.write(bytes(1 << 20))
    page = compressed.getvalue().to_pybytes()
    size = states or (megabytes << 20) + 8
    header = b"\x15\x00\x15" + varint(size) + b"\x15" + varint(len(page)) + b"\x2c\x15" + varint(rows)
    header += bytes.fromhex("1500150615061c000000")  # plain values, no statistics, end of the header
    content, start = path.read_bytes(), column.data_page_offset
    new = header + page
    assert len(new) < column.total_compressed_size
    path.write_bytes(content[:start] + new + content[start + len(new) :])
    return path


@pytest.mark.parametrize(
    ("megabytes", "states", "problem"),
    [
        (600, None, "at most 268,435,456 bytes per row group, and its pages have more"),
        (1, 2**31 - 1, "at most 268,435,456 bytes per row group, and its pages have more"),
        (1, 1000, "cannot be read as Parquet"),
    ],
    ids=["large page", "page that states too much", "page that states too little"],
)
def test_a_page_that_contradicts_the_footer_is_refused_before_it_is_decompressed(
    database: Database, tmp_path: Path, megabytes: int, states: int | None, problem: str
) -> None:
    path = write_large_page(tmp_path / "page.parquet", megabytes, states=states)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(LoadRefused, match=problem):
        load_file(database, path, LOAD_TIME)

    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_MAX


def test_the_page_headers_of_files_of_every_form_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "number": pa.array(rng.random(50_000)),
            "text": pa.array([f"text {number % 700}" for number in range(50_000)]),
            "codes": pa.array([["A"] * (number % 3) for number in range(50_000)]),
            "empty": pa.nulls(50_000, pa.float64()),
        }
    )
    forms = itertools.product(("1.0", "2.0"), (True, False), ("none", "zstd", "snappy"), (True, False))
    for number, (version, dictionary, codec, index) in enumerate(forms):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(
            table,
            path,
            data_page_version=version,
            use_dictionary=dictionary,
            compression=codec,
            write_page_index=index,
            row_group_size=20_000,
            data_page_size=30_000,
        )
        with open_parquet(path) as file:
            batches = file.iterate_batches(7_000, table.schema.names)
            assert pa.Table.from_batches(list(batches)).equals(table)
        footer = pq.read_metadata(path)
        with path.open("rb") as opened:
            for group, place in itertools.product(range(footer.num_row_groups), range(footer.num_columns)):
                column = footer.row_group(group).column(place)
                start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
                headers = list(
                    read_page_headers(opened.fileno(), start, column.total_compressed_size, column.num_values)
                )
                assert sum(page.values for page in headers if not page.is_dictionary) == column.num_values
                assert sum(page.is_dictionary for page in headers) == column.has_dictionary_page
                assert sum(page.uncompressed_bytes for page in headers) <= column.total_uncompressed_size


def data_header(kind: bytes = b"\x15\x00", size: bytes = b"\x15\x50", values: bytes = b"\x2c\x15\x0a") -> bytes:
    """Return the header of a data page with 40 bytes and 5 values. Each part can be replaced."""
    return kind + size + b"\x15\x50" + values + bytes.fromhex("1500150615060000")


# A lenient reader accepts each of these headers, and may read other sizes from it than a strict one.
AMBIGUOUS = {
    "size of 64 bits": data_header(size=b"\x16\x50"),
    "size of 16 bits": data_header(size=b"\x14\x50"),
    "size beyond 32 bits": data_header(size=b"\x15" + varint(2**31)),
    "negative size": data_header(size=b"\x15\x01"),
    "size twice": data_header(size=b"\x15" + varint(2**30) + b"\x05\x04\x50"),
    "checksum of another type twice": data_header(size=b"\x15\x50\x28\x00\x08\x08\x00\x05\x06\x50"),
    "index page": data_header(kind=b"\x15\x02"),
    "unknown page": data_header(kind=b"\x15\x0e"),
    "no type": data_header()[2:],
    "type of 64 bits": data_header(kind=b"\x16\x00"),
    "dictionary page with the fields of a data page": data_header(kind=b"\x15\x04"),
    "values of 64 bits": data_header(values=b"\x2c\x16\x0a"),
    "values twice": data_header(values=b"\x2c\x15\x0a\x05\x02\x0a"),
    "fields of two kinds of pages": data_header()[:-1] + b"\x3c\x15\x0a\x00\x00",
}


@pytest.mark.parametrize("header", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_page_header_that_two_readers_may_understand_differently_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "pages"

    def read(one: bytes, values: int = 5, more: int = 0) -> int:
        path.write_bytes(one + bytes(40))
        with path.open("rb") as file:
            return len(list(read_page_headers(file.fileno(), 0, len(one) + 40 + more, values)))

    assert read(data_header()) == 1
    for values, more in ((4, 0), (6, 0), (5, 1), (5, -1)):
        with pytest.raises(ValueError, match="page"):
            read(data_header(), values, more)
    with pytest.raises(ValueError, match="page"):
        read(header)


def test_a_footer_that_names_the_same_bytes_many_times_is_refused(tmp_path: Path) -> None:
    """The footer lists the same row group 31 times, so it states far more rows than the file stores."""
    path, footer_path = write_repeated(tmp_path / "file.parquet", 300, 1), tmp_path / "footer.parquet"
    table = pq.read_table(path).set_column(3, "f0", pa.array(np.random.default_rng(0).random(300)))
    pq.write_table(table, path)
    content = path.read_bytes()
    footer = pq.read_metadata(path)
    for _ in range(30):
        footer.append_row_groups(pq.read_metadata(path))
    footer.write_metadata_file(footer_path)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:start] + footer_path.read_bytes()[4:])
    assert pq.read_table(path).num_rows == 31 * 300

    with pytest.raises(LoadRefused, match="the columns of all row groups must have at most"), open_parquet(path):
        pass


def test_damaged_page_headers_are_refused_and_never_take_long(tmp_path: Path) -> None:
    path, random_ = write_repeated(tmp_path / "file.parquet", 500, 3), random.Random(3)  # noqa: S311 - draws damage, not secrets
    whole = path.read_bytes()
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # the footer stays as it is
    spent = time.process_time()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(random_.randint(1, 4)):
            content[random_.randrange(4, end)] = random_.randrange(256)
        path.write_bytes(content)
        with suppress(LoadRefused), open_parquet(path) as file:
            file.read_columns(file.schema.names)

    assert time.process_time() - spent < 60


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-8] + (2**31 - 1).to_bytes(4, "little") + content[-4:],
        lambda content: content[:-8] + len(content).to_bytes(4, "little") + content[-4:],
        lambda content: content[: len(content) // 2],
        lambda _content: b"",
    ],
    ids=["huge length", "length of the file", "half", "empty"],
)
def test_a_damaged_footer_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "file.parquet", GOOD)
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(LoadRefused, match="cannot be read as Parquet"), open_parquet(path):
        pass


def test_texts_and_lists_of_texts_are_read_as_they_were_written(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", None, "ß" * 30_000, "a"]),
            "codes": pa.array([["A", "B"], [], None, ["A"]], pa.list_(pa.string())),
            "numbers": pa.array([[1.0], [], None, [2.0, None]], pa.list_(pa.float64())),
        }
    )
    pq.write_table(table, tmp_path / "file.parquet")

    with open_parquet(tmp_path / "file.parquet") as file:
        whole = file.read_columns(table.schema.names)
        parts = pa.Table.from_batches(list(file.iterate_batches(2, table.schema.names)))

    assert whole.equals(table)
    assert parts.to_pylist() == table.to_pylist()
