"""How well the model ranks: with intervals by customer, and by market where there are enough bads."""

from dataclasses import dataclass

import numpy as np

from training.measures.bootstrap import Interval, Resampling, auc_interval, bootstrap_interval
from training.measures.discrimination import ks
from training.validation.scored_sample import ScoredSample, measure_or_remark

# Below so many bads a market's Gini says nothing about the market.
MARKET_BADS_MIN = 50
RESAMPLING = Resampling(seed=0, draws=1000)


@dataclass(frozen=True, slots=True)
class MarketGini:
    """One market, or several pooled ones.

    Attributes:
        markets: One, or all that have too few bads for a figure of their own.
        gini: None where the pooled ones have too few, too.
    """

    markets: tuple[str, ...]
    rows: int
    bads: int
    gini: Interval | None


@dataclass(frozen=True, slots=True)
class RankingFindings:
    """Intervals are percentiles of 1,000 draws of whole customers; None where too few draws had a figure."""

    auc: Interval | None
    gini: Interval | None
    ks: Interval | None
    markets: tuple[MarketGini, ...]


def measure_ranking(hold_out: ScoredSample, remarks: list[str]) -> RankingFindings:
    """Measure the hold-out."""
    labels, pds, customers = hold_out.labels, hold_out.pds, hold_out.customers
    auc = measure_or_remark(remarks, "interval of the AUC", lambda: auc_interval(labels, pds, customers, RESAMPLING))
    ks_found = measure_or_remark(
        remarks, "interval of the KS", lambda: bootstrap_interval(ks, labels, pds, customers, RESAMPLING)
    )
    return RankingFindings(auc, None if auc is None else gini_of(auc), ks_found, markets_of(hold_out, remarks))


def gini_of(auc: Interval) -> Interval:
    """Give the interval of 2 * AUC - 1."""
    estimate, low, high = (2.0 * end - 1.0 for end in (auc.estimate, auc.low, auc.high))
    return Interval(estimate, low, high, auc.draws, auc.undefined_draws)


def markets_of(hold_out: ScoredSample, remarks: list[str]) -> tuple[MarketGini, ...]:
    """Measure every market with enough bads, the largest first, and all others as one, last."""
    markets = hold_out.rows["market"].astype(str).to_numpy()
    names, counts = np.unique(markets, return_counts=True)
    ordered = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    bads = {name: int(hold_out.labels[markets == name].sum()) for name in ordered}
    small = tuple(name for name in ordered if bads[name] < MARKET_BADS_MIN)
    if small:
        remarks.append(f"markets with fewer than {MARKET_BADS_MIN} bads are pooled: {', '.join(small)}")
    groups = [(name,) for name in ordered if name not in small] + ([small] if small else [])
    return tuple(market_gini(hold_out.subset(np.isin(markets, group)), group, remarks) for group in groups)


def market_gini(rows: ScoredSample, group: tuple[str, ...], remarks: list[str]) -> MarketGini:
    """Measure one market, or several as one."""
    bads = int(rows.labels.sum())
    if bads < MARKET_BADS_MIN:
        remarks.append(f"{', '.join(group)}: {bads} bads even together; no Gini of their own")
        return MarketGini(group, len(rows.labels), bads, None)
    found = measure_or_remark(
        remarks,
        f"Gini of {', '.join(group)}",
        lambda: gini_of(auc_interval(rows.labels, rows.pds, rows.customers, RESAMPLING)),
    )
    return MarketGini(group, len(rows.labels), bads, found)
