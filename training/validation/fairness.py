"""Whether decisions at the reference policy differ between groups of attributes that the model does not see."""

from training.measures.fairness import FairnessResult, group_fairness
from training.sources.protected_attributes import ATTRIBUTE_PREFIX
from training.spec import Spec
from training.validation.scored_sample import ScoredSample, measure_or_remark


def measure_fairness(spec: Spec, hold_out: ScoredSample, remarks: list[str]) -> dict[str, FairnessResult]:
    """Compare the groups of every attribute that the spec lists, one row a customer; approved is the good outcome."""
    if spec.reference_policy is None:
        return {}
    judged = hold_out.latest_per_customer()
    approved = judged.pds <= spec.reference_policy.approve_max_pd
    rows_min, found = spec.fairness.rows_min, {}
    for one in spec.fairness.attributes:
        groups = judged.rows[ATTRIBUTE_PREFIX + one.column].tolist()
        compared = measure_or_remark(
            remarks,
            f"fairness over {one.column}",
            lambda groups=groups: group_fairness(judged.labels, approved, groups, rows_min),  # type: ignore[misc]  # bound now
        )
        if compared is not None:
            found[one.column] = compared
    return found
