"""A caller that speaks HTTP/2 over a bare socket, and can therefore do things that no gRPC client does."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_CANCEL = 8  # the error code of a stream that its caller has cancelled
_END_STREAM, _END_HEADERS, _ACKNOWLEDGED = 1, 4, 1
_INITIAL_WINDOW_SIZE = 4  # the identifier of the setting


class BareConnection:
    """An HTTP/2 connection. A background task reads the frames that arrive.

    Attributes:
        goaway: Text of the GOAWAY frame with which the server ends the connection; None before such a frame arrives.
        ended: True if the connection has ended. The GOAWAY frame may be lost if data are in flight to the server.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.goaway: bytes | None = None
        self.ended = False

    def ping(self) -> None:
        """Send a PING frame."""
        self._write_frame(_PING, 0, 0, bytes(8))

    def call(self, stream_id: int, method: str, message: bytes | None = None, **metadata: str) -> None:
        """Begin a call with additional metadata, and send its request unless it is None."""
        self._writer.write(call_frames(stream_id, method, message, **metadata))

    def reset(self, stream_id: int) -> None:
        """Cancel a call."""
        self._write_frame(_RST_STREAM, 0, stream_id, struct.pack(">I", _CANCEL))

    async def drain(self) -> None:
        """Wait until the socket accepts more bytes."""
        await self._writer.drain()

    def _write_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Write one frame to the socket."""
        self._writer.write(frame(kind, flags, stream_id, payload))

    async def read_frames(self, reader: asyncio.StreamReader) -> None:
        """Read frames until the connection ends; acknowledge settings."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == _SETTINGS and not head[4] & _ACKNOWLEDGED:
                    self._write_frame(_SETTINGS, _ACKNOWLEDGED, 0, b"")
                if head[3] == _GOAWAY:
                    self.goaway = payload[8:]
        self.ended = True


@asynccontextmanager
async def connect(port: int, window_bytes: int = 65_535) -> AsyncIterator[BareConnection]:
    """Connect to a server.

    Args:
        port: The server's port.
        window_bytes: Flow-control window: the number of bytes of each answer that the server may send. A caller with 0
            bytes behaves like a caller that reads nothing.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = BareConnection(writer)
    writer.write(opening_frames(window_bytes))
    reading = asyncio.create_task(connection.read_frames(reader))
    try:
        yield connection
    finally:
        writer.close()
        await reading


def opening_frames(window_bytes: int = 65_535) -> bytes:
    """Return the bytes with which a caller opens a connection; see `connect` for the argument."""
    return _PREFACE + frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window_bytes))


def call_frames(stream_id: int, method: str, message: bytes | None = None, **metadata: str) -> bytes:
    """Return the frames that begin a call, and that send its request unless it is None."""
    names = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **metadata,
    }
    frames = frame(_HEADERS, _END_HEADERS, stream_id, b"".join(header_field(*each) for each in names.items()))
    if message is None:
        return frames
    return frames + frame(_DATA, _END_STREAM, stream_id, b"\x00" + struct.pack(">I", len(message)) + message)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream_id) + payload


def header_field(name: str, value: str) -> bytes:
    """Return a header field in the literal form of HPACK, which needs no compression."""
    texts = (name.encode(), value.encode())
    return b"\x00" + b"".join(_length(len(text)) + text for text in texts)


def _length(number: int) -> bytes:
    """Return the length of a text in the form of HPACK: 7 bits, and then 7 more in each further byte."""
    if number < 127:
        return bytes([number])
    content, rest = b"\x7f", number - 127
    while rest >= 128:
        content, rest = content + bytes([rest % 128 + 128]), rest // 128
    return content + bytes([rest])
