"""For random models, the exported margins equal LightGBM's, and the contributions equal the definition.

The number of a test is the seed of its model, and a failed test prints the recipe. The command to repeat one test is:

    python -m pytest "tests/training/export/test_random_models.py" -k "seed-17]" -m ""
"""

import math
from collections import Counter

import lightgbm
import numpy as np
import pytest

from models.onnx_scorer import Scorer
from tests.oracles import FloatArray, brute_force_shap, margins
from tests.training.export.random_models import (
    COLUMN_KINDS,
    MISSING,
    SAMPLINGS,
    TRAINING_MODES,
    ModelRecipe,
    draw_recipe,
    edge_case_rows,
    fit_recipe,
    recipe_rows,
)
from training.equivalence.check import ExportedModel, check_equivalence
from training.equivalence.reference import interventional_shap
from training.export.bins import ensemble_bins
from training.export.explain import explain_onnx, leafwise_onnx
from training.export.score import score_onnx
from training.export.trees import Leaf, read_ensemble

USUAL, LONG = 200, 2000
EQUAL = {"rtol": 0.0, "atol": 1e-9}
FEW = 6  # number of features; 6 features have 64 coalitions, and each is predicted for every row of the baseline
CHECKED_WIDTH_MAX = 10
BASELINE_ROWS, EXPLAINED_ROWS, FORCED_ROWS = 12, 60, 8


def expected_contributions(
    recipe: ModelRecipe, booster: lightgbm.Booster, rows: FloatArray, baseline: FloatArray | None
) -> tuple[FloatArray, float]:
    """Return the expected contributions and base value."""
    if baseline is None:
        found = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
        return found[:, :-1], float(found[0, -1])
    by_definition = interventional_shap(booster, rows, baseline)
    if len(recipe.kinds) <= FEW:
        forced = brute_force_shap(booster, rows[:FORCED_ROWS], baseline)
        np.testing.assert_allclose(by_definition[:FORCED_ROWS], forced, err_msg=f"the reference: {recipe}", **EQUAL)
        by_definition[:FORCED_ROWS] = forced
    return by_definition, math.fsum(margins(booster, baseline)) / len(baseline)


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=[] if seed < USUAL else [pytest.mark.long], id=f"seed-{seed}") for seed in range(LONG)],
)
def test_a_random_model_is_exported_to_the_bit_and_explained_by_definition(seed: int) -> None:
    recipe = draw_recipe(seed)
    booster = fit_recipe(recipe)
    rows = edge_case_rows(recipe, booster)
    baseline = edge_case_rows(recipe, booster)[:: len(rows) // BASELINE_ROWS] if recipe.interventional else None
    ensemble = read_ensemble(booster)
    # Half of the models are explained by tables, unless the tables are too large, and half leaf by leaf.
    leafwise = recipe.leafwise and any(not isinstance(tree, Leaf) for tree in ensemble.trees)
    explain = (
        leafwise_onnx(ensemble, ensemble_bins(ensemble), baseline) if leafwise else explain_onnx(ensemble, baseline)
    )
    scorer = Scorer(score_onnx(ensemble), explain)

    margin = margins(booster, rows)
    found, contributions = scorer.explain(rows)

    assert np.array_equal(scorer.margins(rows), margin), recipe
    assert np.array_equal(found, margin), recipe
    chosen = np.random.default_rng(seed).permutation(len(rows))[:EXPLAINED_ROWS]
    expected, base = expected_contributions(recipe, booster, rows[chosen], baseline)
    np.testing.assert_allclose(contributions[chosen], expected, err_msg=str(recipe), **EQUAL)
    np.testing.assert_allclose(base + contributions.sum(axis=1), margin, err_msg=str(recipe), **EQUAL)


@pytest.mark.parametrize("interventional_one", [True, False], ids=["interventional", "path-dependent"])
@pytest.mark.parametrize("training_mode", TRAINING_MODES)
def test_the_equivalence_check_passes_for_every_training_mode(training_mode: str, *, interventional_one: bool) -> None:
    drawn = (recipe for recipe in map(draw_recipe, range(USUAL)) if len(recipe.kinds) <= CHECKED_WIDTH_MAX)
    recipe = next(
        one for one in drawn if (one.training_mode, one.interventional) == (training_mode, interventional_one)
    )
    booster = fit_recipe(recipe)
    baseline = recipe_rows(recipe, 7)[:30] if interventional_one else None
    base = expected_contributions(recipe, booster, recipe_rows(recipe, 7)[:1], baseline)[1]
    ensemble = read_ensemble(booster)

    report = check_equivalence(
        ExportedModel(booster, score_onnx(ensemble), explain_onnx(ensemble, baseline), baseline, base), None, 200
    )

    assert max(kind.contribution_distance for kind in report.kinds) <= 1e-9


def test_the_usual_seeds_include_every_kind_of_model_several_times() -> None:
    recipes = [draw_recipe(seed) for seed in range(USUAL)]

    for name, values, least in (
        ("training_mode", TRAINING_MODES, 4),
        ("sampling", SAMPLINGS, 8),
        ("missing", MISSING, 15),
    ):
        found = Counter(getattr(recipe, name) for recipe in recipes)
        assert min(found[value] for value in values) >= least, found
    kinds = Counter(kind for recipe in recipes for kind in set(recipe.kinds))
    assert min(kinds[kind] for kind in COLUMN_KINDS) >= 6, kinds
    parameters = Counter(name for recipe in recipes for name in recipe.parameters)
    assert min(parameters[name] for name in parameters) >= 4, parameters
    widths = [len(recipe.kinds) for recipe in recipes]
    assert sum(width > 100 for width in widths) >= 3
    assert sum(width == 1 for width in widths) >= 10
    assert sum(recipe.weighted for recipe in recipes) >= 20
    assert 60 <= sum(recipe.interventional for recipe in recipes) <= 140


def test_a_seed_determines_the_model_and_the_rows() -> None:
    for seed in range(5):
        recipe = draw_recipe(seed)
        booster, again = fit_recipe(recipe), fit_recipe(draw_recipe(seed))

        assert booster.model_to_string() == again.model_to_string()
        assert edge_case_rows(recipe, booster).tobytes() == edge_case_rows(recipe, again).tobytes()
        assert not np.array_equal(recipe_rows(recipe, 0), recipe_rows(recipe, 1), equal_nan=True)
