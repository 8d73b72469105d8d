"""The options of the gRPC server: sizes of messages and metadata, pings, and the age of connections."""

from typing import Any

from server.config import Settings

# The interceptor rejects a request of more than `request_bytes_max` bytes with an ErrorInfo. gRPC itself rejects a
# request of more than this multiple of `request_bytes_max`, without an ErrorInfo.
TRANSPORT_LIMIT_FACTOR = 4
# Pings that a caller sends every N seconds can arrive a little earlier than N seconds after the previous one.
_PING_TOLERANCE = 0.8
# Calls in progress on one connection. If too many calls wait for Python, gRPC cancels new calls on every connection, so
# one connection must not be able to cause this.
_STREAMS_MAX = 512
# Size of one read from a connection. A larger one would mainly help callers that flood the server.
_READ_BYTES_MAX = 65_536
_NO_COMPRESSION = 1  # a bit set of algorithms; bit 0 is "identity"


def server_options(settings: Settings, *, shares_port: bool = False) -> list[tuple[str, Any]]:
    """Return the options of the server.

    Compressed requests are rejected, because a small compressed request can take gigabytes when it is decompressed.

    Args:
        settings: The settings.
        shares_port: True if several processes listen on the same port.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_concurrent_streams", _STREAMS_MAX),
        ("grpc.experimental.tcp_max_read_chunk_size", _READ_BYTES_MAX),
        ("grpc.max_receive_message_length", TRANSPORT_LIMIT_FACTOR * settings.request_bytes_max),
        ("grpc.compression_enabled_algorithms_bitset", _NO_COMPRESSION),
        # Between the two limits, gRPC would reject metadata at random.
        ("grpc.max_metadata_size", settings.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", settings.metadata_bytes_max),
        ("grpc.http2.min_ping_interval_without_data_ms", round(1000 * _PING_TOLERANCE * settings.ping_seconds_min)),
        ("grpc.keepalive_permit_without_calls", 1),
        # The server sends pings too, so that connections and streams of callers that vanished end.
        ("grpc.keepalive_time_ms", round(1000 * settings.keepalive_seconds)),
    ]
    if settings.connection_age_seconds_max is not None:
        options += [
            ("grpc.max_connection_age_ms", round(1000 * settings.connection_age_seconds_max)),
            ("grpc.max_connection_age_grace_ms", round(1000 * settings.connection_grace_seconds)),
        ]
    return options
