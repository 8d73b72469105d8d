"""A channel to the server that retries what passes by itself, and nothing else."""

import json

import grpc

ADDRESS = "127.0.0.1:50051"
RETRY_ATTEMPTS = 4
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
    options = [("grpc.service_config", json.dumps(SERVICE_CONFIG)), ("grpc.enable_retries", 1)]
    return grpc.insecure_channel(address, options=options)
