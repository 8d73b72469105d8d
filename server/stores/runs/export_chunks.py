"""Encodes a run's customers as chunks of the export. A chunk is a compressed Arrow IPC stream, which `load` writes.

`load` and erasures use this module. The serving process imports it at the first export that leaves customers out or is not
compressed, because importing pyarrow needs about 60 MB of memory.
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
# Each name is the name of a field of the protobuf message ChurnRisk.
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
    """Return customers as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, EXPORT_SCHEMA, options=options) as stream:
        stream.write(batch)
    return bytes(sink.getvalue())


def split_batch(batch: pa.RecordBatch, bytes_max: int = _CHUNK_BYTES_MAX) -> list[tuple[pa.RecordBatch, bytes]]:
    """Split a batch; return each part with its stream. A stream of several rows has at most `bytes_max` bytes."""
    content = encode_chunk(batch)
    if len(content) <= bytes_max or batch.num_rows <= 1:
        return [(batch, content)]
    half = batch.num_rows // 2
    return [*split_batch(batch.slice(0, half), bytes_max), *split_batch(batch.slice(half), bytes_max)]


def decode_chunk(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Parse a stream; return the columns with these names, or all columns if `columns` is None."""
    indexes = None if columns is None else [EXPORT_SCHEMA.get_field_index(name) for name in columns]
    with pa.ipc.open_stream(content, options=pa.ipc.IpcReadOptions(included_fields=indexes)) as stream:
        return stream.read_all()


def contactable_part(content: bytes, *, compressed: bool = True) -> bytes:
    """Return a chunk without withheld customers; it may have no customer left."""
    table = decode_chunk(content)
    suppressed = pc.greater(pc.list_value_length(table["suppressions"]), 0)
    left = table.filter(pc.invert(pc.or_(table["hold_out"], suppressed)))
    return encode_chunk(left, _COMPRESSION if compressed else _UNCOMPRESSED)


def uncompressed_part(content: bytes, rows_left: int, bytes_max: int = _CHUNK_BYTES_MAX) -> tuple[bytes, int]:
    """Return the next part of a chunk without compression.

    Args:
        content: The stored chunk.
        rows_left: Number of rows at the end of the chunk that were not sent yet; 0 if no row was sent.
        bytes_max: Maximum size of the part in bytes. A part with a single row may be larger.

    Returns:
        The part as an Arrow IPC stream, and the number of rows that remain to be sent.
    """
    table = decode_chunk(content).combine_chunks()
    rest = table.slice(max(0, table.num_rows - rows_left)) if rows_left else table
    count = rest.num_rows
    part = encode_chunk(rest, _UNCOMPRESSED)
    while len(part) > bytes_max and count > 1:
        # Reduce the number of rows in proportion to the excess, but by at least one row, so that the loop always ends.
        count = max(1, min(count - 1, count * bytes_max // len(part)))
        part = encode_chunk(rest.slice(0, count), _UNCOMPRESSED)
    return part, rest.num_rows - count


def remove_customer(content: bytes, customer_id: str) -> tuple[int, bytes]:
    """Remove one customer from a chunk; return the number of remaining customers, and their stream."""
    table = decode_chunk(content)
    left = table.filter(pc.not_equal(table["customer_id"], customer_id))
    return left.num_rows, encode_chunk(left)
