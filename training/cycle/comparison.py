"""Compares a candidate with the bundle that serves now (the champion) on the same rows.

The rows are the hold-out of the candidate. The champion was not fitted on them if it comes from an earlier cycle of a log,
whose snapshots are earlier, or from a table with the same [split], whose hash of the customer holds the same customers out.
A bundle that was fitted elsewhere, with another [split] or on later days may have been, so it may look better than it is,
and the verdict says so.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle import Bundle
from models.isolation.processes import check_bundle
from models.onnx_scorer import Scorer
from models.scorecard import grade_from_pd, log_odds_from_margin, pd_from_log_odds
from training.errors import DataInvalid
from training.measures.bootstrap import Interval, auc_difference_interval, bootstrap_difference_interval
from training.measures.discrimination import auc
from training.measures.inputs import Labels, Pds
from training.measures.swap import SwapSet, swap_set_at_cut_offs
from training.sources.samples import HOLD_OUT, LAST_DAY, Samples, customer_of, label_of
from training.validation.ranking import RESAMPLING


@dataclass(frozen=True, slots=True, eq=False)
class ModelComparison:
    """A candidate and a champion on the same rows.

    Attributes:
        champion_id: The bundle of the champion.
        rows: Number of rows.
        bads: Number of bad rows.
        auc: AUC of the champion and of the candidate.
        auc_lead: AUC of the candidate minus that of the champion, with its interval over customers.
        log_loss_rise: Mean log loss of the candidate minus that of the champion, with its interval; positive if the
            candidate's probabilities are worse.
        pd_change: Mean absolute difference of the two probabilities.
        grade_changes: Share of the rows whose grade differs.
        swap: The decisions that change at the cut-off of the reference policy; None without a reference policy.
        doubts: A clause for each of the two models that was perhaps fitted on these rows.
    """

    champion_id: str
    rows: int
    bads: int
    auc: tuple[float, float]
    auc_lead: Interval
    log_loss_rise: Interval
    pd_change: float
    grade_changes: float
    swap: SwapSet | None
    doubts: tuple[str, ...] = ()

    @property
    def is_worse(self) -> bool:
        """Return whether the candidate is behind by more than chance explains, in ranking or in its probabilities."""
        return self.auc_lead.high < 0 or self.log_loss_rise.low > 0

    def facts(self) -> dict[str, Any]:
        """Return the figures for the journal and the page."""
        cells = {} if self.swap is None else {"swapped_in": self.swap.swapped_in, "swapped_out": self.swap.swapped_out}
        return {
            "champion_id": self.champion_id,
            "rows": self.rows,
            "bads": self.bads,
            "auc": list(self.auc),
            "auc_lead": _interval_facts(self.auc_lead),
            "log_loss_rise": _interval_facts(self.log_loss_rise),
            "pd_change": self.pd_change,
            "grade_changes": self.grade_changes,
            "swap": {name: {"rows": cell.rows, "bad_rate": cell.bad_rate} for name, cell in cells.items()},
            "verdict": self.verdict(),
        }

    def verdict(self) -> str:
        """Return the result in one sentence."""
        return "; ".join([self._result(), *self.doubts])

    def _result(self) -> str:
        """Return which of the two models is better, with the figures."""
        name = self.champion_id[:12]
        lead, rise = self.auc_lead, self.log_loss_rise
        ranking = f"AUC {self.auc[1]:.4f} against {self.auc[0]:.4f}, difference {lead.low:+.4f} to {lead.high:+.4f}"
        losses = f"log loss {rise.estimate:+.4f}, {rise.low:+.4f} to {rise.high:+.4f}"
        if lead.high < 0:
            return f"the candidate ranks worse than the serving bundle {name} ({ranking}, 95 % interval)"
        if rise.low > 0:
            return f"the candidate's probabilities are worse than those of the serving bundle {name} ({losses}, 95 % interval)"
        word = "better than" if lead.low > 0 else "no worse than"
        return f"the candidate ranks {word} the serving bundle {name} ({ranking}; {losses}; 95 % intervals)"


def compare_bundles(
    samples: Samples,
    candidate: Bundle,
    champion: Bundle,
    markets: Collection[str] | None = None,
    approve_max_pd: float | None = None,
) -> ModelComparison:
    """Compare two bundles on the hold-out of the samples.

    Args:
        samples: The samples of the candidate.
        candidate: The candidate.
        champion: The bundle that serves now.
        markets: The markets whose rows are used; None for those that both bundles may serve.
        approve_max_pd: The cut-off of the reference policy; None for no swap set.

    Raises:
        DataInvalid: The data lack a feature of the champion or have it in another kind, or an interval cannot be computed.
        BundleInvalid: A bundle does not reproduce its golden rows.
    """
    rows = samples.part("HOLD_OUT")
    both = set(candidate.manifest.markets) & set(champion.manifest.markets)
    rows = rows[rows["market"].isin(both if markets is None else both & set(markets))]
    if rows.empty:
        raise DataInvalid(
            f"the two bundles have no row of the hold-out in common: {champion.bundle_id[:12]} is for "
            f"{', '.join(champion.manifest.markets)}, {candidate.bundle_id[:12]} for {', '.join(candidate.manifest.markets)}; "
            "compare bundles of the same markets, with data of these markets"
        )
    labels, customers = label_of(rows), customer_of(rows)
    before, after = (_pds(bundle, samples, rows) for bundle in (champion, candidate))
    return ModelComparison(
        champion_id=champion.bundle_id,
        rows=len(rows),
        bads=int(labels.sum()),
        auc=(auc(labels, before), auc(labels, after)),
        auc_lead=auc_difference_interval(labels, (before, after), customers, RESAMPLING),
        log_loss_rise=bootstrap_difference_interval(_log_loss, labels, (before, after), customers, RESAMPLING),
        pd_change=float(np.mean(np.abs(after - before))),
        grade_changes=float(np.mean(_grades(champion, before) != _grades(candidate, after))),
        swap=None
        if approve_max_pd is None
        else swap_set_at_cut_offs(labels, before, after, (approve_max_pd, approve_max_pd)),
        doubts=tuple(
            f"the {name} {doubt}, perhaps on these rows"
            for name, bundle in (("serving bundle", champion), ("candidate", candidate))
            if (doubt := _doubt(bundle, samples, rows))
        ),
    )


def _doubt(bundle: Bundle, samples: Samples, rows: pd.DataFrame) -> str:
    """Return why a bundle may have been fitted on the given rows of the hold-out; "" if it cannot."""
    recorded = bundle.manifest.made_from
    if "model_sha256" in recorded:
        return "was fitted elsewhere"
    if samples.hold_out:
        held_out = recorded.get(HOLD_OUT, "not recorded")
        return "" if held_out == samples.hold_out else f"was fitted with another [split] (hold-out: {held_out})"
    last_day = recorded.get(LAST_DAY)
    if last_day is None:
        return "does not record the days on which it was fitted"
    return f"was fitted on days until {last_day}" if last_day >= str(rows["as_of"].min().date()) else ""


def _pds(bundle: Bundle, samples: Samples, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return the probabilities of a bundle for rows of the samples: shape (n,)."""
    check_bundle(bundle)  # in a process with limits, because the bundle need not be active
    margins = Scorer(bundle.score, bundle.explain).margins(_encoded_rows(bundle, samples, rows))
    return np.array([pd_from_log_odds(log_odds_from_margin(bundle.scorecard, each)) for each in margins.tolist()])


