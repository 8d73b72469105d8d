"""The lookup tables of contributions: exact Shapley values of a leaf group for every cell.

Interventional contributions compare the explained row with each baseline row. Let v be the value of a leaf and D the set of
features on its path. For a feature f in D, let o_f be 1 if the explained row satisfies all conditions of the path on f, and
else 0. Let z_f be defined in the same way for a baseline row. Let A be the features with o = 1 and z = 0, and B the features
with o = 0 and z = 1. The Shapley value phi_i of feature i is

    phi_i = + v (|A|-1)! |B|! / (|A|+|B|)!   for i in A
    phi_i = - v |A|! (|B|-1)! / (|A|+|B|)!   for i in B

If some feature has o = z = 0, then phi = 0, because no coalition reaches the leaf. The contribution of a feature is the mean of
phi over the baseline rows, summed over all leaves. Of the explained row, the contribution depends only on the booleans
o_f. Therefore a table with one line per cell contains the contributions of every possible row, and the size of the
baseline does not affect the time to explain a row.

Path-dependent contributions use probabilities instead of baseline rows. A feature f in D is satisfied with the probability r_f,
which is the product of the covers of the splits on f along the path:

    phi_i = v (o_i - r_i) * integral from 0 to 1 of the product over j != i of (r_j + t (o_j - r_j)) dt

Sources: Lundberg et al. 2020, Nature Machine Intelligence 2, 56-67, and Laberge & Pequignot 2022, arXiv:2209.15123
(interventional Tree SHAP); Nadel & Wettenstein 2026, arXiv:2511.09376 (tables over decision patterns). The integral is
Owen's multilinear extension of the Shapley value (Owen 1972, Management Science 18, 64-79).
"""

from collections.abc import Mapping
from functools import cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from training.export.leaf_groups import DecisionPath, LeafGroup, PathCondition

CACHED_WIDTH_MAX = 7  # the weights of 8 features take 4 MB, and each additional feature quadruples them
BASELINE_SETS_MAX = 128  # maximum number of baseline sets that one step computes
WEIGHTS_BYTES_MAX = 1 << 27  # maximum size of the weights of one step; limits the number of sets for wide leaves


def contribution_table(group: LeafGroup, baseline: Mapping[int, NDArray[np.int64]] | None) -> NDArray[np.float64]:
    """Return the lookup table of a group.

    Args:
        group: The group of leaves.
        baseline: For each feature the classes of the baseline rows, shape (n_baseline,), from `bins.row_classes`; None
            for path-dependent contributions.

    Returns:
        Shape (group.cell_count, len(group.digits)), in the unit of the margin; the columns are the features in the
        order of `group.digits`.
    """
    column = {feature: index for index, feature in enumerate(group.digits)}
    digits = cell_digits(group)
    table = np.zeros((group.cell_count, len(column)))
    for path in group.paths:
        # The contributions of one leaf have one line for each set of satisfied features. Look up this line for each cell.
        leaf_table = _path_table(path, baseline)
        satisfied = [
            _satisfied_by_digit(condition, group.digits[condition.feature])[digits[condition.feature]]
            for condition in path.conditions
        ]
        table[:, [column[condition.feature] for condition in path.conditions]] += leaf_table[_pack_bits(satisfied)]
    return table


def cell_digits(group: LeafGroup) -> dict[int, NDArray[np.int64]]:
    """Return the digit of each feature in each cell, shape (cells,); the first feature's digit is the least significant."""
    digits, rest = {}, np.arange(group.cell_count)
    for feature, radix in group.radices.items():
        digits[feature] = rest % radix
        rest //= radix
    return digits


