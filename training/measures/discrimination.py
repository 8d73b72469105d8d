"""Discrimination measures: AUC, Gini, KS, curves, lift and capture.

A higher pd is a higher risk, everywhere. Ties count one half, which is the same as drawing every curve straight
through a tie.

Sources: Hanley and McNeil 1982 (AUC and pairs); Engelmann, Hayden and Tasche 2003 (CAP, and Gini = accuracy ratio).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.inputs import Labels, Pds, check_both_outcomes, check_matching


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points from (0, 0) to (1, 1), one for each distinct pd, riskiest first; straight lines between them.

    Attributes:
        x: Shape (points,), ascending from 0 to 1.
        y: Shape (points,), ascending from 0 to 1.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GradeBadRate:
    """The bad rate of one grade; None where the grade holds no row."""

    grade: str
    rows: int
    bads: int
    bad_rate: float | None


@dataclass(frozen=True, slots=True)
class Capture:
    """The bads among the customers with the highest pds.

    Attributes:
        customers: Number of customers looked at, 1 to n.
        bads: Number of bads among them. Ties at the last place count proportionally, so it may not be an integer.
        precision: bads / customers.
        recall: bads / all bads; the capture rate.
        lift: precision / bad rate of all rows; 1 is chance.
    """

    customers: int
    bads: float
    precision: float
    recall: float
    lift: float


def auc(labels: Labels, pds: Pds) -> float:
    """Return the AUC: the share of pairs of a bad and a good row in which the bad row has the higher pd; ties are one half.

    Args:
        labels: Shape (n,).
        pds: Shape (n,); higher is riskier. Only the order matters.

    Returns:
        0 to 1; 0.5 is chance, below 0.5 the ranking is reversed.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return float(np.trapezoid(bads, goods) / (bads[-1] * goods[-1]))


def gini(labels: Labels, pds: Pds) -> float:
    """Return 2 * AUC - 1, which is also the accuracy ratio of the CAP curve; -1 to 1.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    return 2.0 * auc(labels, pds) - 1.0


def ks(labels: Labels, pds: Pds) -> float:
    """Return max |F_bad - F_good|, the largest distance between both distributions of the pd; 0 to 1.

    It has no sign: a model with the reversed ranking has the same KS.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return float(np.max(np.abs(bads / bads[-1] - goods / goods[-1])))


def roc_points(labels: Labels, pds: Pds) -> Curve:
    """Return the ROC curve: x the share of goods, y the share of bads, at or above each pd.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return Curve(x=goods / goods[-1], y=bads / bads[-1])


def cap_points(labels: Labels, pds: Pds) -> Curve:
    """Return the CAP curve: x the share of all rows, y the share of bads, at or above each pd.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return Curve(x=(bads + goods) / len(labels), y=bads / bads[-1])


def pr_auc(labels: Labels, pds: Pds) -> float:
    """Return the area under precision over recall as average precision: sum of precision * step in recall.

    Points are not interpolated, because precision is not linear between two of them (Davis and Goadrich 2006).

    Returns:
        0 to 1; a random ranking has about the bad rate.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome.
    """
    bads, goods = _cumulative_counts(labels, pds)
    precision = bads[1:] / (bads[1:] + goods[1:])
    return float(np.sum(precision * np.diff(bads)) / bads[-1])


def capture_at_capacity(labels: Labels, pds: Pds, customers: int) -> Capture:
    """Return how many bads are among the rows with the highest pds.

    Args:
        labels: Shape (n,).
        pds: Shape (n,); higher is riskier.
        customers: Number of customers that the sales team can call, at least 1; if above n, all rows.

    Raises:
        DataInvalid: Shapes do not match, only one outcome, or a capacity below 1.
    """
    if customers < 1:
        raise DataInvalid(f"the capacity must be at least 1 customer, got {customers}")
    bads, goods = _cumulative_counts(labels, pds)
    looked_at = min(customers, len(labels))
    found = float(np.interp(looked_at, bads + goods, bads))
    precision = found / looked_at
    bad_rate = float(bads[-1]) / len(labels)
    return Capture(looked_at, found, precision, found / float(bads[-1]), precision / bad_rate)


def lift_at_share(labels: Labels, pds: Pds, share: float) -> float:
    """Return the bad rate of the riskiest share of rows over the bad rate of all rows.

    Args:
        labels: Shape (n,).
        pds: Shape (n,); higher is riskier.
        share: In (0, 1]; 0.1 is the top decile. A fraction of a row counts proportionally.

    Returns:
        0 to 1 / max(share, bad rate); 1 is chance.

    Raises:
        DataInvalid: Shapes do not match, only one outcome, or a share outside (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise DataInvalid(f"the share must lie in (0, 1], got {share}")
    cap = cap_points(labels, pds)
    return float(np.interp(share, cap.x, cap.y)) / share


def bad_rates_by_grade(labels: Labels, grades: NDArray[np.str_], order: Sequence[str]) -> tuple[GradeBadRate, ...]:
    """Return rows, bads and bad rate of every grade.

    Args:
        labels: Shape (n,).
        grades: Shape (n,); the grade of every row.
        order: Every grade of the master scale, the safest first.

    Raises:
        DataInvalid: Labels and grades do not match, or a grade is not in `order`.
    """
    check_matching(labels, np.zeros(len(grades)))
    if unknown := sorted({str(grade) for grade in grades} - set(order)):
        raise DataInvalid(f"unknown grades: {', '.join(unknown)}; the master scale has {', '.join(order)}")
    found = []
    for grade in order:
        inside = labels[grades == grade]
        rows, bads = len(inside), int(inside.sum())
        found.append(GradeBadRate(grade, rows, bads, bads / rows if rows else None))
    return tuple(found)


def _cumulative_counts(labels: Labels, pds: Pds) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bads and goods at or above each distinct pd, from the highest pd down: two arrays that begin with 0."""
    check_matching(labels, pds)
    check_both_outcomes(labels)
    distinct, places = np.unique(-pds, return_inverse=True)
    rows = np.bincount(places, minlength=len(distinct))
    bads = np.bincount(places, weights=labels, minlength=len(distinct))
    return np.concatenate([[0.0], np.cumsum(bads)]), np.concatenate([[0.0], np.cumsum(rows - bads)])
