"""The explanation computed leaf by leaf equals the definition, for both kinds, for deep and large models as for small ones."""

import math
from functools import cache

import lightgbm
import numpy as np
import onnx
import pytest

from models.onnx_scorer import BATCH_ROWS_KEY, Scorer
from tests.oracles import FloatArray, brute_force_shap, margins
from tests.training.export.example_models import (
    MODELS,
    edge_case_rows,
    example_labels,
    example_model,
    example_rows,
    fit,
)
from training.export.bins import ensemble_bins
from training.export.explain import LEAFWISE_BATCH_ROWS, explain_onnx, leafwise_onnx
from training.export.layout import LEAVES_MAX, choose_layout
from training.export.leaf_tables import LEAF_TABLES_BYTES_MAX
from training.export.score import score_onnx
from training.export.trees import read_ensemble, tree_leaves

EQUAL = {"rtol": 0.0, "atol": 1e-9}
CHAIN = 40


def leafwise_scorer(
    booster: lightgbm.Booster, baseline: FloatArray | None, tables_bytes_max: int = LEAF_TABLES_BYTES_MAX
) -> Scorer:
    """Open a model whose contributions are computed leaf by leaf."""
    ensemble = read_ensemble(booster)
    return Scorer(score_onnx(ensemble), leafwise_onnx(ensemble, ensemble_bins(ensemble), baseline, tables_bytes_max))


def rows_of(booster: lightgbm.Booster, count: int) -> FloatArray:
    """Return ordinary rows and edge cases of a model, in a fixed random order."""
    rows = edge_case_rows(booster, example_rows(60, booster.num_feature(), seed=77, gaps=0.1))
    return rows[np.random.default_rng(0).permutation(len(rows))[:count]]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "a constant"])
def test_path_dependent_contributions_equal_pred_contrib(name: str) -> None:
    booster = example_model(name)
    rows = rows_of(booster, 300)

    found, contributions = leafwise_scorer(booster, None).explain(rows)

    assert np.array_equal(found, margins(booster, rows))
    expected = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
    np.testing.assert_allclose(contributions, expected[:, :-1], **EQUAL)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in {"a constant", "unused features"}])
def test_interventional_contributions_equal_all_coalitions_with_and_without_leaf_tables(name: str) -> None:
    booster = example_model(name)
    rows, baseline = rows_of(booster, 25), rows_of(booster, 60)[25:]
    expected = brute_force_shap(booster, rows, baseline)

    for tables_bytes_max in (LEAF_TABLES_BYTES_MAX, 0):
        found, contributions = leafwise_scorer(booster, baseline, tables_bytes_max).explain(rows)

        assert np.array_equal(found, margins(booster, rows))
        np.testing.assert_allclose(contributions, expected, **EQUAL)


@pytest.mark.parametrize("seed", range(4))
def test_categories_are_explained_like_numbers(seed: int) -> None:
    rows = example_rows(700, seed=seed, gaps=0.1)
    rows[:, 0], rows[:, 2] = np.random.default_rng(seed).integers(0, 15, (2, len(rows)))
    settings = {"num_leaves": 12, "min_data_per_group": 2, "cat_smooth": 0.1, "max_cat_to_onehot": 1, "verbose": -1}
    data = lightgbm.Dataset(rows, example_labels(rows), categorical_feature=[0, 2])
    booster = lightgbm.train({"objective": "binary", "num_threads": 1, **settings}, data, 8)
    rows = rows_of(booster, 60)
    rows[:40, 0], rows[:40, 2] = np.random.default_rng(9).integers(-2, 18, (2, 40)) + 0.3

    by_covers, against = leafwise_scorer(booster, None), leafwise_scorer(booster, rows[30:], 0)

    expected = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))[:, :-1]
    np.testing.assert_allclose(by_covers.contributions(rows), expected, **EQUAL)
    expected = brute_force_shap(booster, rows[:20], rows[30:])
    np.testing.assert_allclose(against.contributions(rows[:20]), expected, **EQUAL)