def interventional_table(value: float, baseline: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Return the interventional contributions of one leaf.

    Args:
        value: The leaf's part of the margin.
        baseline: Shape (n_baseline,); for each baseline row the set of features that it satisfies, as bits.
        width: Number of features on the path.

    Returns:
        Shape (2**width, width), for every set of features that an explained row can satisfy, in the order of the bits.
    """
    # All baseline rows with the same set have the same result. Each set that occurs is computed once, so that the time
    # does not grow with the size of the baseline.
    counts = np.bincount(baseline, minlength=1 << width).astype(np.float64)
    occurring = np.flatnonzero(counts)
    total = np.zeros((1 << width, width))
    step = max(1, min(BASELINE_SETS_MAX, WEIGHTS_BYTES_MAX // (8 * width << width)))
    for first in range(0, len(occurring), step):
        sets = occurring[first : first + step]
        # Without optimisation, einsum adds in a fixed order for any number of threads, so the bytes of the file do not vary.
        total += np.einsum("z,ozi->oi", counts[sets], signed_weights(width, sets), optimize=False)
    table: NDArray[np.float64] = value * total / len(baseline)
    return table


def path_dependent_table(value: float, covers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the path-dependent contributions of one leaf.

    Args:
        value: The leaf's part of the margin.
        covers: Shape (width,); for each feature on the path the probability that its conditions are satisfied.

    Returns:
        Shape (2**width, width), for every set of features that an explained row can satisfy, in the order of the bits.
    """
    width = len(covers)
    satisfied = (np.arange(1 << width)[:, None] >> np.arange(width)[None, :] & 1).astype(np.float64)
    # The integrand is a polynomial of degree width - 1; Gauss-Legendre with n points is exact up to degree 2n - 1.
    points, weights = np.polynomial.legendre.leggauss((width + 1) // 2)
    integral = np.zeros_like(satisfied)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):  # maps [-1, 1] to [0, 1]
        factors = covers + point * (satisfied - covers)
        for bit in range(width):
            # Dividing the full product by one factor would be faster, but loses precision if the factor is near 0.
            integral[:, bit] += weight * np.prod(np.delete(factors, bit, axis=1), axis=1)
    table: NDArray[np.float64] = value * (satisfied - covers) * integral
    return table


def signed_weights(width: int, baseline: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Shapley values phi of a leaf of value 1.

    Args:
        width: Number of features on the path.
        baseline: Shape (n_sets,), the sets of features that baseline rows satisfy, as bits.

    Returns:
        Shape (2**width explained sets, n_sets, width features).
    """
    if width <= CACHED_WIDTH_MAX:
        return _all_signed_weights(width)[:, baseline]
    return _compute_signed_weights(width, baseline)


@cache
def _all_signed_weights(width: int) -> NDArray[np.float64]:
    """Return the Shapley values phi of a leaf of value 1 for every baseline set."""
    return _compute_signed_weights(width, np.arange(1 << width))


def _compute_signed_weights(width: int, baseline: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the Shapley values phi of a leaf of value 1 by the formula in the module docstring."""
    explained, against = np.arange(1 << width)[:, None], baseline[None, :]
    only_explained, only_against = explained & ~against, against & ~explained  # A and B as bits
    reachable = (explained | against) == (1 << width) - 1
    weight_a, weight_b = _shapley_weights(width)
    sizes = (_popcount(only_explained), _popcount(only_against))
    phi = np.zeros((1 << width, len(baseline), width))
    for bit in range(width):
        phi[:, :, bit] += np.where(reachable & (only_explained >> bit & 1 == 1), weight_a[sizes], 0.0)
        phi[:, :, bit] -= np.where(reachable & (only_against >> bit & 1 == 1), weight_b[sizes], 0.0)
    return phi


def _shapley_weights(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of members of A and of members of B, each of shape (width + 1, width + 1) by (|A|, |B|)."""
    weight_a, weight_b = np.zeros((width + 1, width + 1)), np.zeros((width + 1, width + 1))
    for a in range(width + 1):
        for b in range(width + 1 - a):
            if a:
                weight_a[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
            if b:
                weight_b[a, b] = factorial(a) * factorial(b - 1) / factorial(a + b)
    return weight_a, weight_b


def _path_table(path: DecisionPath, baseline: Mapping[int, NDArray[np.int64]] | None) -> NDArray[np.float64]:
    """Return the contributions of one leaf for each set of satisfied features: shape (2**width, width)."""
    if baseline is None:
        return path_dependent_table(path.value, np.array([condition.cover for condition in path.conditions]))
    satisfied = [condition.satisfied[baseline[condition.feature]] for condition in path.conditions]
    return interventional_table(path.value, _pack_bits(satisfied), len(path.conditions))


def _satisfied_by_digit(condition: PathCondition, digits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each digit satisfies a condition; all classes of a digit agree, so its first class is used."""
    return condition.satisfied[np.unique(digits, return_index=True)[1]]


def _pack_bits(satisfied: list[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Return sets of features as integers: bit i of element n is satisfied[i][n]."""
    return sum((bit.astype(np.int64) << i for i, bit in enumerate(satisfied)), start=np.zeros(1, dtype=np.int64))


def _popcount(sets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of members of each set."""
    counts: NDArray[np.int64] = np.bitwise_count(sets).astype(np.int64)
    return counts
