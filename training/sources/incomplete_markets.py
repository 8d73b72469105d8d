"""Finds markets whose data are incomplete, and rejects them or leaves them out, as [markets] of the spec requires."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from training.errors import DataInvalid
from training.sources.market_days import MarketDays
from training.spec import MarketsSpec, SnapshotSpec

_LEAVE_OUT = 'to continue without these markets, set on_problem = "leave_out" in [markets]'


@dataclass(frozen=True, slots=True)
class IncompleteMarket:
    """A market whose data are incomplete for a snapshot or a scoring run.

    Attributes:
        market: The market.
        code: Code under which the waterfall counts the customers of the market.
        last: Last day with lines of the market.
        cut: Cut date of the snapshot, or the date of the scoring run.
    """

    market: str
    code: str
    last: dt.date
    cut: dt.date

    @property
    def label(self) -> str:
        """Return the label of the market in a waterfall."""
        return f"left out: {self.code} {self.market} (lines end {self.last})"


def incomplete_for_snapshots(
    markets: Sequence[MarketDays], snapshots: SnapshotSpec, rule: MarketsSpec
) -> list[IncompleteMarket]:
    """Return the markets whose lines end before the horizon of a snapshot ends, one entry for each such snapshot.

    A market is only incomplete if the time without lines is longer than every earlier pause between its lines. The labels of
    an incomplete market would be wrong, because its purchases after the last line are unknown. A market whose
    lines end more than active_days before a cut date has no customers in that snapshot, so it is not checked for that
    snapshot.

    Raises:
        DataInvalid: There are such markets, and the spec requires rejecting them or a snapshot has no other market.
    """
    cuts = (*snapshots.fit, *snapshots.calibration, *snapshots.test)
    horizon, scope = dt.timedelta(days=snapshots.horizon_days), dt.timedelta(days=snapshots.active_days)
    found: list[IncompleteMarket] = []
    problems = []
    for one in markets:
        tolerated = one.longest_silence()
        immature = [cut for cut in cuts if cut - scope <= one.last and one.silence(before=cut + horizon) > tolerated]
        if immature:
            found += [IncompleteMarket(one.market, "MARKET_ENDED", one.last, cut) for cut in immature]
            listed = ", ".join(map(str, immature))
            problems.append(
                f"snapshots {listed}: the lines of market {one.market} end {one.end:%Y-%m-%d %H:%M}, before the horizon does"
            )
    way_out = "use earlier snapshots, or a log with later lines; if a market closed, remove its lines from the log"
    _reject(
        rule, problems, way_out, is_total=any(len([f for f in found if f.cut == cut]) == len(markets) for cut in cuts)
    )
    return found


def incomplete_for_run(
    markets: Sequence[MarketDays], at: dt.date, active_days: int, rule: MarketsSpec
) -> list[IncompleteMarket]:
    """Return the markets that a scoring run must leave out.

    A market is MARKET_QUIET if the time since its last line is longer than every earlier pause between its lines, because
    its customers would look as if they had left. After more than `active_days` without lines, a market is MARKET_ENDED; it has no customers in scope.

    Args:
        markets: The markets, with their lines before the date of the run.
        at: Date of the run.
        active_days: Number of days before the cut in which a customer must have bought to be in scope.
        rule: The [markets] of the spec.

    Raises:
        DataInvalid: No market has lines up to the date, or a market is quiet and the spec requires rejecting it.
    """
    latest = max(markets, key=lambda one: one.next_expected_day())
    if all(one.silence(before=at) for one in markets):
        raise DataInvalid(
            f"--at {at}: the log ends {latest.end:%Y-%m-%d %H:%M}; use a date up to {latest.next_expected_day()}"
        )
    ended = [one for one in markets if (at - one.last).days > active_days]
    quiet = [one for one in markets if one not in ended and one.silence(before=at) > one.longest_silence()]
    problems = [
        f"--at {at}: the lines of market {one.market} end {one.end:%Y-%m-%d %H:%M}; the market never paused for so long before, and its "
        f"customers would look as if they had left. Use a date up to {one.next_expected_day()}"
        for one in quiet
    ]
    way_out = "use a log with later lines; if a market closed, remove its lines from the log"
    _reject(rule, problems, way_out, is_total=False)
    codes = {one.market: code for code, group in (("MARKET_ENDED", ended), ("MARKET_QUIET", quiet)) for one in group}
    return [IncompleteMarket(one.market, codes[one.market], one.last, at) for one in markets if one.market in codes]


def small_markets(rows: pd.DataFrame, rule: MarketsSpec) -> dict[str, int]:
    """Return the number of rows of each market that has fewer development rows than `rows_min`.

    Args:
        rows: All samples, with the columns market and sample.
        rule: The [markets] of the spec.

    Raises:
        DataInvalid: There are such markets, and the spec requires rejecting them or no other market is left.
    """
    development = rows[rows["sample"].isin(["FIT", "CALIBRATION"])]["market"].value_counts()
    sizes = {market: int(development.get(market, 0)) for market in sorted(rows["market"].unique())}
    small = {market: size for market, size in sizes.items() if size < rule.rows_min}
    problems = [
        f"market {market}: has {size} development rows, fewer than markets.rows_min" for market, size in small.items()
    ]
    _reject(rule, problems, f"{rule.rows_min} rows are required; decrease rows_min", is_total=len(small) == len(sizes))
    return {market: int((rows["market"] == market).sum()) for market in small}


def too_small_label(market: str) -> str:
    """Return the waterfall label of a market that has too few rows."""
    return f"left out: MARKET_TOO_SMALL {market}"


def _reject(rule: MarketsSpec, problems: list[str], way_out: str, *, is_total: bool) -> None:
    """Raise DataInvalid with all problems if the spec requires rejecting them, or if `is_total` is set."""
    if problems and (is_total or rule.on_problem == "refuse"):
        raise DataInvalid("\n".join(problems) + f"; {way_out}" + ("" if is_total else f"; {_LEAVE_OUT}"))
