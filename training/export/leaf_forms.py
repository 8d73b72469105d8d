"""What the forms of the explanation that compute leaf by leaf have in common: conditions of a row, and sums by feature.

A slot is one feature of one leaf. The steps are:

    classes of a row -> ranks -> conditions that the row satisfies (n, conditions)
        -> `quadrature`, `leaf_tables` or `baseline_patterns`: the contribution of each slot (n, slots)
        -> sums of fixed numbers of slots of one feature -> contributions (n, features)

All of these are ordinary operators on doubles and integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from training.export.bins import FeatureBins
from training.export.graph import ROWS
from training.export.graph_writer import GraphWriter
from training.export.leaf_paths import MISSING_RANK, LeafPaths, class_ranks

_SUMMED_SLOTS = 16  # slots of one feature that are added in one step; ScatterElements costs five times as much per slot


def add_conditions(writer: GraphWriter, paths: LeafPaths, bins: Mapping[int, FeatureBins], classes: str) -> str:
    """Append the comparison of rows with all conditions.

    Args:
        writer: The graph.
        paths: The leaves and their conditions.
        bins: The bins of the model.
        classes: Name of the class numbers of the rows, shape (n, features of `bins`); the classes of all features have
            consecutive numbers.

    Returns:
        Name of the result: 1.0 where a row satisfies a condition and 0.0 elsewhere, shape (n, conditions).
    """
    columns = {feature: column for column, feature in enumerate(bins)}
    met = [_add_intervals(writer, paths, bins, classes, columns)] if paths.intervals else []
    first_class = np.cumsum([0, *(len(feature_bins.goes_left) for feature_bins in bins.values())])
    for feature, class_sets in paths.class_sets.items():
        column = columns[feature]
        # The table has a line for each class. Its lines are preceded by the classes of other features, which the index skips.
        classes_of_feature = writer.add("Gather", classes, writer.constant(np.array(column, dtype=np.int64)), axis=1)
        own = writer.add("Sub", classes_of_feature, writer.constant(np.array(first_class[column], dtype=np.int32)))
        met.append(writer.add("Gather", writer.constant(np.array(class_sets).T), own, axis=0))
    joined = met[0] if len(met) == 1 else writer.add("Concat", *met, axis=1)
    return writer.add("Cast", joined, to=TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class SlotSums:
    """Sums of contributions to the same feature.

    Attributes:
        name: Name of the sums, shape (n, sums).
        features: The feature of each sum, shape (sums,).
    """

    name: str
    features: NDArray[np.int64]


def add_slot_sums(writer: GraphWriter, slots: str, owners: NDArray[np.int32]) -> SlotSums:
    """Append sums of slots of the same feature.

    Args:
        writer: The graph.
        slots: Name of the contributions of the slots, shape (n, slots).
        owners: The feature of each slot, shape (slots,).
    """
    order = np.argsort(owners, kind="stable")
    features, counts = np.unique(owners, return_counts=True)
    sums = -(-counts // _SUMMED_SLOTS)  # rounded up
    # Unused places of the last sum of a feature read the 0.0 that is appended to the slots.
    places = np.full(int(sums.sum()) * _SUMMED_SLOTS, len(owners), dtype=np.int64)
    first_place = np.repeat(np.cumsum(sums * _SUMMED_SLOTS) - sums * _SUMMED_SLOTS, counts)
    first_slot = np.repeat(np.cumsum(counts) - counts, counts)
    places[first_place + np.arange(len(owners)) - first_slot] = order
    row_count = writer.add("Gather", writer.add("Shape", slots), writer.integers(0), axis=0)
    zero_shape = writer.add("Concat", row_count, writer.integers(1), axis=0)
    zero = writer.add("Expand", writer.constant(np.zeros((1, 1))), zero_shape)
    padded = writer.add("Concat", slots, zero, axis=1)
    placed = writer.add("ArrayFeatureExtractor", padded, writer.indices(places), domain="ai.onnx.ml")
    grouped = writer.reshape(placed, 0, -1, _SUMMED_SLOTS)
    name = writer.add("ReduceSum", grouped, writer.integers(2), keepdims=0)
    return SlotSums(name, np.repeat(features, sums).astype(np.int64))


def add_feature_sums(writer: GraphWriter, parts: Sequence[SlotSums], feature_count: int, output: str) -> None:
    """Append the sums by feature of all results of `add_slot_sums`; `output` becomes their name. Shape (n, features)."""
    joined = parts[0].name if len(parts) == 1 else writer.add("Concat", *(part.name for part in parts), axis=1)
    # ScatterElements needs indices and initial values of full shape, so both are expanded to the number of rows.
    owners = writer.constant(np.concatenate([part.features for part in parts])[None])
    owners_of_rows = writer.add("Expand", owners, writer.add("Shape", joined))
    nothing = writer.add("Expand", writer.constant(np.zeros((1, feature_count))), _add_row_shape(writer, feature_count))
    writer.add("ScatterElements", nothing, owners_of_rows, joined, output=output, axis=1, reduction="add")


def _add_row_shape(writer: GraphWriter, width: int) -> str:
    """Append the shape (n, width), and return its name."""
    row_count = writer.add("Gather", writer.add("Shape", ROWS), writer.integers(0), axis=0)
    return writer.add("Concat", row_count, writer.integers(width), axis=0)


def _add_intervals(
    writer: GraphWriter,
    paths: LeafPaths,
    bins: Mapping[int, FeatureBins],
    classes: str,
    columns: Mapping[int, int],
) -> str:
    """Append the comparison of rows with all intervals, and return the name of the booleans, shape (n, intervals)."""
    # For a feature of categories, ranks have no meaning and are not used.
    ranks_of_classes = np.concatenate([class_ranks(feature_bins) for feature_bins in bins.values()])
    ranks = writer.add("Gather", writer.constant(ranks_of_classes), classes, axis=0)
    owners = np.concatenate([np.full(len(found), columns[feature]) for feature, found in paths.intervals.items()])
    compared = writer.add("ArrayFeatureExtractor", ranks, writer.indices(owners), domain="ai.onnx.ml")
    bounds = [interval for found in paths.intervals.values() for interval in found]
    low, high = (np.array([bound[side] for bound in bounds], dtype=np.int32) for side in (0, 1))
    # A rank that no value has, where a missing value does not satisfy the interval.
    missing = np.array([MISSING_RANK if bound.missing else MISSING_RANK - 1 for bound in bounds], dtype=np.int32)
    above = writer.add("Greater", compared, writer.constant(low))
    below = writer.add("LessOrEqual", compared, writer.constant(high))
    inside = writer.add("And", above, below)
    return writer.add("Or", inside, writer.add("Equal", compared, writer.constant(missing)))
