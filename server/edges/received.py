"""The bytes of the request that a call is about, as they came."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from google.protobuf.message import Message

RECEIVED: ContextVar[bytes] = ContextVar("received")  # set by the gate, in the task of the call


@dataclass(frozen=True, slots=True)
class Received:
    """A request, decoded, and its bytes."""

    message: Message
    content: bytes = field(repr=False)


def keeping(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Received]:
    """Decode and keep the bytes."""
    return lambda content: Received(deserialize(content), content)
