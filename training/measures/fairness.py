"""Differences of decisions between the groups of a protected attribute.

Approval is the favourable decision. The selection rate is the share of customers who are approved. The TPR (true positive
rate) is the share of good customers who are approved (equal opportunity: Hardt et al. 2016). The FPR (false positive rate)
is the share of bad customers who are approved. The disparate impact ratio is the selection rate of a group divided by
the selection rate of the reference group; a ratio below 0.8 violates the four-fifths rule of the US Uniform Guidelines
of 1978. All gaps and ratios have intervals, because small groups differ by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.inputs import Labels, check_matching
from training.measures.proportions import Estimate, proportion, proportion_difference, proportion_ratio

_ROWS_MIN = 30
_SMALL_GROUPS = "small groups"
_NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class GroupFairness:
    """One group compared with the reference group. All gaps and the ratio are None for the reference group itself.

    Attributes:
        name: Name of the group.
        rows: Number of rows.
        small: Whether the group has fewer rows than the minimum even after pooling, so that its rates are not
            meaningful.
        selection_rate: Share of the rows that are approved.
        tpr: Share of the good rows that are approved; None without good rows.
        fpr: Share of the bad rows that are approved; None without bad rows.
        selection_gap: Selection rate of this group minus that of the reference group.
        tpr_gap: TPR of this group minus that of the reference group; None if either TPR is None.
        fpr_gap: FPR of this group minus that of the reference group; None if either FPR is None.
        disparate_impact: Selection rate of this group divided by that of the reference group; None if no row of the
            reference group is approved.
    """

    name: str
    rows: int
    small: bool
    selection_rate: Estimate
    tpr: Estimate | None
    fpr: Estimate | None
    selection_gap: Estimate | None
    tpr_gap: Estimate | None
    fpr_gap: Estimate | None
    disparate_impact: Estimate | None


@dataclass(frozen=True, slots=True)
class FairnessResult:
    """The comparison of all groups of one attribute.

    Attributes:
        reference: Name of the group that the other groups are compared with.
        groups: The groups, the largest first; the pooled group is last.
        pooled: Names of the groups that were pooled into "small groups".
    """

    reference: str
    groups: tuple[GroupFairness, ...]
    pooled: tuple[str, ...]


def group_fairness(
    labels: Labels,
    approved: NDArray[np.bool_],
    attribute: Sequence[str | None],
    rows_min: int = _ROWS_MIN,
) -> FairnessResult:
    """Compare each group with the largest group whose value is known, with 95 % intervals.

    Args:
        labels: Shape (n,); one row for each customer.
        approved: Shape (n,), whether each row is approved.
        attribute: The group of every row; rows with None form a group of their own, "not known".
        rows_min: Minimum number of rows of a group; smaller groups are pooled into "small groups".

    Raises:
        DataInvalid: Lengths do not match, a group has a reserved name, or no group is large enough.
    """
    check_matching(labels, np.asarray(approved, dtype=np.float64))
    if len(attribute) != len(labels):
        raise DataInvalid(
            f"attribute must have one value per row, got {len(attribute)} values for {len(labels)} rows; provide the missing values as None"
        )
    if reserved := {_SMALL_GROUPS, _NOT_KNOWN} & {value for value in attribute if value is not None}:
        raise DataInvalid(f"reserved group names: {', '.join(sorted(reserved))}; rename these values")
    names = np.array([_NOT_KNOWN if value is None else value for value in attribute], dtype=np.str_)
    distinct, counts = np.unique(names, return_counts=True)
    pooled = tuple(str(name) for name in distinct[counts < rows_min])
    names = np.where(np.isin(names, pooled), _SMALL_GROUPS, names) if pooled else names
    named = [str(name) for name in distinct[np.argsort(-counts, kind="stable")] if str(name) not in pooled]
    reference = next((name for name in named if name != _NOT_KNOWN), None)
    if reference is None:
        raise DataInvalid(
            f"a comparison requires a group with at least {rows_min} rows, got none; add rows, or remove the attribute"
        )
    rates = {
        name: _group_rates(labels, approved, names == name) for name in [*named, *([_SMALL_GROUPS] if pooled else [])]
    }
    groups = tuple(_compare_group(name, rates, reference, rows_min) for name in rates)
    return FairnessResult(reference, groups, pooled)


@dataclass(frozen=True, slots=True)
class _GroupRates:
    """The rates of one group."""

    rows: int
    selection: Estimate
    tpr: Estimate | None
    fpr: Estimate | None


def _group_rates(labels: Labels, approved: NDArray[np.bool_], inside: NDArray[np.bool_]) -> _GroupRates:
    """Return the rates of one group."""
    selection = _approval_rate(approved[inside])
    assert selection is not None, "a group has at least one row"
    good, bad = inside & (labels == 0), inside & (labels == 1)
    return _GroupRates(int(inside.sum()), selection, _approval_rate(approved[good]), _approval_rate(approved[bad]))


def _approval_rate(approved: NDArray[np.bool_]) -> Estimate | None:
    """Return the share of approved rows; None if there are no rows."""
    return proportion(int(np.sum(approved)), len(approved)) if len(approved) else None


def _compare_group(name: str, rates: dict[str, _GroupRates], reference: str, rows_min: int) -> GroupFairness:
    """Return one group compared with the reference group."""
    own, other = rates[name], rates[reference]
    itself = name == reference
    return GroupFairness(
        name=name,
        rows=own.rows,
        small=own.rows < rows_min,
        selection_rate=own.selection,
        tpr=own.tpr,
        fpr=own.fpr,
        selection_gap=None if itself else _rate_gap(own.selection, other.selection),
        tpr_gap=None if itself else _rate_gap(own.tpr, other.tpr),
        fpr_gap=None if itself else _rate_gap(own.fpr, other.fpr),
        disparate_impact=None
        if itself or not other.selection.value
        else proportion_ratio(own.selection, other.selection),
    )


def _rate_gap(own: Estimate | None, other: Estimate | None) -> Estimate | None:
    """Return the difference of two rates; None if at least one rate is None."""
    return None if own is None or other is None else proportion_difference(own, other)
