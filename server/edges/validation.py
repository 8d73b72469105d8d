"""Validates requests against the rules in the .proto files, and reports all violations in one error."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from protovalidate import Validator

from grounds_record.printable_text import hidden_characters
from server.errors import RequestInvalid, Violation, summarize_violations

VALIDATOR = Validator()
_KEY_SHOWN_MAX = 128  # an error message shows at most this many characters of a map key
# Each pattern of the .proto files in words. Error messages contain the words instead of the regular expression.
_PATTERN_RULES = {
    r"\S": "must not be blank",
    "^[0-9a-f]{32}$": "must be 32 lowercase hexadecimal digits",
    "^[0-9a-f]{64}$": "must be 64 lowercase hexadecimal digits",
    "^[A-Z]{2}$": "must be two uppercase letters, such as TW",
    "^[A-Z][A-Z0-9_]{0,63}$": "must be an uppercase letter, then up to 63 uppercase letters, digits and _, such as CREDIT_MANAGER",
    "^[A-Za-z0-9._:-]{1,64}$": "must be 1 to 64 letters, digits and . _ : -",
    "^[A-Za-z0-9._:@-]{1,64}$": "must be 1 to 64 letters, digits and . _ : @ -",
    "^[A-Za-z][A-Za-z0-9_]{0,127}$": "must be a letter, followed by up to 127 letters, digits and _",
    "^[a-z][a-z0-9_]{0,31}$": "must be a lowercase letter, followed by up to 31 lowercase letters, digits and _",
    "^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$": "must be a language tag, such as de or de-AT",
}


def validate(request: Message) -> None:
    """Check a request against the rules of the .proto files, and check that it has no unknown fields.

    Raises:
        RequestInvalid: The request is invalid; the error lists every violated rule with its field.
    """
    violations = [_violation(violation) for violation in VALIDATOR.collect_violations(request)]
    violations += _hidden_text_violations(request)
    if _has_unknown_fields(request):
        violations.append(
            Violation("", "has unknown fields; use the .proto files of this server's release", "UNKNOWN_FIELD")
        )
    if violations:
        raise RequestInvalid(summarize_violations(violations), violations=violations)


def _violation(found: Any) -> Violation:
    """Convert a violation that protovalidate found. Its problem states what is allowed, without the invalid value."""
    violation = found.proto
    kind = re.sub(r"[^A-Z0-9]+", "_", violation.rule_id.upper()) or "INVALID"
    problem = violation.message
    if violation.rule_id == "string.pattern":
        problem = _PATTERN_RULES.get(found.rule_value, problem)
    return Violation(_field_path(violation.field), problem, kind)


def _field_path(field: Any) -> str:
    """Return the path of a field, such as features["PAY_0"].number."""
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
    """Return true if a message, or any message inside it, has fields that are not in the .proto files."""
    if len(UnknownFieldSet(message)):
        return True
    return any(_has_unknown_fields(part) for part in _submessages(message))


def _hidden_text_violations(message: Message, path: str = "") -> Iterator[Violation]:
    """Yield a violation for each text with control or invisible characters. Newlines and tabs are allowed.

    Such a character means nothing in a request, but it can act on the terminal of a person who reads the record.
    """
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            # The keys of every map have a pattern.
            parts = [(f"{name}[{key!a}]", part) for key, part in value.items()]
        elif field.is_repeated:
            parts = [(f"{name}[{number}]", part) for number, part in enumerate(value)]
        else:
            parts = [(name, value)]
        for part_path, part in parts:
            if isinstance(part, Message):
                yield from _hidden_text_violations(part, part_path)
            elif isinstance(part, str) and not part.isprintable() and (found := hidden_characters(part, kept="\n\t")):
                problem = f"must not contain control or invisible characters, found {', '.join(found)}"
                yield Violation(part_path, problem, "HIDDEN_CHARACTERS")


def _submessages(message: Message) -> list[Message]:
    """Return the messages that are direct parts of a message: its fields, list elements and map values."""
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
