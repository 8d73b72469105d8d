"""A load generator for one unary gRPC method: a fixed number of calls in flight on one HTTP/2 connection.

gRPC's Python client needs more CPU time for a call than the servers that are compared, and `h2load` sends the same request
in every call. This module writes HTTP/2 frames (RFC 9113) to a socket instead. It needs about 25 microseconds per call, so on
two cores the server is the bottleneck. Every answer is kept, so that all answers can be checked after the measurement.
"""

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW_SIZE = 4  # number of this setting
_WINDOW = 1 << 30  # bytes that the server may send before it must wait
_SEND_WINDOW = 65_535  # bytes that a connection may send before the first WINDOW_UPDATE
_FRAME_HEADER = 9
_GRPC_PREFIX = 5  # flag for compression, and length of the message
_RECEIVE_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that was answered.

    Attributes:
        number: Number of the request, in the order of the requests.
        milliseconds: Time from sending the request to the end of the answer.
        content: The bytes of the answer's message.
    """

    number: int
    milliseconds: float
    content: bytes


class CallsFailed(Exception):
    """A call or the connection failed, so the measurement is void."""


def generate_load(
    address: str, method: str, requests: Iterator[bytes], *, in_flight: int, seconds: float
) -> list[Answered]:
    """Send requests for some seconds, a new one as soon as one is answered; return the calls answered in that time.

    Args:
        address: Host and port of the server.
        method: Full name of the method, such as /grounds.credit.v1.CreditService/ScoreCredit.
        requests: The encoded requests, which must not end earlier than the load.
        in_flight: Number of calls in progress at any time.
        seconds: Duration of the load. The calls in progress at its end are awaited, but not returned.

    Raises:
        CallsFailed: A call ended without an answer, or the server closed the connection.
    """
    return _Connection(address, method).run(requests, in_flight, seconds)


class _Connection:
    """One HTTP/2 connection without request compression, pushes, padding or priorities."""

    def __init__(self, address: str, method: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _request_headers(address, method)
        self._stream, self._send_window, self._received = 1, _SEND_WINDOW, 0
        self._socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WINDOW))
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW))
        )

    def run(self, requests: Iterator[bytes], in_flight: int, seconds: float) -> list[Answered]:
        """Keep `in_flight` calls in progress for some seconds; return the calls that were answered in that time."""
        answered: list[Answered] = []
        sent: dict[int, tuple[int, float]] = {}  # number and time of each call in progress, by stream
        parts: dict[int, bytes] = {}
        with self._socket:
            end = time.perf_counter() + seconds
            self._send(requests, in_flight, sent)
            buffer = b""
            while sent:
                received = self._socket.recv(_RECEIVE_BYTES)
                if not received:
                    raise CallsFailed("the server closed the connection")
                buffer += received
                ended, buffer = self._read_frames(buffer, parts)
                now = time.perf_counter()
                for stream in ended:
                    number, begun = sent.pop(stream)
                    content = parts.pop(stream, b"")
                    if not content:
                        raise CallsFailed(f"call {number} ended without an answer")
                    if now <= end:
                        answered.append(Answered(number, (now - begun) * 1e3, content[_GRPC_PREFIX:]))
                if now <= end:
                    self._send(requests, len(ended), sent)
        return answered

    def _send(self, requests: Iterator[bytes], count: int, sent: dict[int, tuple[int, float]]) -> None:
        """Send the next `count` requests in one write."""
        frames = []
        for _ in range(count):
            content = next(requests)
            data = b"\0" + struct.pack(">I", len(content)) + content
            frames += [
                _frame(_HEADERS, _END_HEADERS, self._stream, self._headers),
                _frame(_DATA, _END_STREAM, self._stream, data),
            ]
            self._send_window -= len(data)
            sent[self._stream] = self._stream // 2, time.perf_counter()
            self._stream += 2
        if self._send_window < 0:
            raise CallsFailed("the server granted no further bytes to send")
        if frames:
            self._socket.sendall(b"".join(frames))

    def _read_frames(self, buffer: bytes, parts: dict[int, bytes]) -> tuple[list[int], bytes]:
        """Read the complete frames of a buffer; return the streams that ended, and the rest of the buffer."""
        ended, start = [], 0
        while len(buffer) - start >= _FRAME_HEADER:
            length = int.from_bytes(buffer[start : start + 3], "big")
            kind, flags = buffer[start + 3], buffer[start + 4]
            stream = int.from_bytes(buffer[start + 5 : start + _FRAME_HEADER], "big")
            if len(buffer) - start - _FRAME_HEADER < length:
                break
            payload = buffer[start + _FRAME_HEADER : start + _FRAME_HEADER + length]
            start += _FRAME_HEADER + length
            if kind == _DATA:
                parts[stream] = parts.get(stream, b"") + payload
                self._grant_window(length)
            elif kind == _WINDOW_UPDATE and stream == 0:
                self._send_window += int.from_bytes(payload, "big")
            elif kind in {_SETTINGS, _PING} and not flags & _ACK:
                self._socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif kind in {_RST_STREAM, _GOAWAY}:
                raise CallsFailed(f"the server ended stream {stream} with a frame of type {kind}")
            if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
                ended.append(stream)
        return ended, buffer[start:]

    def _grant_window(self, length: int) -> None:
        """Grant the server as many bytes again as it has sent."""
        self._received += length
        if self._received > _WINDOW // 2:
            self._socket.sendall(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _request_headers(address: str, method: str) -> bytes:
    """Return the header block of every call: HPACK (RFC 7541) literals, without Huffman coding or the dynamic table."""

    def text(value: str) -> bytes:
        content = value.encode()
        assert len(content) < 0x7F, "a longer text would need a length of several bytes"
        return bytes((len(content),)) + content

    # Indexes of the static table: 3 :method POST, 6 :scheme http; names only: 4 :path, 1 :authority, 31 content-type.
    fields = (b"\x83", b"\x86", b"\x04" + text(method), b"\x01" + text(address))
    return b"".join((*fields, b"\x0f\x10" + text("application/grpc"), b"\x00" + text("te") + text("trailers")))
