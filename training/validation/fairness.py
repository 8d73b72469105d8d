"""Whether decisions at the reference policy differ between groups of attributes that the model does not use."""

from functools import partial

from training.measures.fairness import FairnessResult, group_fairness
from training.sources.protected_attributes import ATTRIBUTE_PREFIX
from training.spec import Spec
from training.validation.scored_sample import ScoredSample, measure_or_remark


def measure_fairness(spec: Spec, hold_out: ScoredSample, remarks: list[str]) -> dict[str, FairnessResult]:
    """Compare the groups of each attribute of the spec, by the latest row of each customer; approval is the good outcome.

    Returns:
        The result of each attribute; empty without a reference policy. `remarks` receives what could not be measured.
    """
    if spec.reference_policy is None:
        return {}
    sample = hold_out.latest_per_customer()
    approved = sample.pds <= spec.reference_policy.approve_max_pd
    results = {}
    for attribute in spec.fairness.attributes:
        groups = sample.rows[ATTRIBUTE_PREFIX + attribute.column].tolist()
        measure = partial(group_fairness, sample.labels, approved, groups, spec.fairness.rows_min)
        result = measure_or_remark(remarks, f"fairness over {attribute.column}", measure)
        if result is not None:
            results[attribute.column] = result
    return results
