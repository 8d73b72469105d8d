"""The time line of the activations draws what served when, and states it in words."""

import datetime as dt
import re

from console.time_line import activation_time_line
from grounds.audit.v1 import activation_pb2

NOW = dt.datetime(2026, 1, 11, tzinfo=dt.UTC)
A, B = "a" * 64, "b" * 64


def change(
    day: int, kind: str, *, markets: tuple[str, ...] = (), bundle: str = "", version: str = ""
) -> activation_pb2.Activation:
    """Return a change on a day of January 2026."""
    found = activation_pb2.Activation(
        change=f"CHANGE_KIND_{kind}",
        markets=markets,
        bundle_id=bundle,
        policy_version=version,
    )
    if not version:
        found.family = "credit"
    found.time.FromDatetime(dt.datetime(2026, 1, day, tzinfo=dt.UTC))
    return found


HISTORY = [  # oldest first
    change(1, "ACTIVATION", markets=("DE",), bundle=A),
    change(1, "POLICY_ACTIVATION", version="1"),
    change(3, "PROPOSAL", markets=("DE",), bundle=B),
    change(4, "ACTIVATION", markets=("DE",), bundle=B),
    change(5, "ACTIVATION", markets=("PL",), bundle=B),
    change(6, "ROLLBACK", markets=("DE",), bundle=A),
    change(7, "ACTIVATION", markets=("DE",), bundle=A),
    change(8, "DEACTIVATION", markets=("PL",)),
    change(9, "RETIREMENT", bundle=B),
    change(9, "POLICY_ACTIVATION", version="2"),
]


def test_every_period_is_stated_in_words_and_a_confirmation_is_none() -> None:
    page = str(activation_time_line(HISTORY[::-1], NOW))
    day = "2026-01-{:02d} 00:00:00".format
    assert re.findall('aria-label="([^"]*)"', page) == [
        f"credit DE: {A[:12]} from {day(1)} to {day(4)}; {B[:12]} from {day(4)} to {day(6)}; {A[:12]} from {day(6)} until now",
        f"credit PL: {B[:12]} from {day(5)} to {day(8)}",
        f"policy: 1 from {day(1)} to {day(9)}; 2 from {day(9)} until now",
    ]


def test_bars_are_as_long_as_their_periods() -> None:
    """The drawing is 600 wide for ten days."""
    page = str(activation_time_line(HISTORY[::-1], NOW))
    bars = [(float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" y="1" width="([\d.]+)"', page)]
    assert bars == [(0, 180), (180, 120), (300, 300), (240, 180), (0, 480), (480, 120)]
    assert "2026-01-01 to 2026-01-11 (UTC)" in page


def test_without_anything_in_force_nothing_is_drawn() -> None:
    assert activation_time_line([change(3, "PROPOSAL", markets=("DE",), bundle=B)], NOW) is None


def test_a_policy_version_with_markup_is_shown_as_text() -> None:
    page = str(activation_time_line([change(1, "POLICY_ACTIVATION", version="<script>")], NOW))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
