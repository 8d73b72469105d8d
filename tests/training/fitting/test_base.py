"""The base of a model: exact margins and contributions, monotone constraints of the sum, and the choice by the folds."""

from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import read_bundle
from models.model import open_model
from models.onnx_scorer import Scorer
from tests.small import SPEC, made_customers
from training.console import Console
from training.equivalence.check import ExportedModel, ExportMismatch, check_equivalence, reference_base_margin
from training.errors import DataInvalid
from training.export.explain import explain_onnx
from training.export.representatives import thresholds_by_feature
from training.export.score import score_onnx
from training.export.trees import read_ensemble
from training.fitting.base import BASE_KINDS, Base, BaseKind, BaseTerm, fit_base
from training.fitting.base_trees import append_base
from training.fitting.booster import fixed_parameters
from training.fitting.search import search_candidates, search_steps
from training.release.model_release import release_model
from training.sources.samples import Samples
from training.sources.table import read_table_samples
from training.spec import Spec, read_spec

SIGNS = (-1, 1, 0, 0)
CATEGORY = 2


def made_rows(seed: int = 0, count: int = 1500) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return rows of two signed numbers, a category and a free number, some of them missing, and their labels."""
    random = np.random.default_rng(seed)
    rows = np.column_stack(
        [
            random.exponential(20, count),
            random.lognormal(3, 1, count),
            random.integers(0, 6, count),
            random.normal(size=count),
        ]
    )
    margins = 1.5 - np.log1p(rows[:, 0]) + 0.5 * np.log(rows[:, 1]) + (rows[:, 2] == 3) + rows[:, 3] * (rows[:, 1] > 20)
    labels = (margins + random.logistic(size=count) > 0).astype(np.int64)
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows, labels


@dataclass(frozen=True)
class FittedParts:
    """A base, the trees that were fitted on its margins, and the booster that joins both."""

    base: Base
    trees: lightgbm.Booster
    joined: lightgbm.Booster


def fit_parts(kind: BaseKind, seed: int = 0, rounds: int = 20) -> FittedParts:
    """Fit both parts of a model to made rows."""
    rows, labels = made_rows(seed)
    base = fit_base(kind, rows, labels, SIGNS, [CATEGORY])
    data = lightgbm.Dataset(rows, labels, init_score=base.margins(rows), categorical_feature=[CATEGORY])
    trees = lightgbm.train(fixed_parameters(SIGNS, 1) | {"num_leaves": 6}, data, rounds)
    return FittedParts(base, trees, append_base(trees, base))


def odd_rows() -> NDArray[np.float64]:
    """Return made rows, rows with all values missing, unknown levels, infinities and negative values."""
    rows, _ = made_rows(seed=5, count=300)
    unknown = rows[:20].copy()
    unknown[:, CATEGORY] = 99.0
    extremes = np.array([[np.inf, -np.inf, 3.0, 0.0], [-1.0, 1e-40, 0.0, np.inf], [np.nan] * 4])
    return np.vstack([rows, unknown, extremes])


@pytest.mark.parametrize("kind", BASE_KINDS)
def test_the_margin_is_that_of_the_trees_plus_the_base_in_doubles_to_the_bit(kind: BaseKind) -> None:
    parts, rows = fit_parts(kind), odd_rows()
    ensemble = read_ensemble(parts.joined)

    margins, _ = Scorer(score_onnx(ensemble), explain_onnx(ensemble, None)).explain(rows)

    # The stated order: the margin of the fitted trees, the intercept, and then each term in the order of the features.
    expected = np.asarray(parts.trees.predict(rows, raw_score=True, num_threads=1)) + parts.base.intercept
    for term in parts.base.terms:
        expected = expected + np.array([step_value(term, float(row[term.position])) for row in rows])
    assert np.array_equal(margins, expected)
    assert [term.position for term in parts.base.terms] == sorted(term.position for term in parts.base.terms)


def step_value(term: BaseTerm, value: float) -> float:
    """Return the value of a term by definition, with a plain loop over its steps."""
    if term.category:
        return term.values[term.edges.index(value)] if value in term.edges else term.values[-1]
    return term.values[-1] if np.isnan(value) else term.values[sum(value > edge for edge in term.edges)]


@pytest.mark.parametrize("kind", BASE_KINDS)
def test_a_term_contributes_its_value_less_its_mean_over_the_baseline_or_over_the_fit_rows(kind: BaseKind) -> None:
    parts, rows = fit_parts(kind), odd_rows()
    fit_rows, _ = made_rows()
    alone = read_ensemble(append_base(parts.trees, parts.base, keep_trees=False))
    for baseline, compared in ((fit_rows[:100], fit_rows[:100]), (None, fit_rows)):
        _, contributions = Scorer(score_onnx(alone), explain_onnx(alone, baseline)).explain(rows)
        expected = np.zeros(rows.shape)
        for term in parts.base.terms:
            own, others = (
                np.array([step_value(term, float(row[term.position])) for row in some]) for some in (rows, compared)
            )
            expected[:, term.position] = own - others.mean()
        assert np.abs(contributions - expected).max() < 1e-12


@pytest.mark.parametrize("kind", BASE_KINDS)
def test_the_release_check_accepts_a_base_with_trees_and_rejects_files_without_the_base(kind: BaseKind) -> None:
    parts = fit_parts(kind)
    rows, _ = made_rows()
    for baseline in (None, rows[:50]):
        base_margin = reference_base_margin(parts.joined, baseline)
        whole, bare = (
            ExportedModel(parts.joined, score_onnx(one), explain_onnx(one, baseline), baseline, base_margin)
            for one in (read_ensemble(parts.joined), read_ensemble(parts.trees))
        )
        check_equivalence(whole, rows[:200], random_rows=50)
        with pytest.raises(ExportMismatch, match=r"margin of score\.onnx(.|\n)*the file has only 20 trees"):
            check_equivalence(bare, rows[:200], random_rows=50)


def test_signs_hold_for_the_sum_of_base_and_trees_on_tables_with_missing_values() -> None:
    for seed in range(6):
        kind = BASE_KINDS[seed % 2]
        parts = fit_parts(kind, seed=seed, rounds=60)
        rows, _ = made_rows(seed + 100, 100)
        for position, sign in ((0, -1), (1, 1)):
            thresholds = thresholds_by_feature(read_ensemble(parts.joined))[position].tolist()
            assert len(thresholds) > len(next(t for t in parts.base.terms if t.position == position).edges)
            margins = []
            for value in [-1.0, *thresholds, 1e9]:
                changed = rows.copy()
                changed[:, position] = value
                margins.append(np.asarray(parts.joined.predict(changed, raw_score=True, num_threads=1)))
            assert (sign * np.diff(np.array(margins), axis=0) >= 0.0).all(), (seed, position)


def test_a_base_without_any_useful_feature_is_rejected_with_the_reason() -> None:
    random = np.random.default_rng(0)
    rows, labels = np.ones((200, 2)), random.integers(0, 2, 200)

    for kind in BASE_KINDS:
        with pytest.raises(DataInvalid, match="no feature that improves on the bad rate"):
            fit_base(kind, rows, labels, (0, 0), [])


def small_samples(folder: Path, base: str) -> tuple[Spec, Samples]:
    """Write the small family with a kind of base, and return its spec and its samples."""
    made_customers(1200).to_csv(folder / "customers.csv", index=False)
    (folder / "spec.toml").write_text(SPEC.replace('base = "none"', f'base = "{base}"'))
    return read_table_samples(read_spec(folder / "spec.toml"), folder / "customers.csv")


def test_the_folds_decide_among_trees_bases_and_trees_on_the_better_base(tmp_path: Path) -> None:
    spec, samples = small_samples(tmp_path, "auto")
    steps: list[tuple[int, int]] = []

    found = search_candidates(samples, spec, (1, 0, -1, 0), 1, lambda done, total: steps.append((done, total)))

    losses = {candidate.name: candidate.log_loss for candidate in found}
    better = min(BASE_KINDS, key=lambda kind: losses[f"{kind} base alone"])
    assert set(losses) == {"trees alone", "logistic base alone", "scorecard base alone", f"trees on a {better} base"}
    assert list(losses.values()) == sorted(losses.values())
    assert steps == [(done, search_steps(spec)) for done in range(1, search_steps(spec) + 1)]
    without = spec.model_copy(update={"base": "none"})
    assert [one.name for one in search_candidates(samples, without, (1, 0, -1, 0), 1, lambda *_: None)] == [
        "trees alone"
    ]


def test_a_bundle_with_a_base_opens_and_its_card_states_by_how_much_the_folds_preferred_it(tmp_path: Path) -> None:
    spec, samples = small_samples(tmp_path, "logistic")
    release = release_model(spec, "0" * 64, samples, tmp_path / "bundles", Console(1))

    bundle = read_bundle(release.folder)
    booster = lightgbm.Booster(model_file=release.folder / "model.txt")
    rows = np.array([[30.0, 8.0, 60_000.0, 4.0], [np.nan, np.nan, np.nan, np.nan]])
    answers = open_model(bundle).explain_rows(rows)  # opening compares the golden rows

    assert [answer.margin for answer in answers] == list(booster.predict(rows, raw_score=True, num_threads=1))
    assert {one.name for one in release.evaluation.search} == {"logistic base alone", "trees on a logistic base"}
    assert bundle.metrics["monotone.violations"] == 0
    chosen, second = release.evaluation.search
    assert bundle.metrics[f"search.{chosen.name}.log_loss"] == chosen.log_loss
    card = (release.folder / "card.md").read_text(encoding="utf-8")
    assert f"chosen by the validation folds: {chosen.name}, log-loss {chosen.log_loss:.5f}" in card
    assert f"{second.name}: {second.log_loss - chosen.log_loss:+.5f}" in card
    assert second.name in (release.folder / "report.html").read_text(encoding="utf-8")
