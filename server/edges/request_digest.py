"""The digest of a request's content, which shows whether two requests with the same request_id have equal content.

The digest is computed from the decoded message. The encoded bytes of equal requests can differ, because encoders may
order map entries and fields differently. For a scalar field that is not `optional`, being unset
and having the default value are the same content.
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def content_sha256(request: Message, without: str) -> str:
    """Return the hexadecimal SHA-256 of all fields of a request, except one field.

    Args:
        request: The decoded request.
        without: Name of the top-level field that is left out.
    """
    digest = hashlib.sha256()
    for part in _message_parts(request, without):
        digest.update(part)
    return digest.hexdigest()


def _message_parts(message: Message, without: str = "") -> Iterator[bytes]:
    """Yield the encoding of a message: its name, its set fields in the order of field numbers, and an end mark."""
    # Start and end marks nest like brackets, so a field of a nested message is never confused with an outer field.
    yield b"{" + message.DESCRIPTOR.full_name.encode()
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].number):
        if field.name == without:
            continue
        yield b"#%d" % field.number
        yield from _field_parts(field, value)
    yield b"}"


def _field_parts(field: FieldDescriptor, value: Any) -> Iterator[bytes]:
    """Yield the encoding of a field: a map in the order of keys, a list in its own order, or a single value."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value_field = field.message_type.fields_by_name["value"]
        # Sort the entries, because Protobuf does not define the order of map entries.
        for key in sorted(value):
            yield from _value_parts(key)
            yield from _value_parts(value[key]) if value_field.message_type is None else _message_parts(value[key])
    elif field.is_repeated:
        for element in value:
            yield from _value_parts(element) if field.message_type is None else _message_parts(element)
    else:
        yield from _value_parts(value) if field.message_type is None else _message_parts(value)


def _value_parts(value: Any) -> Iterator[bytes]:
    """Yield the encoding of a value: a code for its type, its length if it is text or bytes, and its content."""
    if isinstance(value, float):
        yield b"d" + struct.pack("<d", value)  # the encoding distinguishes 0.0 from -0.0
    elif isinstance(value, int):  # including booleans and enums
        yield b"i%d;" % value
    else:
        # The length comes first, so that a mark inside a text is read as part of the text.
        content = value.encode() if isinstance(value, str) else value
        yield b"s%d:" % len(content) + content