def chain_model(seed: int) -> lightgbm.Booster:
    """Return a model of two trees that are chains of CHAIN splits, each on a different feature, written as LightGBM's text."""
    random = np.random.default_rng(seed)
    text = fit(example_rows(300, CHAIN, seed=seed), {"num_leaves": 2}, 2).model_to_string()
    header, _, rest = text.partition("Tree=0\n")
    tail = rest[rest.index("end of trees") :]
    header = "\n".join(line for line in header.splitlines() if not line.startswith("tree_sizes"))
    return lightgbm.Booster(model_str=f"{header}\n\n{chain_text(0, random)}{chain_text(1, random)}{tail}")


def chain_text(number: int, random: np.random.Generator) -> str:
    """Return the text of one chain; the left child of each split is a leaf."""
    counts = random.integers(20, 60, CHAIN + 1)
    inner = np.cumsum(counts[::-1])[::-1]
    lines = {
        "num_leaves": [CHAIN + 1],
        "num_cat": [0],
        "split_feature": random.permutation(CHAIN),
        "split_gain": np.ones(CHAIN, dtype=int),
        "threshold": random.normal(size=CHAIN).tolist(),
        "decision_type": [10] * CHAIN,  # missing values are NaN and go left
        "left_child": [-1 - leaf for leaf in range(CHAIN)],
        "right_child": [*range(1, CHAIN), -1 - CHAIN],
        "leaf_value": random.normal(size=CHAIN + 1).tolist(),
        "leaf_weight": counts,
        "leaf_count": counts,
        "internal_value": np.zeros(CHAIN, dtype=int),
        "internal_weight": inner[:CHAIN],
        "internal_count": inner[:CHAIN],
        "is_linear": [0],
        "shrinkage": [1],
    }
    body = "\n".join(f"{key}={' '.join(map(repr, np.asarray(values).tolist()))}" for key, values in lines.items())
    return f"Tree={number}\n{body}\n\n\n"


def definition_by_sizes(booster: lightgbm.Booster, row: FloatArray, baseline: FloatArray | None) -> FloatArray:
    """Return the Shapley values of a chain model by definition; coalitions of equal size are summed at once.

    The worth of a coalition S at a leaf is the product of o_k over S and of z_k over the other features. Its sum over all
    coalitions of one size is a coefficient of the product of (z_k + o_k y). All terms are positive.
    """
    found = np.zeros(CHAIN)
    for tree in booster.dump_model()["tree_info"]:
        node, path = tree["tree_structure"], []
        while "left_child" in node:
            left, right = node["left_child"], node["right_child"]
            split = (node["split_feature"], node["threshold"])
            for value, steps in leaves_below(left, right, split, node["internal_count"], path):
                found += leaf_values(value, steps, row, baseline)
            path = [*path, (*split, False, child_count(right) / node["internal_count"])]
            node = right
    return found


def child_count(node: dict[str, float]) -> float:
    """Return the number of training rows of a node of the dump."""
    return node["internal_count"] if "internal_count" in node else node["leaf_count"]


Step = tuple[int, float, bool, float]  # feature, threshold, whether the path goes left, cover


def leaves_below(
    left: dict[str, float], right: dict[str, float], split: tuple[int, float], count: float, path: list[Step]
) -> list[tuple[float, list[Step]]]:
    """Return the leaves that are children of one split of a chain, with their paths."""
    return [
        (child["leaf_value"], [*path, (*split, side, child_count(child) / count)])
        for child, side in ((left, True), (right, False))
        if "leaf_value" in child
    ]


