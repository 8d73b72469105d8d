"""Calendar months in UTC, as the figures of the monitoring are grouped."""

import calendar
import datetime as dt


def month_of(day: dt.date) -> str:
    """Return the month of a day, such as "2026-03"."""
    return f"{day:%Y-%m}"


def first_day(month: str) -> dt.date:
    """Return the first day of a month."""
    return dt.date.fromisoformat(f"{month}-01")


def add_months(day: dt.date, count: int) -> dt.date:
    """Return the day some months later or earlier; the last day of that month if it is shorter."""
    months = day.year * 12 + day.month - 1 + count
    year, month = divmod(months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def last_complete_months(as_of: dt.datetime, count: int) -> tuple[dt.datetime, dt.datetime]:
    """Return the beginning and the end of the last complete months before a time.

    Args:
        as_of: The time, in UTC.
        count: The number of months.
    """
    end = as_of.date().replace(day=1)
    start, midnight = add_months(end, -count), dt.time(tzinfo=dt.UTC)
    return dt.datetime.combine(start, midnight), dt.datetime.combine(end, midnight)


def months_between(start: dt.date, end: dt.date) -> list[str]:
    """Return the months from the month of `start` to the month before `end`, in ascending order."""
    found, day = [], start.replace(day=1)
    while day < end:
        found.append(month_of(day))
        day = add_months(day, 1)
    return found
