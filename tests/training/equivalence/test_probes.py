"""No split and no leaf of a model goes unexamined: each is planted wrong in turn, and some row of the gate shows it."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import lightgbm
import numpy as np
import pytest

from models.scoring import open_session
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

UNSEEN = frozenset({1000})  # a set of codes has one at least
RANDOM_ROWS = 500  # few: rows that are made for a place must show what is wrong there


def fitted(rows: FloatArray, categories: Sequence[int] = (), **settings: object) -> lightgbm.Booster:
    """Fit trees of five to eight leaves."""
    random = np.random.default_rng(1)
    clean = np.nan_to_num(rows)
    order = np.argsort(np.argsort(clean, axis=0), axis=0) / len(rows)
    label = order[:, 0] + np.sin(6 * order[:, 1]) * order[:, 2] + random.normal(size=len(rows)) * 0.3 > 0.6
    parameters = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 0, **settings}
    return lightgbm.train(parameters, lightgbm.Dataset(rows, label, categorical_feature=list(categories)), 12)


def normal() -> FloatArray:
    """Give rows as most are."""
    return np.random.default_rng(0).normal(size=(1500, 4))


def with_gaps() -> FloatArray:
    """Give rows with values missing."""
    rows = normal()
    rows[np.random.default_rng(2).random(rows.shape) < 0.1] = np.nan
    return rows


MODELS: dict[str, Callable[[], lightgbm.Booster]] = {
    "normal": lambda: fitted(normal()),
    "skewed": lambda: fitted(np.exp(2.5 * normal())),
    "with gaps": lambda: fitted(with_gaps()),
    "signed": lambda: fitted(normal(), monotone_constraints=[1, 0, 0, 1]),
    "categories": lambda: fitted(
        np.column_stack([np.floor(4 * np.abs(normal()[:, :2])), normal()[:, 2:]]),
        categories=[0, 1],
        min_data_per_group=5,
        cat_smooth=1,
    ),
    "zero as missing": lambda: fitted(np.where(np.abs(normal()) < 0.3, 0.0, normal()), zero_as_missing=True),
}


Asked = tuple[tuple[Split, bool], ...]  # the questions on the way to a node, and which side leads on


def nodes(tree: Tree, asked: Asked = ()) -> Iterator[tuple[Tree, Asked]]:
    """Give every node and leaf, and what is asked before it."""
    yield tree, asked
    if isinstance(tree, SplitNode):
        yield from nodes(tree.left, (*asked, (tree.split, True)))
        yield from nodes(tree.right, (*asked, (tree.split, False)))


def changed(tree: Tree, old: Tree, new: Tree) -> Tree:
    """Put another node into the place of one."""
    if tree is old:
        return new
    if isinstance(tree, Leaf):
        return tree
    return dataclasses.replace(tree, left=changed(tree.left, old, new), right=changed(tree.right, old, new))


def faults(ensemble: Ensemble) -> Iterator[tuple[str, Ensemble]]:
    """Plant one fault after the other, each of which some row shows."""
    for number, tree in enumerate(ensemble.trees):
        for node, asked in nodes(tree):
            if isinstance(node, SplitNode) and node.split.feature in ensemble.zero_as_missing and near_zero(node.split):
                continue  # what would lie between the two thresholds is missing there
            for name, wrong in wrongs(node, asked):
                trees = (*ensemble.trees[:number], changed(tree, node, wrong), *ensemble.trees[number + 1 :])
                yield f"tree {number}: {name}", dataclasses.replace(ensemble, trees=trees)


def near_zero(split: Split) -> bool:
    """Tell whether a threshold stands at the edge of what LightGBM takes for zero."""
    return isinstance(split, NumericSplit) and abs(split.threshold) < 2 * ZERO_THRESHOLD


def wrongs(node: Tree, asked: Asked) -> Iterator[tuple[str, Tree]]:
    """Give what may be wrong with a node."""
    if isinstance(node, Leaf):
        yield f"leaf {node.value}", dataclasses.replace(node, value=node.value + 1e-9)
        return
    for split in wrong_questions(node.split, [each for each in asked if each[0].feature == node.split.feature]):
        yield f"{split} instead of {node.split}", dataclasses.replace(node, split=split)


def wrong_questions(right: Split, asked: Sequence[tuple[Split, bool]]) -> Iterator[Split]:
    """Give a question with one fault; none in what no value comes to, for it was asked about before."""
    if isinstance(right, CategoricalSplit):
        for code in right.codes:
            if all((code in before.codes) == left for before, left in asked if isinstance(before, CategoricalSplit)):
                yield dataclasses.replace(right, codes=right.codes - {code} or UNSEEN)
        return
    if math.isfinite(right.threshold):
        for towards in (math.inf, -math.inf):
            yield dataclasses.replace(right, threshold=math.nextafter(right.threshold, towards))
    if all(before.missing_left == left for before, left in asked if isinstance(before, NumericSplit)):
        yield dataclasses.replace(right, missing_left=not right.missing_left)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("with_data", [False, True], ids=["without data", "with data"])
def test_every_question_and_every_leaf_that_is_wrong_is_seen(name: str, *, with_data: bool) -> None:
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
