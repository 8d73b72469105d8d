"""Reads the headers of the pages of a Parquet column, without reading the pages.

The footer of a Parquet file states how large a column is, but a reader allocates memory for the size in the header of each page.
In a crafted file, the two differ. PyArrow does not return page headers, so this module parses them: they are structures of
Thrift's compact protocol. See https://parquet.apache.org/docs/file-format/metadata/.

The module accepts only unambiguous headers. From a header with a repeated field, a size that is not an int32 or an
unknown page type, this module and PyArrow could read different sizes, so such a header is rejected.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_HEADER_BYTES_MAX = 16 * 1024 * 1024  # PyArrow reads no longer header
_FIRST_READ_BYTES = 1024
_DEPTH_MAX = 8  # real headers are nested three deep: header, data page, statistics
_VARINT_BYTES_MAX = 10
_SEVEN_BITS = 127
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_INT32, _INT32_MAX = 5, 2**31 - 1
_LONG_LIST = 15  # the size of a longer list follows its first byte
_TYPE, _UNCOMPRESSED, _COMPRESSED = 1, 2, 3  # fields of a page header
_CHECKSUM = 4
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # types of pages
_COUNTED = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}  # the field with the number of values, by type of the page
_NUMBER_OF_VALUES = 1  # field of each of these
_Fields = dict[
    int, tuple[int, Any]
]  # type and value of each field; the value is None if it is not an integer or structure


class PageHeaderInvalid(ValueError):
    """The header of a page cannot be parsed."""


@dataclass(frozen=True, slots=True)
class PageHeader:
    """The header of a page.

    Attributes:
        header_bytes: Size of the header itself.
        uncompressed_bytes: Size of the page in memory, without the header.
        compressed_bytes: Size of the page in the file, without the header.
        values: Number of values in the page.
        is_dictionary: Whether the page contains the dictionary of the column.
    """

    header_bytes: int
    uncompressed_bytes: int
    compressed_bytes: int
    values: int
    is_dictionary: bool


def read_page_headers(descriptor: int, start: int, length: int, values: int) -> Iterator[PageHeader]:
    """Yield the header of each page of a column chunk; check that the pages fill the chunk and contain all its values.

    Args:
        descriptor: Descriptor of the file.
        start: Position of the first page.
        length: Size of all pages and headers in bytes.
        values: Number of values of the column chunk, according to the footer.

    Raises:
        PageHeaderInvalid: A header cannot be parsed or is ambiguous, or the pages contradict the length or the values.
        OSError: The file cannot be read.
    """
    position, end = start, start + length
    while position < end:
        header = _read_header(descriptor, position, end)
        yield header
        values -= 0 if header.is_dictionary else header.values
        position += header.header_bytes + header.compressed_bytes
    if position != end or values:
        raise PageHeaderInvalid(
            "the pages of a column must have the size and the number of values that the footer states"
        )


def _read_header(descriptor: int, position: int, end: int) -> PageHeader:
    """Return the page header at a position."""
    wanted = _FIRST_READ_BYTES
    while True:
        content = os.pread(descriptor, min(wanted, end - position), position)
        try:
            fields, size = _read_struct(content, 0, 0)
        except IndexError:
            if wanted >= min(_HEADER_BYTES_MAX, end - position):
                raise PageHeaderInvalid(f"the page at byte {position} has no complete header") from None
            wanted *= 8
            continue
        break
    kind = _read_int32(fields, _TYPE, position)
    counted = _COUNTED.get(kind, 0)
    if not set(fields) <= {_TYPE, _UNCOMPRESSED, _COMPRESSED, _CHECKSUM, counted}:
        raise PageHeaderInvalid(f"the page at byte {position} has an unknown type, or fields of another type")
    structure, inner = fields.get(counted, (0, None))
    if structure != _STRUCT:
        raise PageHeaderInvalid(f"the page at byte {position} states no number of values")
    return PageHeader(
        header_bytes=size,
        uncompressed_bytes=_read_int32(fields, _UNCOMPRESSED, position),
        compressed_bytes=_read_int32(fields, _COMPRESSED, position),
        values=_read_int32(inner, _NUMBER_OF_VALUES, position),
        is_dictionary=kind == _DICTIONARY,
    )


def _read_int32(fields: _Fields, number: int, position: int) -> int:
    """Return a non-negative int32. Other types are rejected, because a reader may skip a field of another type."""
    kind, value = fields.get(number, (0, None))
    if kind != _INT32 or not 0 <= value <= _INT32_MAX:
        raise PageHeaderInvalid(f"the page at byte {position} has an invalid size, type or number of values")
    return int(value)


def _read_struct(content: bytes, position: int, depth: int) -> tuple[_Fields, int]:
    """Return the fields of a structure by number, and the position after it."""
    if depth > _DEPTH_MAX:
        raise PageHeaderInvalid("a page header is nested too deeply")
    fields: _Fields = {}
    number = 0
    while head := content[position]:
        position += 1
        if head >> 4:
            number += head >> 4
        else:
            number, position = _read_integer(content, position)
        if number in fields:
            raise PageHeaderInvalid("a page header contains a field twice")
        value, position = _read_value(content, position, head & 15, depth)
        fields[number] = head & 15, value
    return fields, position + 1


def _read_value(content: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    """Return a value, which is None unless it is an integer or a structure, and the position after it."""
    if kind in _INTEGERS:
        return _read_integer(content, position)
    if kind == _STRUCT:
        return _read_struct(content, position, depth + 1)
    if kind in {_TRUE, _FALSE}:
        return None, position
    if kind in {_BYTE, _DOUBLE}:
        return None, position + (1 if kind == _BYTE else 8)
    if kind == _BINARY:
        size, position = _read_varint(content, position)
        return None, position + size
    if kind in {_LIST, _SET}:
        return None, _skip_list(content, position, depth)
    raise PageHeaderInvalid(f"a page header contains a field of the unknown type {kind}")


def _skip_list(content: bytes, position: int, depth: int) -> int:
    """Return the position after a list. Each element takes at least one byte, so a list cannot be longer than the content."""
    size, kind = content[position] >> 4, content[position] & 15
    position += 1
    if size == _LONG_LIST:
        size, position = _read_varint(content, position)
    for _ in range(size):
        if kind in {_TRUE, _FALSE}:
            position += 1
        else:
            _, position = _read_value(content, position, kind, depth + 1)
        if position > len(content):
            raise IndexError
    return position


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned integer of variable length, and the position after it."""
    number = 0
    for count in range(_VARINT_BYTES_MAX):
        byte = content[position + count]
        number |= (byte & _SEVEN_BITS) << 7 * count
        if byte <= _SEVEN_BITS:
            return number, position + count + 1
    raise PageHeaderInvalid("a number in a page header is too long")


def _read_integer(content: bytes, position: int) -> tuple[int, int]:
    """Return a signed integer in zigzag encoding, and the position after it."""
    number, position = _read_varint(content, position)
    return number >> 1 ^ -(number & 1), position
