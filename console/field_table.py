"""Every field of a message as a table, so that a page lacks nothing that the service returned."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from grounds_client.evidence.markup import Markup, table, tag


def field_table(message: Message) -> Markup:
    """Return a table of all fields that are present, with their exact values, which a reader opens."""
    lines = list(_field_lines(message, ""))
    title = f"Every field as the service returned it ({len(lines):,})"
    return tag("details", tag("summary", title), table(("field", "value"), lines), class_="fields-table")


def _field_lines(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the exact value of each field that has one, in the order of the contract."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in sorted(value):
                yield from _value_lines(field.message_type.fields_by_name["value"], value[key], f'{path}["{key}"]')
        elif field.is_repeated:
            for position, each in enumerate(value):
                yield from _value_lines(field, each, f"{path}[{position}]")
        else:
            yield from _value_lines(field, value, path)


def _value_lines(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of one value. A message without any field has one line, because its presence is a statement."""
    if field.message_type is None:
        yield path, _exact_text(field, value)
    elif isinstance(value, Timestamp):
        yield path, value.ToJsonString()
    elif value.ListFields():
        yield from _field_lines(value, f"{path}.")
    else:
        yield path, "present"


def _exact_text(field: FieldDescriptor, value: Any) -> str:
    """Return a value without rounding: numbers as Python writes them, bytes in hexadecimal, enums by name."""
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return f"UNKNOWN_{value}" if found is None else str(found.name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
