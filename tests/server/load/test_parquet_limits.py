"""A small crafted Parquet file is refused before its values fill the memory."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.errors import LoadRefused
from server.load.parquet_limits import open_parquet
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
