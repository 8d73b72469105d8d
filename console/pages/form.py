"""Reads the fields of a form: those of the query of a request, or those that a browser posted."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from starlette.requests import Request

from console.query import posted_entries, query_entries
from grounds_client import Amount, CallFailed
from grounds_client.client import Value, parse_value
from grounds_client.formatting import enum_name

_DAY_EXPECTED = "a day such as 2026-11-30"
_Value = TypeVar("_Value")


class FormInvalid(Exception):
    """A field of a form is invalid.

    Attributes:
        problems: One sentence for each invalid field.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Form:
    """The fields of one form. Call `check` after reading all of them, so that all problems are reported at once."""

    def __init__(self, request: Request) -> None:
        self._fields = posted_entries(request) if request.method == "POST" else query_entries(request)
        self._problems: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Return a field as text without spaces around it; "" if it is empty."""
        return self._fields.get(name, "")

    @property
    def entries(self) -> dict[str, str]:
        """Return the fields that are not empty, by name."""
        return dict(self._fields)

    @property
    def problems(self) -> dict[str, str]:
        """Return what is wrong with the fields that were read, by name."""
        return dict(self._problems)

    def number(self, name: str, default: int, largest: int) -> int:
        """Return a whole number from 1 to `largest`."""

        def parse(text: str) -> int:
            number = int(text)
            if not 1 <= number <= largest:
                raise ValueError(text)
            return number

        return self._parse(name, parse, f"a whole number from 1 to {largest}", default)

    def day(self, name: str) -> dt.datetime | None:
        """Return the beginning of a day in UTC; None if the field is empty."""
        return self._parse(name, _parse_day, _DAY_EXPECTED, None)

    def end_of_day(self, name: str) -> dt.datetime | None:
        """Return the end of a day in UTC, which is the beginning of the next; None if the field is empty."""
        return self._parse(name, lambda text: _parse_day(text) + dt.timedelta(days=1), _DAY_EXPECTED, None)

    def minute(self, name: str) -> dt.datetime | None:
        """Return a minute in UTC; None if the field is empty."""

        def parse(text: str) -> dt.datetime:
            return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M").replace(tzinfo=dt.UTC)

        return self._parse(name, parse, "a time in UTC such as 2026-11-30T10:15", None)

    def choice(self, name: str, enum: EnumTypeWrapper) -> Any:  # the type of an enum's numbers, which has no name here
        """Return the number of an enum value; 0 if the field is empty."""
        numbers = {enum_name(enum, number): number for number in enum.values() if number}
        return self._parse(name, lambda text: numbers[text], f"one of {', '.join(numbers)}", 0)

    def amount(self, name: str, currency: str = "") -> Amount | None:
        """Return an amount of money; None if the field is empty. A number without a currency has the given one."""

        def parse(text: str) -> Amount:
            return Amount.parse(text if text[-1:].isalpha() else text + currency)

        return self._parse(name, parse, f"an amount such as 120000{currency or 'TWD'}", None)

    def values(self, prefix: str) -> dict[str, Value]:
        """Return the values of all fields whose names begin with a prefix, without the prefix. Empty fields are skipped."""
        found = {name.removeprefix(prefix): text for name, text in self._fields.items() if name.startswith(prefix)}
        return {name: parse_value(text) for name, text in found.items()}

    def check(self) -> None:
        """Raise FormInvalid if a field that was read is invalid."""
        if self._problems:
            raise FormInvalid([f"{name}: {problem}" for name, problem in self._problems.items()])

    def _parse(self, name: str, parse: Callable[[str], _Value], expected: str, default: _Value) -> _Value:
        """Return a parsed field, or the default if it is empty or invalid."""
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except (
            ValueError,
            KeyError,
            OverflowError,
        ):  # OverflowError: the end of the last day that Python can represent
            self._problems[name] = f"must be {expected}, got {text!r}"
            return default


def field_problems(error: CallFailed) -> Iterator[tuple[str, str]]:
    """Yield the name of each field that the server rejects, and what is wrong; the parts of a field count as the field."""
    for each in error.problems:
        yield each.field.partition(".")[0].partition("[")[0], each.problem


def add_problem(problems: dict[str, str], name: str, problem: str) -> None:
    """Add what is wrong with a field, unless it is stated already."""
    known = problems.get(name, "")
    if problem not in known:
        problems[name] = f"{known}; {problem}" if known else problem


def _parse_day(text: str) -> dt.datetime:
    """Return the beginning of a day in UTC."""
    return dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC)
