"""The digest that says whether two requests ask the same.

It is taken over the decoded message, maps sorted by key, because the wire bytes of a map are in no
particular order. A field that is not set and one that is set to its default are the same content.
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def content_sha256(request: Message, without: str) -> str:
    """Give the digest of everything in the request but the field `without`."""
    digest = hashlib.sha256()
    for part in _message_parts(request, without):
        digest.update(part)
    return digest.hexdigest()


def _message_parts(message: Message, without: str = "") -> Iterator[bytes]:
    """Write a message: every set field by number, then an end mark."""
    yield b"{" + message.DESCRIPTOR.full_name.encode()
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].number):
        if field.name == without:
            continue
        yield b"#%d" % field.number
        yield from _field_parts(field, value)
    yield b"}"


def _field_parts(field: FieldDescriptor, value: Any) -> Iterator[bytes]:
    """Write a field: a map by sorted keys, a list in order, or one value."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        for key in sorted(value):
            yield from _value_parts(key)
            yield from _value_parts(value[key]) if of_value.message_type is None else _message_parts(value[key])
    elif field.is_repeated:
        for element in value:
            yield from _value_parts(element) if field.message_type is None else _message_parts(element)
    else:
        yield from _value_parts(value) if field.message_type is None else _message_parts(value)


def _value_parts(value: Any) -> Iterator[bytes]:
    """Write one value with its type and length, so that no two contents look alike."""
    if isinstance(value, float):
        yield b"d" + struct.pack("<d", value)
    elif isinstance(value, int):  # booleans and enums too
        yield b"i%d;" % value
    else:
        content = value.encode() if isinstance(value, str) else value
        yield b"s%d:" % len(content) + content
