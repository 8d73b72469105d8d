"""A crafted Arrow stream from a server is refused before it is decompressed."""

import numpy as np
import pyarrow as pa
import pytest

from grounds_client.errors import PullRefused
from grounds_client.pull.arrow_limits import _decoded_sizes, read_arrow_stream

TABLE = pa.table({"customer_id": ["C1", None, "Łódź"], "pd": [0.1, 0.2, None], "codes": [["A"], [], None]})


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_a_stream_is_read_as_it_was_written(compression: str | None) -> None:
    assert read_arrow_stream(stream(TABLE, compression)).equals(TABLE)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_small_stream_that_would_decompress_to_too_many_bytes_is_refused_before_decompression(
    compression: str,
) -> None:
    bomb = stream(pa.table({"pd": np.zeros(40_000_000)}), compression)
    before = pa.total_allocated_bytes()
    peak = pa.default_memory_pool().max_memory()

    with pytest.raises(
        PullRefused, match=r"it has 3200000.. bytes when it is decompressed, expected at most 268435456"
    ):
        read_arrow_stream(bomb)

    assert len(bomb) < 3_000_000
    assert pa.total_allocated_bytes() - before < 10_000_000
    assert pa.default_memory_pool().max_memory() == peak


def test_the_declared_size_of_a_stream_without_compression_is_its_own() -> None:
    content = stream(TABLE)

    assert 0 < sum(_decoded_sizes(content)) < len(content)


def test_a_dictionary_and_damaged_bytes_are_refused() -> None:
    coded = stream(pa.table({"codes": pa.array(["A", "A"]).dictionary_encode()}))
    content = stream(TABLE, "zstd")

    with pytest.raises(PullRefused, match="it has a dictionary"):
        read_arrow_stream(coded)
    for place in range(0, len(content), 7):
        changed = content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]
        try:
            read_arrow_stream(changed)
        except PullRefused:
            continue
    with pytest.raises(PullRefused, match="invalid part"):
        read_arrow_stream(b"not a stream")
