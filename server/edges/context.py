"""The type of gRPC's call context.

The class is generic only in the type stubs, so the alias is a string that is never evaluated.
"""

from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
