"""The gRPC channel of a client, with its retry policy and its credentials."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
_ATTEMPTS_MAX = 5  # the most that gRPC allows
# UNAVAILABLE means that the server did not handle the call. A stopping server answers CANCELLED to a call that has
# arrived but that it has not begun to handle. gRPC does not retry a call that the client itself cancels. A retried
# ScoreCredit repeats its request_id, so the server returns the first decision instead of making a second one.
# RESOURCE_EXHAUSTED means that a limit was reached. gRPC waits as long as the server states in the trailer
# grpc-retry-pushback-ms, and does not retry a request that is too large.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": _ATTEMPTS_MAX,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


@dataclass(frozen=True)
class ClientCredentials:
    """The files with which a client verifies the server and authenticates itself.

    Attributes:
        ca: PEM file with the certificates that sign the server's certificate.
        certificate: PEM file with the client's certificate. None if the server identifies callers by tokens.
        key: PEM file with the private key of `certificate`.
        token_file: File with a bearer token, which is read again for each call. None if the server identifies callers
            by certificates.
        token: A bearer token that does not change; None unless it replaces `token_file`.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Reject a certificate without its key, a key without its certificate, and two tokens."""
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file: set at most one")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: set both or neither")

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Read the files, and return the credentials of a gRPC channel.

        Raises:
            OSError: A file cannot be read.
        """
        key, certificate = (path.read_bytes() if path else None for path in (self.key, self.certificate))
        channel = grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)
        if self.token is not None:
            return grpc.composite_channel_credentials(channel, grpc.access_token_call_credentials(self.token))
        if self.token_file is None:
            return channel
        self.token_file.read_bytes()  # a missing file raises an error here instead of in each call
        return grpc.composite_channel_credentials(
            channel, grpc.metadata_call_credentials(_TokenFromFile(self.token_file))
        )


class _TokenFromFile(grpc.AuthMetadataPlugin):
    """Adds the bearer token of a file to each call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(
        self, context: object, callback: Callable[[tuple[tuple[str, str], ...], Exception | None], None]
    ) -> None:
        """Pass the metadata of a call to gRPC, which calls this method in a thread of its own."""
        del context
        try:
            token = self._path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            callback((), error)
        else:
            callback((("authorization", f"Bearer {token}"),), None)


def open_channel(address: str = DEFAULT_ADDRESS, credentials: ClientCredentials | None = None) -> grpc.Channel:
    """Open a channel. The channel connects at the first call; the caller must close the channel.

    Args:
        address: Host and port of the server. The server's certificate must contain the host.
        credentials: The files for TLS. None opens a channel without TLS, which only a server on this machine accepts.

    Raises:
        OSError: A file of the credentials cannot be read.
    """
    options = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        # By default gRPC waits a second or more before it reconnects, which is longer than most retries take.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials.channel_credentials(), options=options)
