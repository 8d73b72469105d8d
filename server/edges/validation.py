"""Validates requests against the rules in the .proto files, and reports all violations in one error."""

import re
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from grounds_record.printable_text import hidden_characters
from server.errors import RequestInvalid, Violation, summarize_violations

VALIDATOR = Validator()
# How a field is inspected. The shapes are cached, because every request is inspected.
_OTHER, _TEXT, _TEXTS, _TIME, _MESSAGE, _MESSAGES, _MAP = "other", "text", "texts", "time", "message", "messages", "map"
_SHAPES: dict[FieldDescriptor, str] = {}
# More violations than this do not fit into the trailers of an answer, and building each takes 40 microseconds.
_VIOLATIONS_MAX = 64
_CHARACTERS_SHOWN_MAX = 8  # an error message shows at most this many invalid characters of a text
# The seconds of a google.protobuf.Timestamp from 0001-01-01 to 9999-12-31, and the end of its nanoseconds.
_SECONDS_MIN, _SECONDS_MAX, _NANOS_END = -62_135_596_800, 253_402_300_799, 1_000_000_000
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
    r"^[^=+@\s-][^\n\t]{0,63}$": "must be up to 64 characters without line breaks, beginning neither with a space nor with one of = + - @",
    "^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$": "must be a language tag, such as de or de-AT",
}


def validate(request: Message, encoding_problem: Violation | None = None) -> None:
    """Check a request against the rules of the .proto files.

    Args:
        request: The decoded request.
        encoding_problem: A problem of the bytes of the request, which the error contains too.

    Raises:
        RequestInvalid: The request is invalid. The error lists the first 64 violated rules with their fields, and
            states how many more there are.
    """
    found = VALIDATOR.collect_violations(request)
    violations = [_violation(violation) for violation in found[:_VIOLATIONS_MAX]]
    inspection = _Inspection()
    inspection.add(request, "")
    violations += inspection.violations[:_VIOLATIONS_MAX]
    if encoding_problem is not None:
        violations.append(encoding_problem)
    if violations:
        raise request_invalid(violations, omitted=max(0, len(found) - _VIOLATIONS_MAX))


def request_invalid(violations: Sequence[Violation], omitted: int = 0) -> RequestInvalid:
    """Return the error for a request with these violations, and with `omitted` more."""
    return RequestInvalid(summarize_violations(violations, omitted), violations=violations)


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


class _Inspection:
    """Inspects a message and all messages inside it for problems that the rules of the .proto files cannot express.

    Attributes:
        violations: One violation for each text with control or invisible characters, and for each time outside the years
            1 to 9999. Such a character means nothing in a request, but it can act on the terminal of a person who reads
            the record. Newlines and tabs are allowed.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def add(self, message: Message, path: str) -> None:
        """Inspect a message; `path` is the path of its field, or "" for the request itself."""
        for field, value in message.ListFields():
            shape = _SHAPES.get(field) or _SHAPES.setdefault(field, _shape(field))
            if shape != _OTHER:
                self._add_field(shape, value, f"{path}.{field.name}" if path else field.name)

    def _add_field(self, shape: str, value: Any, path: str) -> None:
        """Inspect the value of a field."""
        if shape == _TEXT:
            self._add_text(value, path)
        elif shape == _TIME:
            self._add_time(value, path)
        elif shape == _MESSAGE:
            self.add(value, path)
        elif shape == _MAP:  # the values are messages; the rules of the .proto files check the keys
            for key, part in value.items():
                self.add(part, f'{path}["{key}"]')
        else:
            add = self._add_text if shape == _TEXTS else self.add
            for number, part in enumerate(value):
                add(part, f"{path}[{number}]")

    def _add_text(self, text: str, path: str) -> None:
        """Inspect a text."""
        if found := hidden_characters(text, kept="\n\t"):
            shown = ", ".join(found[:_CHARACTERS_SHOWN_MAX])
            problem = f"must not contain control or invisible characters, found {shown}"
            self.violations.append(Violation(path, problem, "HIDDEN_CHARACTERS"))

    def _add_time(self, time: Timestamp, path: str) -> None:
        """Inspect a time, which may have any numbers in an encoded request."""
        if not (_SECONDS_MIN <= time.seconds <= _SECONDS_MAX and 0 <= time.nanos < _NANOS_END):
            problem = "must be a time of the years 1 to 9999, with 0 to 999,999,999 nanoseconds"
            self.violations.append(Violation(path, problem, "TIMESTAMP_RANGE"))


def _shape(field: FieldDescriptor) -> str:
    """Return how a field is inspected."""
    if field.message_type is None:
        # Tokens have errors of their own, and are neither recorded nor shown.
        if field.type != FieldDescriptor.TYPE_STRING or field.name.endswith("_token"):
            return _OTHER
        return _TEXTS if field.is_repeated else _TEXT
    if field.message_type.GetOptions().map_entry:
        return _MAP if field.message_type.fields_by_name["value"].message_type is not None else _OTHER
    if field.message_type.full_name == Timestamp.DESCRIPTOR.full_name and not field.is_repeated:
        return _TIME
    return _MESSAGES if field.is_repeated else _MESSAGE
