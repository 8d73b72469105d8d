"""The type of gRPC's call context, which is generic for the type checker only."""

from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
