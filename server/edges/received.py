"""The bytes of the request that a call is about, as they came."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

RECEIVED: ContextVar[bytes] = ContextVar("received")  # set by the gate, in the task of the call


@dataclass(frozen=True, slots=True)
class Received:
    """A request, decoded, and its bytes."""

    message: Any
    content: bytes = field(repr=False)


def keeping(deserialize: Callable[[bytes], Message] | None) -> Callable[[bytes], Received]:
    """Decode, if the method has a type of request at all, and keep the bytes."""
    return lambda content: Received(deserialize(content) if deserialize else content, content)
