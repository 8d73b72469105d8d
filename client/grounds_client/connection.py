"""A channel to the server that retries what passes by itself, and nothing else."""

import json

import grpc

ADDRESS = "127.0.0.1:50051"
RETRY_ATTEMPTS = 5  # the most that gRPC allows
# gRPC itself retries, with jitter, on UNAVAILABLE only: everything the server decided, it decided.
# A retried ScoreCredit repeats its request_id and so gets the first answer.
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": RETRY_ATTEMPTS,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def connect(address: str = ADDRESS) -> grpc.Channel:
    """Open a channel; close it when done. Nothing is sent before the first call."""
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        # By default gRPC waits a second and more before it knocks again, longer than most retries last.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return grpc.insecure_channel(address, options=options)
