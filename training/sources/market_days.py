"""Determines on which days a market is expected to have lines, and for how many of these days it has had none.

Weekends and public holidays are not gaps in a transaction log. The weekdays of a market are learned from its own lines,
because weekends differ between countries and industries. The library `holidays` provides the public holidays.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import holidays

_DAY = dt.timedelta(days=1)
_WEEK_DAYS = 7
_WEEKS = 13
_USUAL_SHARE = 0.5  # a weekday is usual if it has lines in at least this share of the weeks


@dataclass(frozen=True, slots=True)
class MarketDays:
    """The days on which a market has lines.

    Attributes:
        market: The market.
        days: The distinct days in ascending order; at least one.
        end: The time of the last line.
    """

    market: str
    days: tuple[dt.date, ...]
    end: dt.datetime

    @property
    def last(self) -> dt.date:
        """Return the last day with lines."""
        return self.days[-1]

    def silence(self, before: dt.date) -> int:
        """Return the number of days with expected lines between the last day with lines and the day `before`."""
        return sum(1 for _ in self._expected_days(self.last, before))

    def pauses(self) -> list[tuple[int, dt.date, dt.date]]:
        """Return every pause: the number of days with expected lines, and the days with lines before and after it."""
        return [(sum(1 for _ in self._expected_days(*pause)), *pause) for pause in pairwise(self.days)]

    def longest_silence(self) -> int:
        """Return the largest number of days with expected lines between two successive days with lines."""
        return max((length for length, *_ in self.pauses()), default=0)

    def next_expected_day(self) -> dt.date:
        """Return the first day after the last day with lines on which lines are expected."""
        return next(self._expected_days(self.last, dt.date.max))

    def _expected_days(self, after: dt.date, before: dt.date) -> Iterator[dt.date]:
        """Yield the days between two days, both excluded, on which lines are expected.

        Lines are expected on the usual weekdays of the market, except public holidays. If a market has so few lines
        that no weekday is usual, lines are expected on every day except public holidays.
        """
        usual = _usual_weekdays(self.days) or set(range(_WEEK_DAYS))
        day = after + _DAY
        while day < before:
            if day.weekday() in usual and not _is_holiday(self.market, day):
                yield day
            day += _DAY


@cache
def _usual_weekdays(days: Sequence[dt.date]) -> set[int]:
    """Return the weekdays with lines in at least half of the last 13 weeks that have lines."""
    recent = [day for day in days if (days[-1] - day).days < _WEEK_DAYS * _WEEKS]
    weeks = -(-((recent[-1] - recent[0]).days + 1) // _WEEK_DAYS)
    counts = Counter(day.weekday() for day in recent)
    return {weekday for weekday, count in counts.items() if count >= _USUAL_SHARE * weeks}


@cache
def _is_holiday(market: str, day: dt.date) -> bool:
    """Return whether a day is a public holiday in a market or in a region of the market.

    The result is False for a market whose holidays the library does not know.
    """
    regions = holidays.list_supported_countries().get(market)
    return regions is not None and any(day in _calendar(market, region, day.year) for region in (None, *regions))


@cache
def _calendar(market: str, region: str | None, year: int) -> holidays.HolidayBase:
    """Return the public holidays of a country, or of one of its regions, in a year."""
    return holidays.country_holidays(market, subdiv=region, years=year)
