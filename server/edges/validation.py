"""Validates requests against the rules in the contract, and reports all violations at once."""

import re
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from protovalidate import Validator

from server.errors import RequestInvalid, Violation, summarize_violations

VALIDATOR = Validator()
_KEY_SHOWN_MAX = 128  # characters of a map key in an error message


def validate(request: Message) -> None:
    """Check a request against the rules of the contract, and for fields that the contract does not have.

    Raises:
        RequestInvalid: Names every invalid field and the rule it breaks.
    """
    violations = [_violation(violation.proto) for violation in VALIDATOR.collect_violations(request)]
    if _has_unknown_fields(request):
        violations.append(Violation("", "has fields that this version of the contract does not have", "UNKNOWN_FIELD"))
    if violations:
        raise RequestInvalid(summarize_violations(violations), violations=violations)


def _violation(violation: Any) -> Violation:
    """Return a violation of protovalidate as ours; the message of a rule states what is allowed, never the value."""
    kind = re.sub(r"[^A-Z0-9]+", "_", violation.rule_id.upper()) or "INVALID"
    return Violation(_field_path(violation.field), violation.message, kind)


def _field_path(field: Any) -> str:
    """Return a field's path in the notation of the contract: features["PAY_0"].number."""
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
    """Return whether the message, or any message in it, has fields that are not in the contract."""
    if len(UnknownFieldSet(message)):
        return True
    return any(_has_unknown_fields(part) for part in _submessages(message))


def _submessages(message: Message) -> list[Message]:
    """Return the messages that are fields, elements or map values of a message."""
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
