"""Chooses the cut dates of the snapshots if the spec does not state them."""

import datetime as dt

from training.errors import DataInvalid
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import SnapshotSpec, Spec

_DAY = dt.timedelta(days=1)
_FIT_CUTS_MAX = 4
_HISTORY_DAYS_MIN = 90  # a snapshot with a shorter history says too little about a customer


def with_cut_dates(spec: Spec, sources: SourcePaths, threads: int) -> Spec:
    """Return a spec whose snapshots have cut dates; a spec that states its dates stays unchanged.

    Raises:
        DataInvalid: The log is too short for a fit snapshot and a later test snapshot.
    """
    if spec.log is None or spec.snapshots is None or spec.snapshots.test:
        return spec
    with open_transaction_log(spec.log, spec.status, sources, threads, aliases=spec.aliases) as opened:
        days = opened.market_days()
    first, last = min(one.days[0] for one in days), max(one.last for one in days)
    return spec.model_copy(update={"snapshots": choose_cut_dates(spec.snapshots, first, last)})


def choose_cut_dates(snapshots: SnapshotSpec, first: dt.date, last: dt.date) -> SnapshotSpec:
    """Return snapshots with cut dates that are one horizon apart, so that no label overlaps a later cut.

    The test cut is one horizon before the end of the log. Up to four fit cuts precede it, each with at least 90 days of
    history. A hash of the customer selects the calibration part.

    Args:
        snapshots: The snapshots without dates.
        first: The first day with lines.
        last: The last day with lines.

    Raises:
        DataInvalid: The log is too short.
    """
    horizon, latest = dt.timedelta(days=snapshots.horizon_days), last + _DAY
    test = latest - horizon
    candidates = [test - number * horizon for number in range(_FIT_CUTS_MAX, 0, -1)]
    fit = tuple(cut for cut in candidates if cut - first >= dt.timedelta(days=_HISTORY_DAYS_MIN))
    if not fit:
        longest = ((latest - first).days - _HISTORY_DAYS_MIN) // 2
        raise DataInvalid(
            f"snapshots: the log has lines from {first} to {last}, too short for a fit snapshot and a test snapshot with "
            f"horizon_days = {snapshots.horizon_days} and {_HISTORY_DAYS_MIN} days of history; "
            + (f"set horizon_days to at most {longest}" if longest > 0 else "use a longer log")
        )
    return snapshots.model_copy(update={"fit": fit, "test": (test,), "latest": latest})
