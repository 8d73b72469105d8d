"""The gRPC channel of a client, with its retry policy."""

import json

import grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
_ATTEMPTS_MAX = 5  # the most that gRPC allows
# UNAVAILABLE means that the server did not handle the call. CANCELLED is the answer of a stopping server to calls that have
# arrived but have not begun; gRPC does not retry a call that the client itself cancels. A retried ScoreCredit repeats its
# request_id, so the server returns the first decision instead of making a second one.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": _ATTEMPTS_MAX,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}


def open_channel(address: str = DEFAULT_ADDRESS) -> grpc.Channel:
    """Open a channel without TLS. The channel connects at the first call; the caller must close the channel."""
    options = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        # By default gRPC waits a second or more before it reconnects, which is longer than most retries take.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return grpc.insecure_channel(address, options=options)
