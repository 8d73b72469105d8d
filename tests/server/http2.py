"""A caller that speaks HTTP/2 over a bare socket, and can therefore do things that no gRPC client does."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY = 0, 1, 4, 6, 7
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

    def call(self, stream_id: int, method: str, message: bytes | None = None) -> None:
        """Begin a call, and send its request unless it is None."""
        names = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(_header(name, value) for name, value in names.items())
        self._write_frame(_HEADERS, _END_HEADERS, stream_id, block)
        if message is not None:
            framed = b"\x00" + struct.pack(">I", len(message)) + message
            self._write_frame(_DATA, _END_STREAM, stream_id, framed)

    def _write_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Write one frame to the socket."""
        head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream_id)
        self._writer.write(head + payload)

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
    writer.write(_PREFACE)
    connection._write_frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window_bytes))
    reading = asyncio.create_task(connection.read_frames(reader))
    try:
        yield connection
    finally:
        writer.close()
        await reading


def _header(name: str, value: str) -> bytes:
    """Return a header field in the literal form of HPACK, which needs no compression."""
    texts = (name.encode(), value.encode())
    return b"\x00" + b"".join(bytes([len(text)]) + text for text in texts)  # every text is shorter than 127 bytes
