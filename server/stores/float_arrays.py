"""Encodes arrays of doubles as bytes, 8 bytes per value in little-endian order. NaN represents a missing value."""

import math
import struct
from collections.abc import Iterable


def pack_doubles(values: Iterable[float | None]) -> bytes:
    """Return the encoding of the values. None is encoded as NaN."""
    numbers = [math.nan if value is None else value for value in values]
    return struct.pack(f"<{len(numbers)}d", *numbers)


def unpack_doubles(content: bytes) -> tuple[float, ...]:
    """Return the values that `pack_doubles` encoded, bit for bit. A missing value is NaN."""
    return struct.unpack(f"<{len(content) // 8}d", content)
