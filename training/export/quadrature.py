"""Path-dependent contributions of single leaves by numerical integration that is exact.

The contribution of feature i of a leaf with value v and the features D on its path is (see `shapley`)

    phi_i = v (o_i - r_i) * integral from 0 to 1 of the product over j != i of f_j(t) dt,  f_j(t) = t o_j + (1 - t) r_j

The integrand is a polynomial of degree |D| - 1. Gauss-Legendre quadrature with n points integrates polynomials up to degree
2n - 1 without error, so ceil(|D| / 2) points are enough. At each point, one product over all features of D serves every i,
because it is divided by f_i. No precision is lost: division has only a relative error, and no f_j is 0, since no point
is 0 or 1 and a cover of 0 is replaced by _COVER_MIN.

The tables of `shapley` grow with 2**|D|, this form with |D|**2. Source: Wettenstein, Mitchell & Yu 2026, arXiv:2605.04497.
"""

import numpy as np
from numpy.typing import NDArray

from training.export.graph_writer import GraphWriter
from training.export.leaf_forms import SlotSums, add_slot_sums
from training.export.leaf_paths import LeafBucket

# The smallest cover. Contributions change by this share of themselves, which is far less than the rounding error of a double.
_COVER_MIN = 1e-100
# Values of one step: features * points * leaves. The arrays of a step then fit into the processor's second cache (400 KB each).
_STEP_VALUES = 48_000


def add_quadrature(writer: GraphWriter, met: str, features: NDArray[np.int32], leaves: LeafBucket) -> list[SlotSums]:
    """Append the contributions of leaves.

    Args:
        writer: The graph.
        met: Name of the conditions that rows satisfy, from `leaf_forms.add_conditions`.
        features: The feature of each condition of the model, shape (conditions,).
        leaves: Leaves of one width.
    """
    step = max(1, _STEP_VALUES // (leaves.width * _point_count(leaves.width)))
    return [
        _add_step(writer, met, features, leaves.part(start, start + step))
        for start in range(0, len(leaves.values), step)
    ]


def _point_count(width: int) -> int:
    """Return the number of points that integrates the product over `width` - 1 features exactly."""
    return (width + 1) // 2


def _add_step(writer: GraphWriter, met: str, features: NDArray[np.int32], leaves: LeafBucket) -> SlotSums:
    """Append the contributions of a part of the leaves."""
    width, count = leaves.width, len(leaves.values)
    points, weights = np.polynomial.legendre.leggauss(_point_count(width))
    points, weights = (points + 1) / 2, weights / 2  # maps [-1, 1] to [0, 1]
    conditions = leaves.conditions.T.reshape(
        -1
    )  # shape (features, leaves), so that the innermost loops run along leaves
    covers = writer.constant(np.maximum(leaves.covers.T, _COVER_MIN).reshape(1, width, 1, count))
    satisfied = writer.add("ArrayFeatureExtractor", met, writer.indices(conditions), domain="ai.onnx.ml")
    satisfied = writer.reshape(satisfied, 0, width, 1, count)
    covers_of_rows = writer.add("Expand", covers, writer.add("Shape", satisfied))
    # f = t o + (1 - t) r at all points, as the product of a (points, 2) and a (2, leaves) matrix for each feature
    both = writer.add("Concat", satisfied, covers_of_rows, axis=2)
    factors = writer.add("MatMul", writer.constant(np.column_stack([points, 1 - points])), both)
    products = writer.add("ReduceProd", factors, writer.integers(1), keepdims=1)
    others = writer.add("Div", products, factors)
    integrals = writer.add("MatMul", writer.constant(weights[None]), others)
    gains = writer.add("Mul", writer.add("Sub", satisfied, covers), integrals)
    scaled = writer.add("Mul", gains, writer.constant(leaves.values))
    return add_slot_sums(writer, writer.reshape(scaled, 0, width * count), features[conditions])
