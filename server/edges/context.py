"""The type of gRPC's call context.

The alias is a string, which only the type checker evaluates.
"""

from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