def leaf_values(value: float, steps: list[Step], row: FloatArray, baseline: FloatArray | None) -> FloatArray:
    """Return the Shapley values of one leaf."""

    def passes(rows: FloatArray) -> FloatArray:
        return np.array([[(not one[f] > t) == left for f, t, left, _ in steps] for one in rows], dtype=np.float64)

    present, found = passes(row[None])[0], np.zeros(CHAIN)
    absent = np.array([[cover for *_, cover in steps]]) if baseline is None else passes(baseline)
    width = len(steps)
    weights = [1 / (width * math.comb(width - 1, size)) for size in range(width)]
    for position, step in enumerate(steps):
        by_size = np.ones((1, len(absent)))
        for k in (k for k in range(width) if k != position):
            zero = np.zeros((1, len(absent)))
            by_size = np.concatenate([by_size * absent[:, k], zero]) + np.concatenate([zero, by_size * present[k]])
        worths = value * np.array(weights) @ by_size
        found[step[0]] += ((present[position] - absent[:, position]) * worths).mean()
    return found


@pytest.mark.parametrize("kind", ["path-dependent", "interventional"])
def test_chains_of_40_different_features_equal_the_definition(kind: str) -> None:
    booster = chain_model(3)
    random = np.random.default_rng(4)
    rows = random.normal(size=(3, CHAIN)) - np.array([[1.0], [0.0], [2.5]])
    rows[0, ::7] = np.nan
    baseline = None if kind == "path-dependent" else random.normal(size=(12, CHAIN)) - 1.0

    found, contributions = leafwise_scorer(booster, baseline).explain(rows)

    assert np.array_equal(found, margins(booster, rows))
    expected = np.array([definition_by_sizes(booster, row, baseline) for row in rows])
    np.testing.assert_allclose(contributions, expected, **EQUAL)


@cache
def large_model() -> lightgbm.Booster:
    """Return a model with more leaves than lookup tables are built for."""
    rows = example_rows(3000, 10, gaps=0.05)
    booster = fit(rows, {"num_leaves": 127, "min_data_in_leaf": 2, "learning_rate": 0.05}, 90)
    leaves = sum(1 for tree in read_ensemble(booster).trees for _ in tree_leaves(tree))
    assert leaves > LEAVES_MAX
    return booster


def test_a_model_with_many_leaves_is_exported_leaf_by_leaf_and_adds_up() -> None:
    booster, rows = large_model(), example_rows(40, 10, seed=5, gaps=0.1)
    ensemble, baseline = read_ensemble(booster), example_rows(80, 10, seed=6, gaps=0.05)
    assert choose_layout(ensemble, ensemble_bins(ensemble)) is None

    for population in (None, baseline):
        explain = explain_onnx(ensemble, population)
        found, contributions = Scorer(score_onnx(ensemble), explain).explain(rows)

        metadata = {entry.key: entry.value for entry in onnx.load_from_string(explain).metadata_props}
        assert metadata == {BATCH_ROWS_KEY: str(LEAFWISE_BATCH_ROWS)}
        assert np.array_equal(found, margins(booster, rows))
        if population is None:
            expected = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
            np.testing.assert_allclose(contributions, expected[:, :-1], **EQUAL)
        else:
            base = math.fsum(margins(booster, baseline)) / len(baseline)
            np.testing.assert_allclose(base + contributions.sum(axis=1), found, **EQUAL)


def test_a_row_has_the_same_bits_alone_as_among_many_rows() -> None:
    booster = example_model("deep trees")
    rows = rows_of(booster, 3 * LEAFWISE_BATCH_ROWS + 5)
    for baseline in (None, example_rows(50, seed=78, gaps=0.1)):
        graphs = leafwise_scorer(booster, baseline)

        together = graphs.contributions(rows)

        assert np.array_equal(np.concatenate([graphs.contributions(row[None]) for row in rows]), together)


def test_the_order_of_the_baseline_changes_no_byte() -> None:
    ensemble, baseline = read_ensemble(example_model("deep trees")), example_rows(100, seed=78, gaps=0.1)
    bins = ensemble_bins(ensemble)

    assert leafwise_onnx(ensemble, bins, baseline) == leafwise_onnx(ensemble, bins, baseline[::-1])
