"""Interventional contributions of single leaves with few features: a lookup table for each leaf.

The table of a leaf with d features has 2**d lines of d numbers. Up to a few features, looking up a line is faster than
comparing the row with all patterns of the baseline (`baseline_patterns`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from training.export.graph_writer import GraphWriter
from training.export.leaf_forms import SlotSums, add_slot_sums
from training.export.leaf_paths import LeafBucket
from training.export.shapley import signed_weights

# The tables of all widths together. Measured with 1,000 trees of 31 leaves, 40 features and 100 baseline rows, tables of up to
# 6 features take 27 MB.
LEAF_TABLES_BYTES_MAX = 30_000_000
_WIDTH_MAX = 6  # a table of 7 features would take 7 KB
_STEP_LEAVES = 2_000


def table_width(buckets: Sequence[LeafBucket], bytes_max: int) -> int:
    """Return the largest number of features up to which all leaves get a table, within `bytes_max` for all tables."""
    size, largest = 0, 0
    for bucket in buckets:
        size += len(bucket.values) * (bucket.width * 8 << bucket.width)
        if size > bytes_max or bucket.width > _WIDTH_MAX:
            break
        largest = bucket.width
    return largest


def add_leaf_tables(
    writer: GraphWriter, met: str, features: NDArray[np.int32], leaves: LeafBucket, satisfied: NDArray[np.bool_]
) -> list[SlotSums]:
    """Append the contributions of leaves.

    Args:
        writer: The graph.
        met: Name of the conditions that rows satisfy, from `leaf_forms.add_conditions`.
        features: The feature of each condition of the model, shape (conditions,).
        leaves: Leaves of one width.
        satisfied: Which baseline rows satisfy each condition, shape (conditions, n_baseline).
    """
    return [
        _add_step(writer, met, features, leaves.part(start, start + _STEP_LEAVES), satisfied)
        for start in range(0, len(leaves.values), _STEP_LEAVES)
    ]


def _add_step(
    writer: GraphWriter, met: str, features: NDArray[np.int32], leaves: LeafBucket, satisfied: NDArray[np.bool_]
) -> SlotSums:
    """Append the contributions of a part of the leaves."""
    count, width = leaves.conditions.shape
    conditions = leaves.conditions.reshape(-1)
    of_leaves = writer.add("ArrayFeatureExtractor", met, writer.indices(conditions), domain="ai.onnx.ml")
    powers = writer.constant(np.ldexp(1.0, np.arange(width))[:, None])
    lines = writer.add("MatMul", writer.reshape(of_leaves, 0, count, width), powers)
    lines = writer.add("Cast", writer.reshape(lines, 0, count), to=TensorProto.INT32)
    first_lines = writer.constant(np.arange(count, dtype=np.int32) << width)
    tables = writer.constant(_tables(leaves, satisfied).reshape(-1, width))
    found = writer.add("Gather", tables, writer.add("Add", lines, first_lines), axis=0)
    return add_slot_sums(writer, writer.reshape(found, 0, count * width), features[conditions])


def _tables(leaves: LeafBucket, satisfied: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the contributions of each leaf for every set of features that a row can satisfy: shape (leaves, 2**width, width)."""
    width, row_count = leaves.width, satisfied.shape[1]
    sets = np.zeros((len(leaves.values), row_count), dtype=np.int64)
    for bit in range(width):
        sets += satisfied[leaves.conditions[:, bit]].astype(np.int64) << bit
    numbers = sets + (np.arange(len(sets)) << width)[:, None]
    counts = np.bincount(numbers.reshape(-1), minlength=len(sets) << width).reshape(len(sets), -1)
    weights = signed_weights(width, np.arange(1 << width))  # (explained sets, baseline sets, features)
    # Without optimisation, einsum adds in a fixed order for any number of threads, so the bytes of the file do not vary.
    shares = np.einsum("lz,ozi->loi", counts.astype(np.float64), weights, optimize=False)
    tables: NDArray[np.float64] = leaves.values[:, None, None] * shares / row_count
    return tables
