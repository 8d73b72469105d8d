"""Validates requests against the rules in the contract, and reports all violations at once."""

import re
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from protovalidate import Validator

from server.errors import RequestInvalid, Violation, summarize_violations

VALIDATOR = Validator()
_KEY_SHOWN_MAX = 128  # characters of a map key in an error message
# The patterns of the contract in words: a message names the rule, a caller should not have to read a regular expression.
_PATTERN_RULES = {
    r"\S": "must not be blank",
    "^[0-9a-f]{32}$": "must be 32 hexadecimal digits in lower case",
    "^[0-9a-f]{64}$": "must be 64 hexadecimal digits in lower case",
    "^[A-Z]{2}$": "must be two capital letters, such as TW",
    "^[A-Z][A-Z0-9_]{0,63}$": "must be up to 64 capital letters, digits and _, such as CREDIT_MANAGER",
    "^[A-Za-z0-9._:-]{1,64}$": "must be 1 to 64 letters, digits and . _ : -",
    "^[A-Za-z0-9._:@-]{1,64}$": "must be 1 to 64 letters, digits and . _ : @ -",
    "^[A-Za-z][A-Za-z0-9_]{0,127}$": "must be a letter, followed by up to 127 letters, digits and _",
    "^[a-z][a-z0-9_]{0,31}$": "must be a lower-case letter, followed by up to 31 lower-case letters, digits and _",
    "^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$": "must be a language tag, such as de or de-AT",
}


def validate(request: Message) -> None:
    """Check a request against the rules of the contract, and for fields that the contract does not have.

    Raises:
        RequestInvalid: Names every invalid field and the rule it breaks.
    """
    violations = [_violation(violation) for violation in VALIDATOR.collect_violations(request)]
    if _has_unknown_fields(request):
        violations.append(Violation("", "has fields that this version of the contract does not have", "UNKNOWN_FIELD"))
    if violations:
        raise RequestInvalid(summarize_violations(violations), violations=violations)


def _violation(found: Any) -> Violation:
    """Return a violation of protovalidate as ours. Its problem states what is allowed, never the value."""
    violation = found.proto
    kind = re.sub(r"[^A-Z0-9]+", "_", violation.rule_id.upper()) or "INVALID"
    problem = violation.message
    if violation.rule_id == "string.pattern":
        problem = _PATTERN_RULES.get(found.rule_value, problem)
    return Violation(_field_path(violation.field), problem, kind)


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
