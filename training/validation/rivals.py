"""Comparison of the model with simpler benchmark models (rivals) on the same rows.

If one of the rivals is a scorecard, the swap set shows which decisions change when the model replaces the scorecard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from training.fitting.rivals import rival_pds
from training.measures.bootstrap import Interval, auc_difference_interval
from training.measures.quality import Quality, measure_quality
from training.measures.swap import SwapSet, swap_set_at_cut_offs, swap_set_at_rate
from training.sources.samples import Samples
from training.spec import Spec
from training.validation.ranking import RESAMPLING
from training.validation.scored_sample import ScoredSample, measure_or_remark


@dataclass(frozen=True, slots=True, eq=False)
class RivalResult:
    """The result of one rival on the hold-out.

    Attributes:
        quality: The quality measures of the rival.
        pds: Shape (n,), the rival's probabilities for the rows of the hold-out.
        auc_lead: AUC of the candidate minus AUC of the rival, with its bootstrap interval over customers; None if it cannot
            be measured.
    """

    quality: Quality
    pds: NDArray[np.float64]
    auc_lead: Interval | None


@dataclass(frozen=True, slots=True, eq=False)
class SwapComparison:
    """The swap sets in which the candidate replaces a scorecard.

    Attributes:
        rival: Name of the scorecard.
        approve_max_pd: Cut-off of both models, from the reference policy.
        at_cut_off: Swap set if both models approve pds up to the cut-off.
        at_rate: Swap set if both models approve as many customers as the candidate does at the cut-off, so that only the
            ranking of the two models differs.
    """

    rival: str
    approve_max_pd: float
    at_cut_off: SwapSet
    at_rate: SwapSet


def measure_rivals(spec: Spec, samples: Samples, hold_out: ScoredSample, remarks: list[str]) -> dict[str, RivalResult]:
    """Fit each benchmark model of the spec on the development rows, and measure each rival on the hold-out.

    Returns:
        The results by name. A rival that cannot be fitted is left out, and the reason is appended to `remarks`.
    """
    signs = {feature.name: feature.sign for feature in spec.features}
    results = {}
    for rival in spec.benchmarks:
        pds = measure_or_remark(remarks, rival.name, partial(rival_pds, rival, signs, samples, hold_out.rows))
        if pds is not None:
            lead = _measure_auc_lead(pds, hold_out, rival.name, remarks)
            results[rival.name] = RivalResult(measure_quality(hold_out.labels, pds), pds, lead)
    return results


def best_rival(rivals: Mapping[str, RivalResult]) -> str | None:
    """Return the name of the rival with the highest AUC on the hold-out; None if no rival could be measured."""
    return max(rivals, key=lambda name: rivals[name].quality.auc, default=None)


def compare_swap_sets(spec: Spec, rivals: Mapping[str, RivalResult], hold_out: ScoredSample) -> SwapComparison | None:
    """Return the swap sets against the first scorecard; None if there is no scorecard or no reference policy."""
    scorecards = [rival.name for rival in spec.benchmarks if rival.kind == "scorecard" and rival.name in rivals]
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


def _measure_auc_lead(
    pds: NDArray[np.float64], hold_out: ScoredSample, name: str, remarks: list[str]
) -> Interval | None:
    """Return the AUC of the candidate minus the AUC of a rival's pds, with its interval; None if it cannot be measured."""
    return measure_or_remark(
        remarks,
        f"interval of the AUC above {name}",
        lambda: auc_difference_interval(hold_out.labels, (pds, hold_out.pds), hold_out.customers, RESAMPLING),
    )
