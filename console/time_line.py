"""Draws the activations as a time line: for each family and market, which bundle served when, and which policy was in force."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import activation_pb2, bodies_pb2
from grounds_client.evidence.markup import Markup, tag
from grounds_client.formatting import BUNDLE_ID_SHOWN, time_text

_WIDTH, _HEIGHT = 600, 22
_NAME_WIDTH = 100  # a shorter bar has no space for the name of what served
_BUNDLE_CHANGES = {
    bodies_pb2.CHANGE_KIND_ACTIVATION,
    bodies_pb2.CHANGE_KIND_ROLLBACK,
    bodies_pb2.CHANGE_KIND_DEACTIVATION,
}
_POLICY_CHANGES = {bodies_pb2.CHANGE_KIND_POLICY_ACTIVATION, bodies_pb2.CHANGE_KIND_POLICY_ROLLBACK}


@dataclass(frozen=True, slots=True)
class _Period:
    """A period in which one bundle served, or one policy was in force.

    Attributes:
        name: The start of the bundle's id, or the version of the policy.
        start: When the period began, in seconds since 1970.
        end: When it ended, or now.
        is_open: Whether the period has not ended.
    """

    name: str
    start: float
    end: float
    is_open: bool


def activation_time_line(changes: Sequence[activation_pb2.Activation], now: dt.datetime) -> Markup | None:
    """Return the time line of a history, as a table with one bar for each row; None if nothing was ever in force.

    Args:
        changes: The changes, newest first. Proposals and retirements put nothing in force and are not drawn.
        now: The present time, with a zone.
    """
    lanes = _lanes(changes, now.timestamp())
    if not lanes:
        return None
    start, end = min(each.start for periods in lanes.values() for each in periods), now.timestamp()
    head = tag("tr", tag("th", "what", scope="col"), tag("th", f"{_day(start)} to {_day(end)} (UTC)", scope="col"))
    rows = [
        tag("tr", tag("th", lane, scope="row"), tag("td", _bar(lane, periods, start, end), data_label="in force"))
        for lane, periods in sorted(lanes.items())
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="time-line")


def _lanes(changes: Sequence[activation_pb2.Activation], now: float) -> dict[str, list[_Period]]:
    """Return the periods of each family and market, and of the policy, oldest first."""
    lanes: dict[str, list[_Period]] = {}
    for lane, name, start in _steps(changes):
        periods = lanes.setdefault(lane, [])
        if periods and periods[-1].is_open:
            if periods[-1].name == name:  # the change only confirms what is in force
                continue
            periods[-1] = replace(periods[-1], end=start, is_open=False)
        if name:
            periods.append(_Period(name, start, now, is_open=True))
    return {lane: periods for lane, periods in lanes.items() if periods}


def _steps(changes: Sequence[activation_pb2.Activation]) -> Iterator[tuple[str, str, float]]:
    """Yield the lane of each change that puts something in force, its name, and its time; the name is "" for nothing."""
    for change in reversed(changes):
        if change.change in _BUNDLE_CHANGES:
            for market in change.markets:
                yield f"{change.family} {market}", change.bundle_id[:BUNDLE_ID_SHOWN], _seconds(change.time)
        elif change.change in _POLICY_CHANGES:
            yield "policy", change.policy_version, _seconds(change.time)


def _bar(lane: str, periods: Sequence[_Period], start: float, end: float) -> Markup:
    """Return the drawing of one row. Its label states every period in words, for readers who do not see it."""
    unit = _WIDTH / max(end - start, 1.0)
    shapes = []
    for number, period in enumerate(periods):
        left, width = (period.start - start) * unit, max((period.end - period.start) * unit, 1.0)
        kind = "even" if number % 2 == 0 else "odd"
        shapes.append(tag("rect", x=f"{left:.1f}", y=1, width=f"{width:.1f}", height=_HEIGHT - 2, class_=kind))
        if width >= _NAME_WIDTH:
            shapes.append(tag("text", period.name, x=f"{left + 5:.1f}", y=_HEIGHT - 7))
    spoken = f"{lane}: {'; '.join(map(_sentence, periods))}"
    return tag("svg", *shapes, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=spoken)


def _sentence(period: _Period) -> str:
    """Return a period in words."""
    until = "until now" if period.is_open else f"to {_time(period.end)}"
    return f"{period.name} from {_time(period.start)} {until}"


def _seconds(time: Timestamp) -> float:
    """Return a time in seconds since 1970."""
    return time.ToDatetime(dt.UTC).timestamp()


def _time(seconds: float) -> str:
    """Return a time as text."""
    stamp = Timestamp()
    stamp.FromDatetime(dt.datetime.fromtimestamp(seconds, dt.UTC))
    return time_text(stamp)


def _day(seconds: float) -> str:
    """Return the day of a time."""
    return _time(seconds)[:10]
