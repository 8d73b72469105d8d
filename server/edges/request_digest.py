"""The digest of a request's content, which tells whether a repeated request_id asks for the same.

It covers the decoded message, not the bytes on the wire: two encodings of one request may order map entries and fields
differently. A field that is not set and one that is set to its default are the same content.
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def content_sha256(request: Message, without: str) -> str:
    """Return the SHA-256, hexadecimal, of all fields of a request but one.

    Args:
        request: Decoded.
        without: Name of the top-level field that is left out.
    """
    digest = hashlib.sha256()
    for part in _message_parts(request, without):
        digest.update(part)
    return digest.hexdigest()


def _message_parts(message: Message, without: str = "") -> Iterator[bytes]:
    """Yield the encoding of a message: its name, every set field in the order of numbers, and an end mark."""
    # The marks nest like brackets, so a field can never be read as part of the message around it.
    yield b"{" + message.DESCRIPTOR.full_name.encode()
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].number):
        if field.name == without:
            continue
        yield b"#%d" % field.number
        yield from _field_parts(field, value)
    yield b"}"


def _field_parts(field: FieldDescriptor, value: Any) -> Iterator[bytes]:
    """Yield the encoding of a field: a map by sorted keys, a list in order, or a single value."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value_field = field.message_type.fields_by_name["value"]
        # Protobuf leaves the order of map entries to the encoder: sort them.
        for key in sorted(value):
            yield from _value_parts(key)
            yield from _value_parts(value[key]) if value_field.message_type is None else _message_parts(value[key])
    elif field.is_repeated:
        for element in value:
            yield from _value_parts(element) if field.message_type is None else _message_parts(element)
    else:
        yield from _value_parts(value) if field.message_type is None else _message_parts(value)


def _value_parts(value: Any) -> Iterator[bytes]:
    """Yield the encoding of a value with its type and length, so that no two contents have the same encoding."""
    if isinstance(value, float):
        yield b"d" + struct.pack("<d", value)  # all bits: 0.0 and -0.0 are different contents
    elif isinstance(value, int):  # also booleans and enums
        yield b"i%d;" % value
    else:
        # With its length first, no text can imitate the marks.
        content = value.encode() if isinstance(value, str) else value
        yield b"s%d:" % len(content) + content
