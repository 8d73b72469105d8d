"""The messages between the server and a process that runs a bundle's graphs.

A message is a frame: one byte with its kind, eight bytes with the length of its content (little-endian), and the
content. Numbers are little-endian doubles. Nothing is deserialized into objects, so if an attacker controls the process,
it can only send wrong numbers.

| kind | content |
|---|---|
| OPEN | length of score.onnx (8 bytes, little-endian), score.onnx, explain.onnx |
| MARGINS, EXPLAIN | number of rows (8 bytes, little-endian), then the rows, one after the other |
| RESULT | the answer: empty after OPEN; the margins after MARGINS; margins, then contributions after EXPLAIN |
| FAILURE | what went wrong, as text |
"""

from enum import IntEnum
from struct import Struct
from typing import IO

import numpy as np
from numpy.typing import NDArray

_HEADER = Struct("<BQ")
_COUNT = Struct("<Q")
FAILURE_BYTES_MAX = 1000


class FrameKind(IntEnum):
    """The kind of a message."""

    OPEN = 1
    MARGINS = 2
    EXPLAIN = 3
    RESULT = 4
    FAILURE = 5


def write_frame(stream: IO[bytes], kind: FrameKind, *parts: bytes | memoryview) -> None:
    """Write one message whose content is the concatenation of `parts`."""
    stream.write(_HEADER.pack(kind, sum(len(part) for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def read_header(stream: IO[bytes]) -> tuple[int, int]:
    """Read the kind and the length of the next message.

    Raises:
        EOFError: The stream ended.
    """
    kind, length = _HEADER.unpack(read_exactly(stream, _HEADER.size))
    return kind, length


def read_exactly(stream: IO[bytes], length: int) -> bytes:
    """Read this number of bytes.

    Raises:
        EOFError: The stream ended before `length` bytes were read.
    """
    content = stream.read(length)
    if len(content) != length:
        raise EOFError
    return content


def graph_parts(score: bytes, explain: bytes) -> tuple[bytes, ...]:
    """Return the content of an OPEN message."""
    return _COUNT.pack(len(score)), score, explain


def parse_graphs(content: bytes) -> tuple[bytes, bytes]:
    """Return score.onnx and explain.onnx from the content of an OPEN message."""
    (length,) = _COUNT.unpack_from(content)
    return content[_COUNT.size : _COUNT.size + length], content[_COUNT.size + length :]


def row_parts(rows: NDArray[np.float64]) -> tuple[bytes, ...]:
    """Return the content of a MARGINS or EXPLAIN message. `rows` has the shape (n, n_features) with n > 0."""
    return _COUNT.pack(len(rows)), rows.astype("<f8").tobytes()


def parse_rows(content: bytes) -> NDArray[np.float64]:
    """Return the rows from the content of a MARGINS or EXPLAIN message."""
    (count,) = _COUNT.unpack_from(content)
    return np.frombuffer(content, "<f8", offset=_COUNT.size).reshape(count, -1).astype(np.float64)
