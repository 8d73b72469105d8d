"""How well the model ranks: AUC, Gini and KS with intervals by customer, and the Gini of each market."""

from dataclasses import dataclass

import numpy as np

from training.measures.bootstrap import Interval, Resampling, auc_interval, bootstrap_interval
from training.measures.discrimination import ks
from training.validation.scored_sample import ScoredSample, measure_or_remark

RESAMPLING = Resampling(seed=0, draws=1000)
_MARKET_BADS_MIN = 50  # with fewer bads, the interval of a market's Gini is too wide to be useful


@dataclass(frozen=True, slots=True)
class MarketGini:
    """The Gini of a market, or of several pooled markets.

    Attributes:
        markets: Name of the market, or the names of the pooled markets.
        rows: Number of rows.
        bads: Number of rows with a bad outcome.
        gini: Gini with its bootstrap interval; None if there are too few bads even after pooling.
    """

    markets: tuple[str, ...]
    rows: int
    bads: int
    gini: Interval | None


@dataclass(frozen=True, slots=True)
class RankingFindings:
    """Measures of ranking on the hold-out.

    Intervals are percentiles of 1,000 bootstrap draws of whole customers. A measure is None if it is undefined in too many
    draws.

    Attributes:
        auc: AUC with its interval.
        gini: Gini with its interval.
        ks: KS with its interval.
        markets: Gini of each market, the largest market first; markets with too few bads are pooled as the last entry.
    """

    auc: Interval | None
    gini: Interval | None
    ks: Interval | None
    markets: tuple[MarketGini, ...]


def measure_ranking(hold_out: ScoredSample, remarks: list[str]) -> RankingFindings:
    """Measure how well the model ranks the hold-out; append a remark for each measure that could not be computed."""
    labels, pds, customers = hold_out.labels, hold_out.pds, hold_out.customers
    auc = measure_or_remark(remarks, "interval of the AUC", lambda: auc_interval(labels, pds, customers, RESAMPLING))
    ks_interval = measure_or_remark(
        remarks, "interval of the KS", lambda: bootstrap_interval(ks, labels, pds, customers, RESAMPLING)
    )
    gini = None if auc is None else _gini_interval(auc)
    return RankingFindings(auc, gini, ks_interval, _market_ginis(hold_out, remarks))


def _gini_interval(auc: Interval) -> Interval:
    """Return the interval of the Gini, which is 2 * AUC - 1."""
    estimate, low, high = (2.0 * value - 1.0 for value in (auc.estimate, auc.low, auc.high))
    return Interval(estimate, low, high, auc.draws, auc.undefined_draws)


def _market_ginis(hold_out: ScoredSample, remarks: list[str]) -> tuple[MarketGini, ...]:
    """Return the Gini of each market with enough bads, the largest first, and then of all other markets pooled."""
    markets = hold_out.rows["market"].astype(str).to_numpy()
    names, counts = np.unique(markets, return_counts=True)
    by_size = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    bads = {name: int(hold_out.labels[markets == name].sum()) for name in by_size}
    small = tuple(name for name in by_size if bads[name] < _MARKET_BADS_MIN)
    if small:
        remarks.append(f"markets with fewer than {_MARKET_BADS_MIN} bads are pooled: {', '.join(small)}")
    groups = [(name,) for name in by_size if name not in small] + ([small] if small else [])
    return tuple(_market_gini(hold_out.subset(np.isin(markets, group)), group, remarks) for group in groups)


def _market_gini(sample: ScoredSample, markets: tuple[str, ...], remarks: list[str]) -> MarketGini:
    """Return the Gini of one market, or of several markets pooled."""
    bads = int(sample.labels.sum())
    if bads < _MARKET_BADS_MIN:
        remarks.append(f"Gini of {', '.join(markets)}: not measured: only {bads} bads in total")
        return MarketGini(markets, len(sample.labels), bads, None)
    gini = measure_or_remark(
        remarks,
        f"Gini of {', '.join(markets)}",
        lambda: _gini_interval(auc_interval(sample.labels, sample.pds, sample.customers, RESAMPLING)),
    )
    return MarketGini(markets, len(sample.labels), bads, gini)
