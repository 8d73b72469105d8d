"""Days that a spec or a flow states relative to the day on which it is used, such as "month-3"."""

import calendar
import datetime as dt
import re
from typing import Any

from training.errors import SpecInvalid

_RELATIVE = re.compile(r"(day|week|month)(?:-([0-9]{1,4}))?")
# The keys of a spec that may be relative days
_DAYS = (
    ("snapshots", "fit"),
    ("snapshots", "calibration"),
    ("snapshots", "test"),
    ("snapshots", "latest"),
    ("table", "as_of"),
)
_FORMS = 'a date, or "day", "week" (its Monday) or "month" (its first day), optionally with a number of earlier ones, such as "month-3"'


def resolve_day(text: str, on: dt.date) -> dt.date:
    """Return the day that a text states.

    Args:
        text: An ISO date, or day, week or month with an optional number: "month-3" is the first day of the third month
            before that of `on`, "week" the Monday of its week, "day-1" the day before.
        on: The day to which the text is relative.

    Raises:
        SpecInvalid: The text is neither a date nor of this form.
    """
    match = _RELATIVE.fullmatch(text)
    try:
        return dt.date.fromisoformat(text) if match is None else _earlier(match[1], int(match[2] or 0), on)
    except (ValueError, OverflowError) as error:
        raise SpecInvalid(f"{text!r}: must be {_FORMS}; correct it") from error


def resolve_spec_days(content: dict[str, Any], on: dt.date) -> None:
    """Replace the relative days of a spec by dates. Other texts stay, for the check of the spec."""
    for part, name in _DAYS:
        table = content.get(part)
        if not isinstance(table, dict) or name not in table:
            continue
        stated = table[name]
        table[name] = [_resolve(each, on) for each in stated] if isinstance(stated, list) else _resolve(stated, on)


def _resolve(stated: Any, on: dt.date) -> Any:
    """Return the date of a relative day; anything else unchanged."""
    return resolve_day(stated, on) if isinstance(stated, str) and _RELATIVE.fullmatch(stated) else stated


def _earlier(unit: str, number: int, on: dt.date) -> dt.date:
    """Return the day that begins a unit, a number of units before that of a day."""
    if unit == "day":
        return on - dt.timedelta(days=number)
    if unit == "week":
        return on - dt.timedelta(days=on.weekday() + calendar.MONDAY, weeks=number)
    months = 12 * on.year + on.month - 1 - number
    return dt.date(months // 12, months % 12 + 1, 1)
