"""Chunks of the export: a run's customers as Arrow IPC streams, encoded once at load, sent as they are or decompressed.

`load` and an erasure import this. The serving process imports it, and with it pyarrow, only when a caller asks for an export
that is not compressed; from then on it takes some 60 MB more memory.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_CHUNK_BYTES_MAX = 3 * 1024 * 1024  # gRPC clients reject messages above 4 MB by default
DRIVERS = pa.list_(
    pa.struct(
        [
            ("code", pa.string()),
            ("log_odds", pa.float64()),
            ("features", pa.list_(pa.string())),
            ("texts", pa.map_(pa.string(), pa.string())),
        ]
    )
)
# Names as in the contract's ChurnRisk.
EXPORT_SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("status", pa.string()),
        ("log_odds", pa.float64()),
        ("churn_probability", pa.float64()),
        ("risk_band", pa.string()),
        ("previous_band", pa.string()),
        ("band_since_time", pa.timestamp("us", tz="UTC")),
        ("rank", pa.int32()),
        ("value_at_risk_minor", pa.int64()),
        ("expected_spend_minor", pa.int64()),
        ("decline_probability", pa.float64()),
        ("hold_out", pa.bool_()),
        ("suppressions", pa.list_(pa.string())),
        ("action_allowed", pa.bool_()),
        ("drivers", DRIVERS),
    ]
)
_COMPRESSION = pa.ipc.IpcWriteOptions(compression="zstd")
_UNCOMPRESSED = pa.ipc.IpcWriteOptions()


def encode_chunk(batch: pa.RecordBatch | pa.Table, options: pa.ipc.IpcWriteOptions = _COMPRESSION) -> bytes:
    """Return some customers as an Arrow IPC stream of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, EXPORT_SCHEMA, options=options) as stream:
        stream.write(batch)
    return bytes(sink.getvalue())


def split_batch(batch: pa.RecordBatch, bytes_max: int = _CHUNK_BYTES_MAX) -> list[tuple[pa.RecordBatch, bytes]]:
    """Return a batch in parts with their streams, each at most `bytes_max` bytes; a part of one customer may be larger."""
    content = encode_chunk(batch)
    if len(content) <= bytes_max or batch.num_rows <= 1:
        return [(batch, content)]
    half = batch.num_rows // 2
    return [*split_batch(batch.slice(0, half), bytes_max), *split_batch(batch.slice(half), bytes_max)]


def decode_chunk(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Parse a stream, all columns or some."""
    indexes = None if columns is None else [EXPORT_SCHEMA.get_field_index(name) for name in columns]
    with pa.ipc.open_stream(content, options=pa.ipc.IpcReadOptions(included_fields=indexes)) as stream:
        return stream.read_all()


def uncompressed_part(content: bytes, rows_left: int, bytes_max: int = _CHUNK_BYTES_MAX) -> tuple[bytes, int]:
    """Return the next part of a chunk without compression.

    Args:
        content: The chunk as it is stored.
        rows_left: How many rows at its end were not sent yet; 0 means all of them.
        bytes_max: Size of the part; a single row may be larger.

    Returns:
        An Arrow IPC stream, and how many rows are left after it.
    """
    table = decode_chunk(content).combine_chunks()
    rest = table.slice(max(0, table.num_rows - rows_left)) if rows_left else table
    count = rest.num_rows
    part = encode_chunk(rest, _UNCOMPRESSED)
    while len(part) > bytes_max and count > 1:
        # Shrink by the excess; at least by one row, so that rows of uneven size end the loop too.
        count = max(1, min(count - 1, count * bytes_max // len(part)))
        part = encode_chunk(rest.slice(0, count), _UNCOMPRESSED)
    return part, rest.num_rows - count


def remove_customer(content: bytes, customer_id: str) -> tuple[int, bytes]:
    """Return how many customers are left without one of them, and their stream."""
    table = decode_chunk(content)
    left = table.filter(pc.not_equal(table["customer_id"], customer_id))
    return left.num_rows, encode_chunk(left)
