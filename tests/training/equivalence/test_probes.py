"""The probe rows cover every split and every leaf: each single fault changes the margin of at least one probe row."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import lightgbm
import numpy as np
import pytest

from models.onnx_scorer import open_session
from tests.oracles import FloatArray, margins
from training.equivalence.probes import probe_rows
from training.export.score import score_onnx
from training.export.trees import (
    ZERO_THRESHOLD,
    CategoricalSplit,
    Ensemble,
    Leaf,
    NumericSplit,
    Split,
    SplitNode,
    Tree,
    read_ensemble,
)

UNSEEN = frozenset({1000})  # replaces a set that would become empty; the code occurs in no training row
RANDOM_ROWS = 500  # so few that the steered rows, not the random rows, must show the faults


def fit_model(rows: FloatArray, categories: Sequence[int] = (), **settings: object) -> lightgbm.Booster:
    """Fit trees of five to eight leaves."""
    random = np.random.default_rng(1)
    clean = np.nan_to_num(rows)
    order = np.argsort(np.argsort(clean, axis=0), axis=0) / len(rows)
    label = order[:, 0] + np.sin(6 * order[:, 1]) * order[:, 2] + random.normal(size=len(rows)) * 0.3 > 0.6
    parameters = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 0, **settings}
    return lightgbm.train(parameters, lightgbm.Dataset(rows, label, categorical_feature=list(categories)), 12)


def normal() -> FloatArray:
    """Return normally distributed rows."""
    return np.random.default_rng(0).normal(size=(1500, 4))


def rows_with_missing_values() -> FloatArray:
    """Return rows with missing values."""
    rows = normal()
    rows[np.random.default_rng(2).random(rows.shape) < 0.1] = np.nan
    return rows


MODELS: dict[str, Callable[[], lightgbm.Booster]] = {
    "normal": lambda: fit_model(normal()),
    "skewed": lambda: fit_model(np.exp(2.5 * normal())),
    "with gaps": lambda: fit_model(rows_with_missing_values()),
    "signed": lambda: fit_model(normal(), monotone_constraints=[1, 0, 0, 1]),
    "categories": lambda: fit_model(
        np.column_stack([np.floor(4 * np.abs(normal()[:, :2])), normal()[:, 2:]]),
        categories=[0, 1],
        min_data_per_group=5,
        cat_smooth=1,
    ),
    "zero as missing": lambda: fit_model(np.where(np.abs(normal()) < 0.3, 0.0, normal()), zero_as_missing=True),
}


Steps = tuple[tuple[Split, bool], ...]  # the splits on the path to a node, and whether the path goes left


def nodes_with_steps(tree: Tree, steps: Steps = ()) -> Iterator[tuple[Tree, Steps]]:
    """Yield every inner node and every leaf of a tree with the splits on the path to this node or leaf."""
    yield tree, steps
    if isinstance(tree, SplitNode):
        yield from nodes_with_steps(tree.left, (*steps, (tree.split, True)))
        yield from nodes_with_steps(tree.right, (*steps, (tree.split, False)))


def with_node_replaced(tree: Tree, old: Tree, new: Tree) -> Tree:
    """Return a tree with one node replaced."""
    if tree is old:
        return new
    if isinstance(tree, Leaf):
        return tree
    return dataclasses.replace(
        tree, left=with_node_replaced(tree.left, old, new), right=with_node_replaced(tree.right, old, new)
    )


def faults(ensemble: Ensemble) -> Iterator[tuple[str, Ensemble]]:
    """Yield a description and a faulty model for each single fault that can change the margin of a row."""
    for number, tree in enumerate(ensemble.trees):
        for node, steps in nodes_with_steps(tree):
            if isinstance(node, SplitNode) and node.split.feature in ensemble.zero_as_missing and near_zero(node.split):
                continue  # in this column, all values that such a fault would move to the other side are missing values
            for name, wrong in node_faults(node, steps):
                trees = (*ensemble.trees[:number], with_node_replaced(tree, node, wrong), *ensemble.trees[number + 1 :])
                yield f"tree {number}: {name}", dataclasses.replace(ensemble, trees=trees)


def near_zero(split: Split) -> bool:
    """Return whether a split's threshold is next to zero, closer than twice LightGBM's zero threshold."""
    return isinstance(split, NumericSplit) and abs(split.threshold) < 2 * ZERO_THRESHOLD


def node_faults(node: Tree, steps: Steps) -> Iterator[tuple[str, Tree]]:
    """Yield each faulty version of a node, with its name."""
    if isinstance(node, Leaf):
        yield f"leaf {node.value}", dataclasses.replace(node, value=node.value + 1e-9)
        return
    for split in split_faults(node.split, [each for each in steps if each[0].feature == node.split.feature]):
        yield f"{split} instead of {node.split}", dataclasses.replace(node, split=split)


def split_faults(right: Split, steps: Sequence[tuple[Split, bool]]) -> Iterator[Split]:
    """Yield each faulty version of a split, except those that no value can show because of an earlier split."""
    if isinstance(right, CategoricalSplit):
        for code in right.codes:
            if all((code in before.codes) == left for before, left in steps if isinstance(before, CategoricalSplit)):
                yield dataclasses.replace(right, codes=right.codes - {code} or UNSEEN)
        return
    if math.isfinite(right.threshold):
        for towards in (math.inf, -math.inf):
            yield dataclasses.replace(right, threshold=math.nextafter(right.threshold, towards))
    if all(before.missing_left == left for before, left in steps if isinstance(before, NumericSplit)):
        yield dataclasses.replace(right, missing_left=not right.missing_left)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("with_data", [False, True], ids=["without data", "with data"])
def test_every_fault_of_a_split_or_a_leaf_is_seen(name: str, *, with_data: bool) -> None:
    booster = MODELS[name]()
    data = normal()[:100] if with_data else None
    rows = np.concatenate([found for _, found in probe_rows(booster, data, RANDOM_ROWS)])
    expected = margins(booster, rows)

    unseen, planted = [], 0
    for fault, wrong in faults(read_ensemble(booster)):
        found = open_session(score_onnx(wrong), ("margin",)).run(None, {"rows": rows})[0][:, 0]
        planted += 1
        if np.array_equal(found, expected):
            unseen.append(fault)

    assert planted > 200
    assert unseen == []