def _encoded_rows(bundle: Bundle, samples: Samples, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return rows of the samples as rows of a bundle: shape (n, features of the bundle), NaN where missing.

    Raises:
        DataInvalid: The data lack a feature of the bundle, or have it in another kind.
    """
    schema = bundle.schema
    if lacking := sorted(set(schema.names) - set(samples.names)):
        raise DataInvalid(
            f"the serving bundle {bundle.bundle_id[:12]} uses features that the spec no longer has: {', '.join(lacking)}; "
            "add them to the spec for this cycle, or activate a bundle without them first"
        )
    other_kind = [each.name for each in schema.features if (each.kind == "category") != (each.name in samples.levels)]
    if other_kind:
        raise DataInvalid(
            f"{', '.join(other_kind)}: a number in one of the serving bundle {bundle.bundle_id[:12]} and the spec, and a category in the "
            "other; state `kind` in the spec as in the bundle for this cycle, or give the feature another name"
        )
    columns = []
    for feature in schema.features:
        codes = rows[feature.name].to_numpy(dtype=np.float64)
        if feature.kind == "category":  # the two bundles may number the levels differently
            names = samples.levels[feature.name]
            codes = np.array(
                [
                    code if np.isnan(code) or code < 0 else schema.encode_value(feature.name, names[int(code)])
                    for code in codes.tolist()
                ]
            )
        columns.append(codes)
    return np.ascontiguousarray(np.column_stack(columns))


def _interval_facts(interval: Interval) -> list[float]:
    """Return the estimate and the ends of an interval."""
    return [interval.estimate, interval.low, interval.high]


def _grades(bundle: Bundle, pds: Pds) -> NDArray[np.str_]:
    """Return the grade of each probability: shape (n,)."""
    return np.array([grade_from_pd(bundle.scorecard, each) for each in pds.tolist()])


def _log_loss(labels: Labels, pds: Pds) -> float:
    """Return the mean log loss. A probability of exactly 0 or 1 counts as the nearest double next to it."""
    clipped = np.clip(pds, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))
