"""Messages as flat fields by path, so that two can be compared and the first difference named."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from server.decisions.replay_verdict import Scalar


def flat_fields(path: str, message: Message) -> dict[str, Scalar]:
    """Give every field that is set, by path, e.g. assessment.explanation.contributions[3].log_odds.

    A field that is not set has no path, so a presence that differs is a difference too.
    """
    return dict(walk(path, message))


def walk(path: str, message: Message) -> Iterator[tuple[str, Scalar]]:
    """Walk over a message, fields by number."""
    for field, value in message.ListFields():
        below = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_value = field.message_type.fields_by_name["value"]
            for key in sorted(value):
                yield from one(f'{below}["{key}"]', of_value, value[key])
        elif field.is_repeated:
            for number, element in enumerate(value):
                yield from one(f"{below}[{number}]", field, element)
        else:
            yield from one(below, field, value)


def one(path: str, field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Scalar]]:
    """Give one value, or what is in it; an empty message is there too."""
    if field.message_type is not None:
        yield path, field.message_type.name
        yield from walk(path, value)
    elif field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        yield path, str(value) if known is None else known.name
    else:
        yield path, value.hex() if isinstance(value, bytes) else value
