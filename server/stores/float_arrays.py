"""Encodes arrays of doubles as bytes: 8 a value, little-endian, bit for bit; NaN stands for a missing value."""

import math
import struct
from collections.abc import Iterable


def pack_doubles(values: Iterable[float | None]) -> bytes:
    """Return values as bytes; None becomes NaN."""
    numbers = [math.nan if value is None else value for value in values]
    return struct.pack(f"<{len(numbers)}d", *numbers)


def unpack_doubles(content: bytes) -> tuple[float, ...]:
    """Return the values of bytes."""
    return struct.unpack(f"<{len(content) // 8}d", content)
