"""A bundle ready to answer: its graphs are open and it has reproduced its golden rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bundle_documents import Cell, GoldenRow
from models.errors import AdditivityError, BundleInvalid
from models.explained_score import ExplainedScore, build_explained_score
from models.scoring import Scorer
from models.sign_conflicts import best_baseline_values
from models.tolerances import LOG_ODDS_TOLERANCE, PD_TOLERANCE


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may serve; made by `open_model` only.

    Attributes:
        best: The best value of the baseline by feature with a sign; see models.sign_conflicts.
    """

    bundle: Bundle
    scorer: Scorer
    best_values: Mapping[str, float]

    def explain(self, values: Mapping[str, float]) -> ExplainedScore:
        """Score one customer and explain it.

        Args:
            values: By feature name; a feature that is not there is missing.

        Raises:
            AdditivityError: The explanation is not the score: nothing may be answered.
        """
        margin, contributions = self.scorer.explain_one(self.bundle.schema.row(values))
        return build_explained_score(self.bundle.scorecard, self.bundle.baseline.base_margin, margin, contributions)

    def explain_rows(self, rows: NDArray[np.float64]) -> list[ExplainedScore]:
        """Score and explain rows of shape (n, n_features), NaN where missing."""
        margins, contributions = self.scorer.explain(rows)
        base_margin = self.bundle.baseline.base_margin
        return [
            build_explained_score(self.bundle.scorecard, base_margin, float(margin), parts)
            for margin, parts in zip(margins, contributions.tolist(), strict=True)
        ]


def open_model(bundle: Bundle) -> Model:
    """Open the graphs and let the model reproduce its golden rows.

    Raises:
        BundleInvalid: A graph does not open, or a golden row comes out otherwise.
    """
    _check_widths(bundle)
    try:
        model = Model(bundle, Scorer(bundle.score, bundle.explain), best_baseline_values(bundle))
    except Exception as error:  # ONNX Runtime raises many kinds, none of which is exported
        raise BundleInvalid(f"score.onnx or explain.onnx does not open: {error}") from error
    golden_rows = rows_array([golden.row for golden in bundle.golden.rows])
    if not np.array_equal(model.scorer.margins(golden_rows), model.scorer.explain(golden_rows)[0]):
        raise BundleInvalid("score.onnx and explain.onnx: give different margins on a row of golden.json")
    try:
        answers = model.explain_rows(golden_rows)
    except AdditivityError as error:
        raise BundleInvalid(f"golden.json: {error}") from error
    for index, (golden, answer) in enumerate(zip(bundle.golden.rows, answers, strict=True)):
        if problem := _golden_difference(golden, answer):
            raise BundleInvalid(f"golden.json: row {index}: {problem}")
    return model


def _check_widths(bundle: Bundle) -> None:
    """Refuse rows that do not have one value per feature."""
    width = len(bundle.schema.features)
    if any(len(row) != width for row in bundle.baseline.rows):
        raise BundleInvalid(f"baseline.json: a row does not have the {width} values of schema.json")
    for index, golden in enumerate(bundle.golden.rows):
        if {len(golden.row), len(golden.contributions), len(golden.points)} != {width}:
            raise BundleInvalid(f"golden.json: row {index} does not have the {width} values of schema.json")


def _golden_difference(golden: GoldenRow, answer: ExplainedScore) -> str:
    """Say what came out otherwise than the golden row says; empty where nothing did."""
    if answer.margin != golden.margin:
        return f"margin is {answer.margin!r}, not {golden.margin!r}"
    if not math.isclose(answer.pd, golden.pd, rel_tol=0.0, abs_tol=PD_TOLERANCE):
        return f"pd is {answer.pd!r}, not {golden.pd!r}"
    if (answer.score, answer.points, answer.grade) != (golden.score, golden.points, golden.grade):
        return "score, points or grade differ"
    for wanted, found in zip(golden.contributions, answer.contributions, strict=True):
        if not math.isclose(found, wanted, rel_tol=0.0, abs_tol=LOG_ODDS_TOLERANCE):
            return f"a contribution is {found!r}, not {wanted!r}"
    return ""


def rows_array(rows: list[tuple[Cell, ...]]) -> NDArray[np.float64]:
    """Give the rows of a document as an array, NaN where missing."""
    return np.array([[math.nan if cell is None else cell for cell in row] for row in rows], dtype=np.float64)
