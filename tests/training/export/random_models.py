"""Random binary models of every supported kind, each determined by a seed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from tests.oracles import FloatArray, model_thresholds
from tests.training.export.example_models import SPECIAL_VALUES

Random = np.random.Generator
NEAR_ZERO = (0.0, 1e-36, -1e-36, 2e-35, -2e-35, 1.1e-35, -1.1e-35, 1e-30, -1e-30, 3.0, -3.0)
SUBNORMAL = (5e-324, -5e-324, 1e-310, -1e-310, 0.0, 1.0, -1.0)
ODD_CODES = (
    *(-1.0, -0.5, -0.999, -3.0, -1e12, 0.5, 2.7, 1e6 + 0.5, 1e12, 1e300, 1e-40, -0.0),
    *(2.0**31 - 1.0, 2.0**31 - 0.5, 2.0**31, 2.0**31 + 1.0, 2.0**32, 2.0**32 + 1.0, 2.0**63, 2.0**64 + 2.0**40),
    *(math.inf, -math.inf, math.nan),
)
FEW_LEVELS, MANY_LEVELS = 9, 2000
ROWS_MAX = 2500  # rows of one model whose margins are compared


def choice_from(values: tuple[float, ...]) -> Callable[[Random, int], FloatArray]:
    """Return a function that draws a column whose values are chosen from `values`."""
    return lambda random, count: random.choice(values, count)


COLUMN_KINDS: dict[str, Callable[[Random, int], FloatArray]] = {
    "normal": lambda random, count: random.normal(size=count),
    "counts": lambda random, count: random.poisson(1.0, count) - 1.0,
    "integers": lambda random, count: random.integers(-9, 10, count).astype(np.float64),
    "mostly zero": lambda random, count: np.where(random.random(count) < 0.8, 0.0, random.normal(size=count)),
    "cents": lambda random, count: np.round(2.0**26 + 30.0 * random.normal(size=count)),
    "timestamps": lambda random, count: np.round(1.7e9 + 40.0 * random.normal(size=count)),
    "about 1e-35": choice_from(NEAR_ZERO),
    "denormal": choice_from(SUBNORMAL),
    "infinite": lambda random, count: np.where(random.random(count) < 0.1, math.inf, random.normal(size=count)),
    "minus infinite": lambda random, count: np.where(random.random(count) < 0.1, -math.inf, random.normal(size=count)),
    "any magnitude": lambda random, count: random.choice([-1.0, 1.0], count) * 10.0 ** random.uniform(-300, 300, count),
    "constant": lambda _, count: np.full(count, 7.0),
    "few categories": lambda random, count: random.integers(0, FEW_LEVELS, count).astype(np.float64),
    "scattered categories": lambda random, count: 37.0 * random.integers(0, FEW_LEVELS, count),
    "many categories": lambda random, count: random.integers(0, MANY_LEVELS, count).astype(np.float64),
}
TRAINING_MODES = ("plain", "one tree", "early stopped", "continued", "constant target", "single leaves", "leaf first")
SAMPLINGS: dict[str, dict[str, Any]] = {
    "every row": {},
    "bagging": {"bagging_fraction": 0.6, "bagging_freq": 1},
    "goss": {"data_sample_strategy": "goss", "top_rate": 0.3, "other_rate": 0.2},
    "dart": {"boosting": "dart", "drop_rate": 0.4},
    "dart with bagging": {"boosting": "dart", "bagging_fraction": 0.7, "bagging_freq": 2},
}
MISSING: dict[str, dict[str, Any]] = {
    "missing as found": {},
    "zero as missing": {"zero_as_missing": True},
    "missing not used": {"use_missing": False},
}


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """A random choice of the kind of model; its text is one line that contains the seed."""

    seed: int
    kinds: tuple[str, ...]
    count: int
    missing_share: float
    training_mode: str
    sampling: str
    missing: str
    weighted: bool
    interventional: bool
    leafwise: bool
    rounds: int
    parameters: dict[str, Any]

    @property
    def categorical_columns(self) -> list[int]:
        """Return the indices of the categorical columns."""
        return [column for column, kind in enumerate(self.kinds) if kind.endswith("categories")]


def draw_recipe(seed: int) -> ModelRecipe:
    """Draw the recipe of a seed."""
    random = np.random.default_rng([seed, 1])
    width = int(random.choice([random.integers(1, 7), random.integers(7, 21), 300], p=[0.6, 0.36, 0.04]))
    usual = [kind for kind in COLUMN_KINDS if kind != "many categories"]
    kinds = [str(kind) for kind in random.choice(usual, width)]
    if random.random() < 0.06:
        kinds[0] = "many categories"
    leafwise = seed % 2 == 1
    training_mode = str(random.choice(TRAINING_MODES, p=[0.48, 0.08, 0.12, 0.14, 0.06, 0.05, 0.07]))
    sampling = str(random.choice(list(SAMPLINGS), p=[0.5, 0.15, 0.13, 0.15, 0.07]))
    return ModelRecipe(
        seed=seed,
        kinds=tuple(kinds),
        count=2500 if "many categories" in kinds else int(random.integers(200, 501)),
        missing_share=float(random.choice([0.0, 0.05, 0.3, 0.9], p=[0.35, 0.3, 0.25, 0.1])),
        training_mode=training_mode,
        sampling="every row" if training_mode == "early stopped" and "dart" in sampling else sampling,
        missing=str(random.choice(list(MISSING), p=[0.6, 0.28, 0.12])),
        weighted=bool(random.random() < 0.25),
        interventional=bool(random.random() < 0.6),
        leafwise=leafwise,
        rounds=1 if training_mode == "one tree" else int(random.integers(2, 26)),
        parameters=draw_parameters(random, kinds, deep=leafwise),
    )


def draw_parameters(random: Random, kinds: list[str], *, deep: bool) -> dict[str, Any]:
    """Draw the parameters that do not depend on rows."""
    found: dict[str, Any] = {
        "num_leaves": int(random.choice([2, 3, 8, 16, 31, 63])),
        "min_data_in_leaf": int(random.choice([1, 5, 20])),
        "learning_rate": float(random.choice([0.05, 0.2, 1.0])),
        "max_depth": int(random.choice([-1, -1, 3, 5, 8])),
        "seed": int(random.integers(1, 1000)),
    }
    if deep and random.random() < 0.3:
        found |= {"num_leaves": int(random.choice([63, 127, 200])), "max_depth": -1, "min_data_in_leaf": 1}
    elif found["num_leaves"] > 31 and found["max_depth"] < 0:
        found["max_depth"] = 9  # lookup tables of deeper trees may be too large
    few = "scattered categories" in kinds or "many categories" in kinds
    seldom: dict[str, tuple[float, Any]] = {
        "max_bin": (0.15, int(random.choice([2, 4, 16]))),
        "min_data_in_bin": (0.5 if few else 0.2, 1),
        "boost_from_average": (0.2, False),
        "sigmoid": (0.15, float(random.choice([0.3, 2.0]))),
        "extra_trees": (0.2, True),
        "is_unbalance": (0.1, True),
        "lambda_l1": (0.1, 0.5),
        "lambda_l2": (0.1, 5.0),
        "feature_fraction": (0.15, 0.6),
        "min_sum_hessian_in_leaf": (0.2, 1.0),
        "max_delta_step": (0.05, 0.3),
        "path_smooth": (0.1 if found["min_data_in_leaf"] > 1 else 0.0, 2.0),
        "max_cat_to_onehot": (0.4, int(random.choice([1, 64]))),
        "cat_smooth": (0.6, 0.1),
        "cat_l2": (0.6, 0.1),
        "min_data_per_group": (0.8, 2),
        "max_cat_threshold": (0.3, 500),
    }
    drawn = random.random(len(seldom))
    found |= {name: value for (name, (odds, value)), at in zip(seldom.items(), drawn, strict=True) if at < odds}
    if random.random() < 0.15:
        signs = random.integers(-1, 2, len(kinds)).tolist()
        found["monotone_constraints"] = [
            0 if kind.endswith("categories") else sign for sign, kind in zip(signs, kinds, strict=True)
        ]
    return found


def recipe_rows(recipe: ModelRecipe, part: int) -> FloatArray:
    """Draw rows; different parts of a recipe are different random rows with the same columns."""
    random = np.random.default_rng([recipe.seed, 2, part])
    rows = np.column_stack([COLUMN_KINDS[kind](random, recipe.count) for kind in recipe.kinds])
    share = recipe.missing_share * (random.random(rows.shape[1]) < 0.7)
    rows[random.random(rows.shape) < share] = np.nan
    return rows


def recipe_labels(recipe: ModelRecipe, rows: FloatArray, part: int) -> FloatArray:
    """Draw labels that depend on the ranks of the values and on the number of missing values."""
    random = np.random.default_rng([recipe.seed, 3, part])
    if recipe.training_mode == "constant target":
        return np.full(len(rows), float(recipe.seed % 2))
    ranks = np.argsort(np.argsort(rows, axis=0), axis=0) / len(rows) - 0.5
    first = ranks[:, :8]
    signal = np.sin(7.0 * first).sum(axis=1) + 6.0 * first[:, 0] * first[:, -1] + np.isnan(rows[:, :8]).sum(axis=1)
    noise = random.choice([0.5, 8.0]) * random.logistic(size=len(rows))  # much noise causes splits on all features
    labels = (signal - np.median(signal) + noise > 0.0).astype(np.float64)
    labels[:2] = 0.0, 1.0
    return labels


def fit_recipe(recipe: ModelRecipe) -> lightgbm.Booster:
    """Fit the model on one thread."""
    fixed = {"objective": "binary", "num_threads": 1, "verbose": -1, "deterministic": True, "force_col_wise": True}
    parameters = fixed | recipe.parameters | SAMPLINGS[recipe.sampling] | MISSING[recipe.missing]
    lone = parameters | {"min_data_in_leaf": 10 * recipe.count, "boosting": "gbdt"}
    if recipe.training_mode == "single leaves":
        return lightgbm.train(lone, recipe_dataset(recipe, 0), recipe.rounds)
    if recipe.training_mode == "leaf first":
        return lightgbm.train(
            parameters, recipe_dataset(recipe, 0), recipe.rounds, init_model=fit_single_leaf(recipe, lone)
        )
    if recipe.training_mode == "continued":
        before = lightgbm.train(parameters, recipe_dataset(recipe, 0), recipe.rounds)
        # With different rows, a column could have a different missing type in the added trees, and the export rejects a
        # model whose trees treat zeros differently. Therefore zero_as_missing models are continued with the same rows.
        other = 0 if recipe.missing == "zero as missing" else 1
        return lightgbm.train(parameters, recipe_dataset(recipe, other), 3, init_model=before)
    if recipe.training_mode == "early stopped":
        stop = lightgbm.early_stopping(3, verbose=False)
        return lightgbm.train(
            parameters,
            recipe_dataset(recipe, 0),
            40,
            valid_sets=[recipe_dataset(recipe, 2)],
            callbacks=[stop],
            keep_training_booster=True,
        )
    return lightgbm.train(parameters, recipe_dataset(recipe, 0), recipe.rounds)


def fit_single_leaf(recipe: ModelRecipe, parameters: dict[str, Any]) -> lightgbm.Booster:
    """Fit one tree of a single leaf."""
    return lightgbm.train(parameters, recipe_dataset(recipe, 0), 1)


def recipe_dataset(recipe: ModelRecipe, part: int) -> lightgbm.Dataset:
    """Return rows with labels, and with weights if the recipe has them."""
    rows = recipe_rows(recipe, part)
    weight = np.random.default_rng([recipe.seed, 4, part]).gamma(1.0, size=len(rows)) if recipe.weighted else None
    return lightgbm.Dataset(
        rows, recipe_labels(recipe, rows, part), weight=weight, categorical_feature=recipe.categorical_columns
    )


def edge_case_rows(recipe: ModelRecipe, booster: lightgbm.Booster) -> FloatArray:
    """Return ordinary rows, and rows with one or many values at which exports tend to be wrong."""
    random = np.random.default_rng([recipe.seed, 5])
    ground = recipe_rows(recipe, 6)
    placed = [
        (feature, value)
        for feature, threshold in model_thresholds(booster)
        for value in (math.nextafter(threshold, -math.inf), threshold, math.nextafter(threshold, math.inf))
    ]
    placed += [(feature, value) for feature in range(len(recipe.kinds)) for value in SPECIAL_VALUES]
    codes = [known + part for known in range(40) for part in (0.0, 0.7)]
    placed += [(feature, value) for feature in recipe.categorical_columns for value in (*ODD_CODES, *codes)]
    chosen = random.permutation(len(placed))[: ROWS_MAX - 500]
    alone = ground[random.integers(0, len(ground), len(chosen))]
    for row, number in enumerate(chosen):
        alone[row, placed[number][0]] = placed[number][1]
    gaps = ground[random.integers(0, len(ground), 100)]
    gaps[random.random(gaps.shape) < 0.5] = np.nan
    special = random.choice([*SPECIAL_VALUES, *ODD_CODES], size=(150, ground.shape[1]))
    whole = np.array([[value] * ground.shape[1] for value in (*SPECIAL_VALUES, *ODD_CODES)])
    return np.concatenate([ground[:200], alone, gaps, special, whole])
