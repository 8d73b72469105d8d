"""The model: a bundle whose graphs are open and whose golden rows were reproduced, ready to score."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bundle_documents import Cell, GoldenRow
from models.errors import AdditivityError, BundleInvalid, BundleNotRunnable
from models.explained_score import ExplainedScore, build_explained_score
from models.onnx_scorer import Scorer
from models.sign_conflicts import best_baseline_values
from models.tolerances import LOG_ODDS_TOLERANCE, PD_TOLERANCE


class GraphScorer(Protocol):
    """Computes margins and contributions: `Scorer` in this process, `IsolatedScorer` in a process with limits."""

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the margins; see `Scorer.margins`."""

    def explain(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return margins and contributions; see `Scorer.explain`."""

    def explain_one(self, row: NDArray[np.float64]) -> tuple[float, list[float]]:
        """Return margin and contributions of one row; see `Scorer.explain_one`."""

    def contributions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the contributions; see `Scorer.contributions`."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may serve. Only `open_model` creates it.

    Attributes:
        best_values: The safest value in the baseline of each feature with a sign (a monotone constraint); see
            `models.sign_conflicts`.
    """

    bundle: Bundle
    scorer: GraphScorer
    best_values: Mapping[str, float]

    def explain(self, values: Mapping[str, float]) -> ExplainedScore:
        """Return one customer's score with its explanation.

        Args:
            values: Encoded values by feature name; missing features are absent.

        Raises:
            AdditivityError: The explanation does not add up to the score, which must not be returned.
        """
        margin, contributions = self.scorer.explain_one(self.bundle.schema.row(values))
        return build_explained_score(self.bundle.scorecard, self.bundle.baseline.base_margin, margin, contributions)

    def explain_rows(self, rows: NDArray[np.float64]) -> list[ExplainedScore]:
        """Return the explained scores of rows of shape (n, n_features), NaN where missing.

        Raises:
            AdditivityError: An explanation does not add up to its score.
        """
        margins, contributions = self.scorer.explain(rows)
        base_margin = self.bundle.baseline.base_margin
        return [
            build_explained_score(self.bundle.scorecard, base_margin, float(margin), parts)
            for margin, parts in zip(margins, contributions.tolist(), strict=True)
        ]


def open_model(bundle: Bundle, open_scorer: Callable[[bytes, bytes], GraphScorer] = Scorer) -> Model:
    """Open the graphs of a bundle, and check that they reproduce its golden rows.

    Args:
        bundle: The bundle.
        open_scorer: Opens score.onnx and explain.onnx. `Scorer` opens them in this process, so use it only for bundles
            that are active or that this program wrote. `GraphProcesses.open_model` opens any other bundle.

    Raises:
        BundleInvalid: A graph does not open, or the results of a golden row differ.
    """
    _check_widths(bundle)
    try:
        model = Model(bundle, open_scorer(bundle.score, bundle.explain), best_baseline_values(bundle))
    except BundleNotRunnable:
        raise
    except Exception as error:  # ONNX Runtime raises many classes, none of which is public
        raise BundleInvalid(f"score.onnx or explain.onnx: does not open: {error}") from error
    try:
        _check_golden_rows(model)
    except BundleInvalid:
        raise
    except Exception as error:  # a graph may fail on these rows, or the scorecard may have numbers that overflow
        raise BundleInvalid(f"golden.json: its rows cannot be scored: {error}") from error
    return model


def _check_golden_rows(model: Model) -> None:
    """Check that a model reproduces the golden rows of its bundle.

    Raises:
        BundleInvalid: The results of a golden row differ.
    """
    bundle = model.bundle
    golden_rows = _rows_array([golden.row for golden in bundle.golden.rows])
    # Both graphs sum the same leaves in the same order, so their margins must be equal bit for bit.
    if not np.array_equal(model.scorer.margins(golden_rows), model.scorer.explain(golden_rows)[0]):
        raise BundleInvalid("score.onnx and explain.onnx: their margins differ on a row of golden.json")
    try:
        answers = model.explain_rows(golden_rows)
    except AdditivityError as error:
        raise BundleInvalid(f"golden.json: {error}") from error
    for index, (golden, answer) in enumerate(zip(bundle.golden.rows, answers, strict=True)):
        if problem := _golden_difference(golden, answer):
            raise BundleInvalid(f"golden.json: rows[{index}]: {problem}")


def _check_widths(bundle: Bundle) -> None:
    """Reject baseline and golden rows that do not have exactly one value per feature, and a population of other features."""
    width = len(bundle.schema.features)
    for index, row in enumerate(bundle.baseline.rows):
        if len(row) != width:
            raise BundleInvalid(f"baseline.json: rows[{index}]: must have the {width} values of schema.json")
    for index, golden in enumerate(bundle.golden.rows):
        if {len(golden.row), len(golden.contributions), len(golden.points)} != {width}:
            raise BundleInvalid(f"golden.json: rows[{index}]: must have the {width} values of schema.json")
    if bundle.population is not None:
        levels = {name: set(each.levels) for name, each in bundle.population.features.items()}
        if levels != {feature.name: set(feature.levels) for feature in bundle.schema.features}:
            raise BundleInvalid("population.json: must have the features and the levels of schema.json")


def _golden_difference(golden: GoldenRow, answer: ExplainedScore) -> str:
    """Return how an answer differs from its golden row; "" if they agree."""
    if answer.margin != golden.margin:
        return f"margin is {answer.margin!r}, expected {golden.margin!r}"
    # A different release of ONNX Runtime or of the C library may round sums and `exp` differently, so the pd and the
    # contributions have a tolerance. All other results must be equal.
    if not math.isclose(answer.pd, golden.pd, rel_tol=0.0, abs_tol=PD_TOLERANCE):
        return f"pd is {answer.pd!r}, expected {golden.pd!r}"
    if (answer.score, answer.points, answer.grade) != (golden.score, golden.points, golden.grade):
        return "score, points or grade differ"
    for expected, actual in zip(golden.contributions, answer.contributions, strict=True):
        if not math.isclose(actual, expected, rel_tol=0.0, abs_tol=LOG_ODDS_TOLERANCE):
            return f"a contribution is {actual!r}, expected {expected!r}"
    return ""


def _rows_array(rows: list[tuple[Cell, ...]]) -> NDArray[np.float64]:
    """Return the rows of a document as an array, NaN where missing."""
    return np.array([[math.nan if cell is None else cell for cell in row] for row in rows], dtype=np.float64)
