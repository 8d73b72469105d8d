"""Checks a request against the rules in the contract: all violations at once."""

import re
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from protovalidate import Validator

from server.errors import RequestInvalid, Violation

VALIDATOR = Validator()
_KEY_SHOWN_MAX = 128


def validate(request: Message) -> None:
    """Refuse a request that breaks a rule or holds fields that this contract does not know.

    Raises:
        RequestInvalid: Names every field, what is wrong with it and what is allowed.
    """
    found = [_violation(violation.proto) for violation in VALIDATOR.collect_violations(request)]
    if _has_unknown_fields(request):
        found.append(Violation("", "holds fields that this version of the contract does not have", "UNKNOWN_FIELD"))
    if found:
        listed = "; ".join(f"{violation.field or 'request'} {violation.problem}" for violation in found[:3])
        rest = f"; and {len(found) - 3} more" if len(found) > 3 else ""  # noqa: PLR2004 - the first three are told
        raise RequestInvalid(listed + rest, violations=found)


def _violation(violation: Any) -> Violation:
    """Take over one violation; the message of a rule names what is allowed, never the value."""
    kind = re.sub(r"[^A-Z0-9]+", "_", violation.rule_id.upper()) or "INVALID"
    return Violation(_field_path(violation.field), violation.message, kind)


def _field_path(field: Any) -> str:
    """Write a field's path as a person would: features["PAY_0"].number."""
    path = ""
    for element in field.elements if field else ():
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            subscript = element.subscript.value
            if isinstance(subscript, str):
                subscript = ascii(subscript)[1:-1]
                subscript = subscript if len(subscript) <= _KEY_SHOWN_MAX else subscript[:_KEY_SHOWN_MAX] + "..."
            path += f'["{subscript}"]' if isinstance(subscript, str) else f"[{subscript}]"
    return path


def _has_unknown_fields(message: Message) -> bool:
    """Tell whether the message or any message in it holds fields that are not in the contract."""
    if len(UnknownFieldSet(message)):
        return True
    return any(_has_unknown_fields(part) for part in _submessages(message))


def _submessages(message: Message) -> list[Message]:
    """Give the messages directly inside a message."""
    parts: list[Message] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                parts.extend(value.values())
        elif field.is_repeated:
            parts.extend(value)
        else:
            parts.append(value)
    return parts
