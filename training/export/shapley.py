"""The contributions of one unit, for every cell: exact Tree SHAP of both kinds.

For one leaf with value v, let D be the distinct features on its path, o_f = 1 where the explained row
meets all the path's conditions on f, z_f the same for a baseline row. With A = {o = 1, z = 0} and
B = {o = 0, z = 1}, and nothing at all where some feature has o = z = 0:

    phi_i = + v (|A|-1)! |B|! / (|A|+|B|)!   for i in A
    phi_i = - v |A|! (|B|-1)! / (|A|+|B|)!   for i in B

averaged over the baseline rows. The row enters through its met facts only, so a table over the unit's cells
holds every answer, and the size of the baseline costs nothing when serving.

Path-dependent: instead of baseline rows, each feature of D is met with a probability r_f, the product of
the covers of the splits on f along the path:

    phi_i = v (o_i - r_i) * integral from 0 to 1 of the product over j != i of (r_j + t (o_j - r_j)) dt

The integrand is a polynomial of degree d - 1, so Gauss-Legendre with ceil(d / 2) points is exact.

Source: Lundberg et al. 2020, Nature Machine Intelligence 2, 56-67 (interventional Tree SHAP); the tables
over decision patterns: Nadel & Wettenstein 2026, arXiv:2511.09376.
"""

from collections.abc import Mapping
from functools import cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from training.export.leaf_groups import DecisionPath, LeafGroup, PathCondition

CACHED_WIDTH_MAX = 7  # a kernel of 8 features takes 4 MB, and over four times as much with each more
AGAINST_MAX = 128  # sets of the baseline at a time
KERNEL_BYTES_MAX = 1 << 27  # of one kernel; a wide one is of fewer sets at a time


def contribution_table(unit: LeafGroup, baseline: Mapping[int, NDArray[np.int64]] | None) -> NDArray[np.float64]:
    """Give each feature's contribution in each cell.

    Args:
        unit: The part of the model to explain.
        baseline: Per feature, the class of each row of the baseline; None means path-dependent.

    Returns:
        Shape (unit.cells, len(unit.digits)), log-odds before calibration, columns in the order of
        `unit.digits`.
    """
    column_of = {feature: column for column, feature in enumerate(unit.digits)}
    digit_of = digits_of_cells(unit)
    total = np.zeros((unit.cell_count, len(column_of)))
    for path in unit.paths:
        table = path_table(path, baseline)
        of_digits = [met_by_digit(fact, unit.digits[fact.feature]) for fact in path.conditions]
        met = bits(
            [of_digit[digit_of[fact.feature]] for of_digit, fact in zip(of_digits, path.conditions, strict=True)]
        )
        total[:, [column_of[fact.feature] for fact in path.conditions]] += table[met]
    return total


def digits_of_cells(unit: LeafGroup) -> dict[int, NDArray[np.int64]]:
    """Give, per feature, its digit in each cell: the first feature's digit counts up fastest."""
    found, rest = {}, np.arange(unit.cell_count)
    for feature, size in unit.radices.items():
        found[feature] = rest % size
        rest //= size
    return found


def met_by_digit(fact: PathCondition, digits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Give whether a digit meets a fact, which all its classes agree on."""
    return fact.satisfied[np.unique(digits, return_index=True)[1]]


def bits(met: list[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Give sets as numbers: bit i stands for met[i]."""
    return sum((bit.astype(np.int64) << i for i, bit in enumerate(met)), start=np.zeros(1, dtype=np.int64))


def path_table(path: DecisionPath, baseline: Mapping[int, NDArray[np.int64]] | None) -> NDArray[np.float64]:
    """Give one leaf's contributions for each of the 2**width sets of met facts: shape (2**width, width)."""
    if baseline is None:
        return path_dependent_table(path.value, np.array([fact.cover for fact in path.conditions]))
    return leaf_table(
        path.value, bits([fact.satisfied[baseline[fact.feature]] for fact in path.conditions]), len(path.conditions)
    )


def path_dependent_table(value: float, covers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give one leaf's contributions for each of the 2**width sets of met features: shape (2**width, width)."""
    width = len(covers)
    met = (np.arange(1 << width)[:, None] >> np.arange(width)[None, :] & 1).astype(np.float64)
    points, weights = np.polynomial.legendre.leggauss((width + 1) // 2)
    table = np.zeros_like(met)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factors = covers + point * (met - covers)
        for bit in range(width):
            table[:, bit] += weight * np.prod(np.delete(factors, bit, axis=1), axis=1)
    result: NDArray[np.float64] = value * (met - covers) * table
    return result


def leaf_table(value: float, met_baseline: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Give one leaf's contributions for each of the 2**width sets: shape (2**width, width).

    einsum without optimisation adds in one fixed order, whatever the number of threads.
    """
    counts = np.bincount(met_baseline, minlength=1 << width).astype(np.float64)
    held = np.flatnonzero(counts)
    summed = np.zeros((1 << width, width))
    step = max(1, min(AGAINST_MAX, KERNEL_BYTES_MAX // (8 * width << width)))
    for first in range(0, len(held), step):
        part = held[first : first + step]
        summed += np.einsum("z,ozi->oi", counts[part], kernel(width, part), optimize=False)
    result: NDArray[np.float64] = value * summed / len(met_baseline)
    return result


def kernel(width: int, baseline: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give phi for a leaf of value 1: shape (2**width rows, baseline sets, width features)."""
    if width <= CACHED_WIDTH_MAX:
        return whole_kernel(width)[:, baseline]
    return shapley_kernel(width, baseline)


@cache
def whole_kernel(width: int) -> NDArray[np.float64]:
    """Give the kernel against every set."""
    return shapley_kernel(width, np.arange(1 << width))


def shapley_kernel(width: int, against: NDArray[np.int64]) -> NDArray[np.float64]:
    """Write the formula out for every set of a row against the given sets of baseline rows."""
    rows, baseline = np.arange(1 << width)[:, None], against[None, :]
    only_row, only_baseline = rows & ~baseline, baseline & ~rows
    possible = (rows | baseline) == (1 << width) - 1
    weight_row, weight_baseline = weights(width)
    sizes = (popcount(only_row), popcount(only_baseline))
    table = np.zeros((1 << width, len(against), width))
    for bit in range(width):
        table[:, :, bit] += np.where(possible & (only_row >> bit & 1 == 1), weight_row[sizes], 0.0)
        table[:, :, bit] -= np.where(possible & (only_baseline >> bit & 1 == 1), weight_baseline[sizes], 0.0)
    return table


def weights(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the Shapley weights by (|A|, |B|), for members of A and for members of B."""
    size = width + 1
    weight_row, weight_baseline = np.zeros((size, size)), np.zeros((size, size))
    for a in range(size):
        for b in range(size - a):
            if a:
                weight_row[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
            if b:
                weight_baseline[a, b] = factorial(a) * factorial(b - 1) / factorial(a + b)
    return weight_row, weight_baseline


def popcount(sets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the members of each set."""
    counted: NDArray[np.int64] = np.bitwise_count(sets).astype(np.int64)
    return counted
