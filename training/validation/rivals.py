"""The model beside simpler rules on the same rows, and who would move if it took the scorecard's place."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from training.evaluation.quality import Quality, measure_quality
from training.fitting.rivals import rival_pds
from training.measures.bootstrap import Interval, auc_difference_interval
from training.measures.swap import SwapSet, swap_set_at_cut_offs, swap_set_at_rate
from training.sources.samples import Samples
from training.spec import Spec
from training.validation.ranking import RESAMPLING
from training.validation.scored_sample import ScoredSample, measure_or_remark


@dataclass(frozen=True, slots=True, eq=False)
class RivalResult:
    """A simpler rule on the hold-out.

    Attributes:
        pds: Shape (n,), of the rows of the hold-out.
        ahead: AUC of this model less that of the rule, with its interval by customer.
    """

    quality: Quality
    pds: NDArray[np.float64]
    auc_lead: Interval | None


@dataclass(frozen=True, slots=True, eq=False)
class SwapComparison:
    """The scorecard in the place of the old model, this one in that of the new.

    Attributes:
        rival: Name of the scorecard.
        approve_max_pd: Cut-off of both, from the reference policy.
        at_cut_off: Both approve up to the cut-off.
        at_rate: Both approve as many as this model does at the cut-off, so that only the ranking differs.
    """

    rival: str
    approve_max_pd: float
    at_cut_off: SwapSet
    at_rate: SwapSet


def measure_rivals(spec: Spec, samples: Samples, hold_out: ScoredSample, remarks: list[str]) -> dict[str, RivalResult]:
    """Fit every rule on the development rows, and measure it on the hold-out."""
    signs = {feature.name: feature.sign for feature in spec.features}
    found = {}
    for rival in spec.rivals:
        fit_rule = partial(rival_pds, rival, signs, samples, hold_out.rows)
        pds = measure_or_remark(remarks, rival.name, fit_rule)
        if pds is not None:
            found[rival.name] = RivalResult(
                measure_quality(hold_out.labels, pds), pds, ahead_of(pds, hold_out, rival.name, remarks)
            )
    return found


def ahead_of(pds: NDArray[np.float64], hold_out: ScoredSample, name: str, remarks: list[str]) -> Interval | None:
    """Give how far the model's AUC is above that of other pds."""
    return measure_or_remark(
        remarks,
        f"interval of the AUC above {name}",
        lambda: auc_difference_interval(hold_out.labels, (pds, hold_out.pds), hold_out.customers, RESAMPLING),
    )


def compare_swap_sets(spec: Spec, rivals: Mapping[str, RivalResult], hold_out: ScoredSample) -> SwapComparison | None:
    """Give the swap set against the first scorecard; None without one, or without a reference policy."""
    scorecards = [rival.name for rival in spec.rivals if rival.kind == "scorecard" and rival.name in rivals]
    if not scorecards or spec.reference_policy is None:
        return None
    name, cut_off = scorecards[0], spec.reference_policy.approve_max_pd
    old, new = rivals[name].pds, hold_out.pds
    return SwapComparison(
        rival=name,
        approve_max_pd=cut_off,
        at_cut_off=swap_set_at_cut_offs(hold_out.labels, old, new, (cut_off, cut_off)),
        at_rate=swap_set_at_rate(hold_out.labels, old, new, float(np.mean(new <= cut_off)), seed=0),
    )
