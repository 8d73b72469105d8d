"""Determines which customers of a scoring run churned, from a transaction log that covers the horizon of the run.

outcome.sql decides, as it does for training: a customer without a purchase within the horizon churned. A market whose lines do
not cover the whole horizon is left out, because its customers would look as if they had left.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import DataInvalid, SpecInvalid
from training.results.run_file import CustomerKey, RunFile, key_account_mask
from training.scoring.run_columns import SCORED
from training.sources.market_days import MarketDays
from training.sources.snapshots import label_customers
from training.sources.transaction_log import TransactionLog
from training.spec import SnapshotSpec, Spec

_MOVED = "MOVED"
_CUSTOMERS_MIN = 30  # that all of so many customers leave within a horizon is not credible
_UNSEEN_SHARE_MAX = 0.5
_PAUSE_MIN = 3  # shorter pauses within a horizon are not worth a caution


@dataclass(frozen=True, slots=True)
class UnmeasuredMarket:
    """A market of a run whose outcomes are not known.

    Attributes:
        market: The market.
        customers: Number of customers with a prediction.
        problem: Why the outcomes are not known.
    """

    market: str
    customers: int
    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class ObservedRun:
    """A run, and what happened within its horizon.

    Attributes:
        run: The run.
        rows: One row for each customer with a prediction and a known outcome: market, customer_id, pd, band,
            value_at_risk_minor, expected_spend_minor, hold_out, is_eligible (a campaign may contact the customer, or would
            if the customer were not in the hold-out group) and churned.
        left_out: Number of customers without a prediction or a known outcome in the measured markets, by the reason.
        unmeasured: The markets whose outcomes are not known.
        cautions: Sentences about what may be wrong with the outcomes.
    """

    run: RunFile
    rows: pd.DataFrame
    left_out: Mapping[str, int]
    unmeasured: tuple[UnmeasuredMarket, ...]
    cautions: tuple[str, ...]


def observe_churn(run: RunFile, key_accounts: set[CustomerKey], log: TransactionLog, spec: Spec) -> ObservedRun:
    """Determine the outcome of every customer of a run.

    Args:
        run: The run.
        key_accounts: The key accounts of the file that the run was scored with.
        log: The transaction log. It may begin on the as-of day.
        spec: The spec of the family, which has a [log] and whose outcome is "churn".

    Raises:
        SpecInvalid: The horizon of a customer cannot be computed from the run.
        DataInvalid: The hold-out group is not that of the campaign, or most customers do not occur in the log.
    """
    assert spec.snapshots is not None
    rows = run.rows.assign(is_key_account=key_account_mask(run, key_accounts))
    days = {one.market: one for one in log.market_days()}
    sizes = rows[rows["status"] == SCORED]["market"].value_counts()
    problems = {market: _coverage_problem(days.get(market), run) for market in run.markets}
    unmeasured = tuple(
        UnmeasuredMarket(market, int(sizes.get(market, 0)), problem) for market, problem in problems.items() if problem
    )
    rows = rows[rows["market"].map(problems) == ""]
    scored = rows[rows["status"] == SCORED].reset_index(drop=True)
    left_out = Counter(rows[rows["status"] != SCORED]["status"].tolist())
    if scored.empty:
        return ObservedRun(run, _with_outcomes(scored, scored.assign(label=0)), left_out, unmeasured, ())
    _create_customers(log, run, scored, spec.snapshots)
    if spec.aliases is not None and (moved := _delete_moved(log)):
        left_out[_MOVED] = moved
    cautions = [*_unseen_cautions(log, run, days, spec.snapshots), *_pause_cautions(run, days, set(scored["market"]))]
    outcomes = label_customers(log, spec.snapshots, run.as_of)
    left_out.update(outcomes["left_out"].dropna().tolist())
    known = outcomes[outcomes["left_out"].isna()]
    return ObservedRun(run, _with_outcomes(scored, known), dict(sorted(left_out.items())), unmeasured, tuple(cautions))


def _coverage_problem(market: MarketDays | None, run: RunFile) -> str:
    """Return why the lines of a market do not cover the horizon of a run; "" if they do.

    Training tolerates a pause at the end of the lines, if the market paused as long before. Here the missing lines may still
    arrive, so the market needs a line on the last day of the horizon or later, and one on its first day or earlier.
    """
    last = run.end - dt.timedelta(days=1)
    if market is None:
        return "the log has no lines of this market"
    if market.days[0] > run.as_of:
        return f"the lines begin {market.days[0]}, after the horizon begins ({run.as_of})"
    if market.last < last:
        return f"not matured: the lines end {market.last}, and the horizon ends {last}"
    return ""


def _create_customers(log: TransactionLog, run: RunFile, scored: pd.DataFrame, snapshots: SnapshotSpec) -> None:
    """Create the table `customers` that outcome.sql reads from the customers of a run."""
    customers = scored[["market", "customer_id", "status"]].assign(horizon_days=_horizons(run, scored, snapshots))
    log.connection.register("run_customers", customers)
    log.connection.execute(
        "CREATE OR REPLACE TABLE customers AS SELECT *, CAST(NULL AS DOUBLE) AS spend_90 FROM run_customers"
    )
    log.connection.unregister("run_customers")


def _horizons(run: RunFile, scored: pd.DataFrame, snapshots: SnapshotSpec) -> NDArray[np.int64]:
    """Return the horizon of each customer in days, as standing.sql defines it: shape (n,)."""
    longest = run.manifest.horizon_days
    if snapshots.horizon_gaps is None:
        return np.full(len(scored), longest, dtype=np.int64)
    if "gap_median_days" not in run.manifest.feature_names:
        raise SpecInvalid(
            f"{run.path}: with snapshots.horizon_gaps, the horizon of a customer depends on gap_median_days, and the run does not "
            "have this feature; add it to the features of the model, or set one horizon for all customers"
        )
    gaps = scored["gap_median_days"].to_numpy(dtype=np.float64)
    days = np.clip(np.ceil(snapshots.horizon_gaps * gaps), snapshots.horizon_min_days, longest)
    return np.where(np.isnan(gaps), longest, days).astype(np.int64)


def _delete_moved(log: TransactionLog) -> int:
    """Delete the customers who have moved or merged since the run from `customers`; return their number.

    Their later purchases are those of a successor, who may have bought before too, so their outcome is not known.
    """
    query = """DELETE FROM customers WHERE EXISTS (SELECT 1 FROM successors WHERE successors.old = customers.customer_id
        AND COALESCE(successors.market, customers.market) = customers.market) RETURNING 1"""
    return len(log.connection.execute(query).fetchall())


def _unseen_cautions(
    log: TransactionLog, run: RunFile, days: Mapping[str, MarketDays], snapshots: SnapshotSpec
) -> list[str]:
    """Return a sentence for each market with customers who do not occur in the log.

    Raises:
        DataInvalid: Most customers of a market do not occur in a log that must have their earlier purchases.
    """
    counts = log.connection.execute(
        """SELECT customers.market, COUNT(*), COUNT(*) FILTER (known.customer_id IS NULL) FROM customers
        LEFT JOIN (SELECT DISTINCT market, customer_id FROM valid_lines) AS known USING (market, customer_id)
        GROUP BY customers.market ORDER BY customers.market"""
    ).fetchall()
    scope = run.as_of - dt.timedelta(days=snapshots.active_days)
    found = []
    for market, customers, unseen in counts:
        reaches_back = days[market].days[0] <= scope
        # A log that begins with the run has no line of a customer who left, and all of a few customers may leave.
        all_left = unseen == customers and (reaches_back or customers >= _CUSTOMERS_MIN)
        if all_left or (reaches_back and unseen > _UNSEEN_SHARE_MAX * customers):
            raise DataInvalid(
                f"{run.path}: market {market}: {unseen:,} of {customers:,} customers do not occur in the log, so it is another log, or "
                "it writes the customers in another way; use the log from which the run was scored, with later lines"
            )
        if unseen and reaches_back:
            found.append(
                f"run {run.as_of}, market {market}: {unseen:,} of {customers:,} customers do not occur in the log, although it has the "
                "time before the run; they count as churned. If their numbers changed, state this in [aliases]"
            )
    return found


def _pause_cautions(run: RunFile, days: Mapping[str, MarketDays], markets: set[str]) -> list[str]:
    """Return a sentence for each market whose longest pause lies within the horizon: a delivery may be missing."""
    found = []
    for market in sorted(markets):
        pauses = days[market].pauses()
        inside = [pause for pause in pauses if pause[1] < run.end and pause[2] > run.as_of]
        length, last, following = max(inside, key=lambda pause: pause[0], default=(0, run.as_of, run.as_of))
        if length >= _PAUSE_MIN and all(pause in inside or pause[0] < length for pause in pauses):
            found.append(
                f"run {run.as_of}, market {market}: no lines between {last} and {following}, the longest pause of the market; if a "
                "delivery is missing, customers look as if they had left"
            )
    return found


def _with_outcomes(scored: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return the customers whose outcome is known, sorted by market and customer."""
    rows = scored.merge(known[["market", "customer_id", "label"]], on=["market", "customer_id"])
    rows = rows.sort_values(["market", "customer_id"], ignore_index=True)
    rows["churned"] = rows["label"].astype(bool)
    rows["is_eligible"] = ~rows["is_suppressed"] & ~rows["is_key_account"]
    names = ["market", "customer_id", "pd", "band", "value_at_risk_minor", "expected_spend_minor", "hold_out"]
    return rows[[*names, "is_eligible", "churned"]]


def check_distinct_runs(runs: Sequence[RunFile]) -> None:
    """Raise DataInvalid if two runs have the same as-of day and a market in common: only one of them was in use."""
    found: dict[tuple[dt.date, str], RunFile] = {}
    for run in runs:
        for market in run.markets:
            other = found.setdefault((run.as_of, market), run)
            if other is not run:
                raise DataInvalid(
                    f"{other.path} and {run.path}: both are runs of {run.as_of} for market {market}; name only the one that was in use"
                )
