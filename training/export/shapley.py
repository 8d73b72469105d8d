"""The contributions of one unit, for every pattern of answers: exact Tree SHAP of both kinds.

For one leaf with value v, let D be the distinct features on its path, o_f = 1 where the explained row
meets all the path's conditions on f, z_f the same for a baseline row. With A = {o = 1, z = 0} and
B = {o = 0, z = 1}, and nothing at all where some feature has o = z = 0:

    phi_i = + v (|A|-1)! |B|! / (|A|+|B|)!   for i in A
    phi_i = - v |A|! (|B|-1)! / (|A|+|B|)!   for i in B

averaged over the baseline rows. The row enters through its pattern only, so a table over the patterns
holds every answer, and the size of the baseline costs nothing when serving.

Path-dependent: instead of baseline rows, each feature of D is met with a probability r_f, the product of
the covers of the splits on f along the path:

    phi_i = v (o_i - r_i) * integral from 0 to 1 of the product over j != i of (r_j + t (o_j - r_j)) dt

The integrand is a polynomial of degree d - 1, so Gauss-Legendre with ceil(d / 2) points is exact.

Source: Lundberg et al. 2020, Nature Machine Intelligence 2, 56-67 (interventional Tree SHAP); the tables
over decision patterns: Nadel & Wettenstein 2026, arXiv:2511.09376.
"""

from functools import cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from training.export.units import Path, Unit


def contributions(
    unit: Unit, patterns: NDArray[np.bool_], baseline_answers: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Give each feature's contribution at each pattern.

    Args:
        unit: The part of the model to explain.
        patterns: Shape (n_patterns, n_questions): the answers of rows to explain.
        baseline_answers: Shape (n_baseline, n_questions): the answers of the baseline's rows; None means
            path-dependent.

    Returns:
        Shape (n_patterns, len(unit.features())), log-odds before calibration, columns as in
        `unit.features()`.
    """
    column_of = {feature: column for column, feature in enumerate(unit.features())}
    total = np.zeros((len(patterns), len(column_of)))
    for path in unit.paths:
        features = tuple(sorted({unit.questions[condition.question].feature for condition in path.conditions}))
        if baseline_answers is None:
            table = path_dependent_table(path.value, covers_of(unit, path, features))
        else:
            table = leaf_table(path.value, meets(unit, path, features, baseline_answers), len(features))
        met = meets(unit, path, features, patterns)
        total[:, [column_of[feature] for feature in features]] += table[met]
    return total


def covers_of(unit: Unit, path: Path, features: tuple[int, ...]) -> NDArray[np.float64]:
    """Give, per feature, the product of the covers of its splits along the path."""
    covers = np.ones(len(features))
    for condition in path.conditions:
        covers[features.index(unit.questions[condition.question].feature)] *= condition.cover
    return covers


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


def meets(unit: Unit, path: Path, features: tuple[int, ...], patterns: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give, per pattern, the set of features whose conditions it meets: bit i stands for features[i]."""
    bits = np.zeros(len(patterns), dtype=np.int64)
    for bit, feature in enumerate(features):
        fulfilled = np.ones(len(patterns), dtype=np.bool_)
        for condition in path.conditions:
            if unit.questions[condition.question].feature == feature:
                fulfilled &= patterns[:, condition.question] == condition.answer
        bits |= fulfilled.astype(np.int64) << bit
    return bits


def leaf_table(value: float, met_baseline: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Give one leaf's contributions for each of the 2**width sets: shape (2**width, width).

    einsum without optimisation adds in one fixed order, whatever the number of threads.
    """
    counts = np.bincount(met_baseline, minlength=1 << width).astype(np.float64)
    held = np.flatnonzero(counts)
    summed: NDArray[np.float64] = np.einsum("z,ozi->oi", counts[held], kernel(width)[:, held], optimize=False)
    return value * summed / len(met_baseline)


@cache
def kernel(width: int) -> NDArray[np.float64]:
    """Give phi for a leaf of value 1: shape (2**width rows, 2**width baseline rows, width features)."""
    sets = np.arange(1 << width)
    rows, baseline = sets[:, None], sets[None, :]
    only_row, only_baseline = rows & ~baseline, baseline & ~rows
    possible = (rows | baseline) == (1 << width) - 1
    weight_row, weight_baseline = weights(width)
    sizes = (popcount(only_row), popcount(only_baseline))
    table = np.zeros((len(sets), len(sets), width))
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
