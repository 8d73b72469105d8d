"""Fairness: whether decisions under the reference policy differ between the groups of a protected attribute."""

from functools import partial

from training.measures.fairness import FairnessResult, group_fairness
from training.sources.protected_attributes import ATTRIBUTE_PREFIX
from training.spec import Spec
from training.validation.scored_sample import ScoredSample, measure_or_remark


def measure_fairness(spec: Spec, hold_out: ScoredSample, remarks: list[str]) -> dict[str, FairnessResult]:
    """Compare the groups of each protected attribute, on the latest row of each customer.

    Args:
        spec: The spec, with the attributes and the reference policy.
        hold_out: The rows of the hold-out.
        remarks: List to which a remark is appended for each attribute that could not be measured.

    Returns:
        The results by column of the attribute; an attribute that cannot be measured is left out. Empty if the spec has
        no reference policy.
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
