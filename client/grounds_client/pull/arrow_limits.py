"""Reads an Arrow stream from a server within limits, so that a small crafted stream cannot use up the memory.

Buffers may be compressed, and a buffer of a few bytes may declare gigabytes. pyarrow decompresses a whole batch before
it returns. Therefore this module first adds up the declared lengths. The metadata of a message, which is a FlatBuffer,
locates its buffers, and the first 8 bytes of a compressed buffer declare its length after decompression
(https://arrow.apache.org/docs/format/Columnar.html).
"""

import struct
from collections.abc import Iterator

import pyarrow as pa

from grounds_client.errors import PullRefused

_BYTES_MAX = 256 * 1024 * 1024  # a part of an export has at most 3 MB
_LENGTH_BYTES = 8
_RECORD_BATCH = 3  # number of RecordBatch in the union MessageHeader
# Numbers of the fields in the FlatBuffers tables Message and RecordBatch.
_HEADER_TYPE, _HEADER = 1, 2
_BUFFERS, _COMPRESSION = 2, 3
_REFUSED = "the server sent an invalid part of the export"


def read_arrow_stream(content: bytes) -> pa.Table:
    """Read an Arrow IPC stream.

    Raises:
        PullRefused: The stream is invalid, has dictionaries, or is too large when it is decompressed.
    """
    try:
        size = sum(_decoded_sizes(content))
        if size > _BYTES_MAX:
            raise PullRefused(f"{_REFUSED}: it has {size} bytes when it is decompressed, expected at most {_BYTES_MAX}")
        with pa.ipc.open_stream(content) as stream:
            table = stream.read_all()
        table.validate(full=True)  # offsets of a crafted stream could point outside its buffers
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError) as error:
        raise PullRefused(f"{_REFUSED}: {error}; pull again, or ask the operator of the server") from error
    return table


def _decoded_sizes(content: bytes) -> Iterator[int]:
    """Yield the number of bytes that each record batch declares to have after decompression."""
    messages = pa.ipc.MessageReader.open_stream(content)
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return
        if message.type == "dictionary":
            raise ValueError("it has a dictionary")
        if message.type == "record batch":
            yield _decoded_size(message.metadata.to_pybytes(), message.body.to_pybytes())


def _decoded_size(metadata: bytes, body: bytes) -> int:
    """Return the number of bytes that a record batch declares to have after decompression."""
    root = struct.unpack_from("<I", metadata, 0)[0]
    kind = _field_position(metadata, root, _HEADER_TYPE)
    if not kind or metadata[kind] != _RECORD_BATCH:
        raise ValueError("its record batch is malformed")
    header = _reference(metadata, _field_position(metadata, root, _HEADER))
    buffers = _field_position(metadata, header, _BUFFERS)
    if not _field_position(metadata, header, _COMPRESSION) or not buffers:
        return len(body)
    vector = _reference(metadata, buffers)
    count, size = struct.unpack_from("<I", metadata, vector)[0], 0
    for number in range(count):
        # A Buffer is two int64: the offset in the body, and the length. A declared length of -1 means that the buffer
        # is not compressed.
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * number)
        declared = struct.unpack_from("<q", body, offset)[0] if length >= _LENGTH_BYTES else 0
        size += max(declared, length)
    return size


def _field_position(data: bytes, table: int, number: int) -> int:
    """Return the position of a field of a FlatBuffers table; 0 if the field is absent."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if layout < 0 or slot >= struct.unpack_from("<H", data, layout)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, layout + slot)[0]
    return table + offset if offset else 0


def _reference(data: bytes, position: int) -> int:
    """Return the position to which the reference at `position` points."""
    return int(position + struct.unpack_from("<I", data, position)[0])
