"""Discrimination measures: AUC, Gini, KS, curves, lift and capture.

In every measure a higher pd means a higher risk. A pair of a bad and a good row with equal pds (a tie) counts one half.
In a curve, this corresponds to a straight line from the point before the tie to the point after the tie.

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
    """A piecewise linear curve from (0, 0) to (1, 1), with one more point for each distinct pd, the highest pd first.

    Attributes:
        x: Shape (points,), from 0 to 1, never decreasing.
        y: Shape (points,), from 0 to 1, never decreasing.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GradeBadRate:
    """The rows, the bads and the bad rate of one grade; the bad rate of an empty grade is None."""

    grade: str
    rows: int
    bads: int
    bad_rate: float | None


@dataclass(frozen=True, slots=True)
class Capture:
    """The bads among the customers with the highest pds.

    Attributes:
        customers: Number of customers with the highest pds that are counted, 1 to n.
        bads: Number of bads among these customers. If only some of the customers with a certain pd are counted, the
            bads with this pd count proportionally, so the number may be fractional.
        precision: bads / customers.
        recall: bads / all bads; the capture rate.
        lift: precision / bad rate of all rows; 1 for a random ranking.
    """

    customers: int
    bads: float
    precision: float
    recall: float
    lift: float


def auc(labels: Labels, pds: Pds) -> float:
    """Return the AUC: the share of pairs of a bad and a good row in which the bad row has the higher pd.

    Args:
        labels: Shape (n,).
        pds: Shape (n,); higher is riskier. Only the order matters.

    Returns:
        0 to 1; about 0.5 for a random ranking, below 0.5 for a reversed one.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return float(np.trapezoid(bads, goods) / (bads[-1] * goods[-1]))


def gini(labels: Labels, pds: Pds) -> float:
    """Return 2 * AUC - 1, which is also the accuracy ratio of the CAP curve; -1 to 1.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    return 2.0 * auc(labels, pds) - 1.0


def ks(labels: Labels, pds: Pds) -> float:
    """Return max |F_bad - F_good|, the largest distance between the pd distributions of bads and goods; 0 to 1.

    Reversing the ranking does not change the KS.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return float(np.max(np.abs(bads / bads[-1] - goods / goods[-1])))


def roc_points(labels: Labels, pds: Pds) -> Curve:
    """Return the ROC curve: x is the share of goods and y the share of bads with at least a given pd.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return Curve(x=goods / goods[-1], y=bads / bads[-1])


def cap_points(labels: Labels, pds: Pds) -> Curve:
    """Return the CAP curve: x is the share of all rows and y the share of bads with at least a given pd.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    bads, goods = _cumulative_counts(labels, pds)
    return Curve(x=(bads + goods) / len(labels), y=bads / bads[-1])


def pr_auc(labels: Labels, pds: Pds) -> float:
    """Return the average precision: the sum of precision * increase of recall over all distinct pds.

    The points of the precision-recall curve are not interpolated, because precision is not linear between two points
    (Davis and Goadrich 2006).

    Returns:
        0 to 1; about the bad rate for a random ranking.

    Raises:
        DataInvalid: Shapes do not match, or only one outcome occurs.
    """
    bads, goods = _cumulative_counts(labels, pds)
    precision = bads[1:] / (bads[1:] + goods[1:])
    return float(np.sum(precision * np.diff(bads)) / bads[-1])


def capture_at_capacity(labels: Labels, pds: Pds, customers: int) -> Capture:
    """Return how many bads are among the rows with the highest pds.

    Args:
        labels: Shape (n,).
        pds: Shape (n,); higher is riskier.
        customers: Number of customers that the sales team can call, at least 1; above n, all rows are counted.

    Raises:
        DataInvalid: Shapes do not match, only one outcome occurs, or the capacity is below 1.
    """
    if customers < 1:
        raise DataInvalid(f"the capacity must be at least 1 customer, got {customers}; set a larger number")
    bads, goods = _cumulative_counts(labels, pds)
    counted = min(customers, len(labels))
    captured = float(np.interp(counted, bads + goods, bads))
    precision = captured / counted
    bad_rate = float(bads[-1]) / len(labels)
    return Capture(counted, captured, precision, captured / float(bads[-1]), precision / bad_rate)


def lift_at_share(labels: Labels, pds: Pds, share: float) -> float:
    """Return the bad rate of the riskiest share of rows, divided by the bad rate of all rows.

    Args:
        labels: Shape (n,).
        pds: Shape (n,); higher is riskier.
        share: Share of the rows, in (0, 1]; 0.1 is the top decile. A fraction of a row counts proportionally.

    Returns:
        0 to 1 / max(share, bad rate); about 1 for a random ranking.

    Raises:
        DataInvalid: Shapes do not match, only one outcome occurs, or the share is outside (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise DataInvalid(f"the share must lie in (0, 1], got {share}; correct it")
    cap = cap_points(labels, pds)
    return float(np.interp(share, cap.x, cap.y)) / share


def bad_rates_by_grade(labels: Labels, grades: NDArray[np.str_], order: Sequence[str]) -> tuple[GradeBadRate, ...]:
    """Return rows, bads and bad rate of every grade.

    Args:
        labels: Shape (n,).
        grades: Shape (n,); the grade of every row.
        order: All grades of the master scale, the safest first; the results have the same order.

    Raises:
        DataInvalid: Labels and grades do not match, or a grade is not in `order`.
    """
    check_matching(labels, np.zeros(len(grades)))
    if unknown := sorted({str(grade) for grade in grades} - set(order)):
        raise DataInvalid(f"unknown grades: {', '.join(unknown)}; use those of the master scale: {', '.join(order)}")
    found = []
    for grade in order:
        inside = labels[grades == grade]
        rows, bads = len(inside), int(inside.sum())
        found.append(GradeBadRate(grade, rows, bads, bads / rows if rows else None))
    return tuple(found)


def _cumulative_counts(labels: Labels, pds: Pds) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the numbers of bads and of goods with at least each distinct pd, from the highest pd to the lowest.

    Both arrays begin with an additional 0, the count above the highest pd.
    """
    check_matching(labels, pds)
    check_both_outcomes(labels)
    distinct, positions = np.unique(-pds, return_inverse=True)
    rows = np.bincount(positions, minlength=len(distinct))
    bads = np.bincount(positions, weights=labels, minlength=len(distinct))
    return np.concatenate([[0.0], np.cumsum(bads)]), np.concatenate([[0.0], np.cumsum(rows - bads)])
