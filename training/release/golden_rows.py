"""Golden rows: rows in a bundle with known results, which the server must reproduce when it loads the bundle."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import BaselineDocument, Cell, GoldenDocument, GoldenRow, Scorecard
from models.explained_score import build_explained_score
from models.onnx_scorer import Scorer
from training.export.representatives import representative_rows, thresholds_by_feature
from training.export.trees import Ensemble

_ORDINARY_ROWS = 32
_THRESHOLD_ROWS = 48
_MISSING_ROWS = 16
_Kind = Literal["ordinary", "threshold", "missing"]


def golden_document(
    ensemble: Ensemble, scorer: Scorer, card: Scorecard, baseline: BaselineDocument, rows: NDArray[np.float64]
) -> GoldenDocument:
    """Return the golden rows and their results.

    Args:
        ensemble: The trees of the model.
        scorer: Runs the exported files.
        card: The calibration and the score scale.
        baseline: The baseline of the explanations.
        rows: At least one row of the fit part, shape (n, n_features).
    """
    golden = []
    for kind, row in _select_rows(ensemble, rows):
        matrix = row.reshape(1, -1)
        margins, contributions = scorer.explain(matrix)
        answer = build_explained_score(card, baseline.base_margin, float(margins[0]), contributions[0].tolist())
        golden.append(
            GoldenRow(
                kind=kind,
                row=document_rows(matrix)[0],
                margin=answer.margin,
                contributions=answer.contributions,
                pd=answer.pd,
                score=answer.score,
                points=answer.points,
                grade=answer.grade,
            )
        )
    return GoldenDocument(rows=tuple(golden))


def _select_rows(ensemble: Ensemble, rows: NDArray[np.float64]) -> list[tuple[_Kind, NDArray[np.float64]]]:
    """Return the golden rows: ordinary rows, rows on and next to thresholds, and rows with missing values.

    Args:
        ensemble: The trees of the model.
        rows: At least one row of the fit part, shape (n, n_features). The golden rows are derived from representatives
            of these rows, so that they do not contain the row of a person.
    """
    random = np.random.default_rng(0)
    frozen = representative_rows(ensemble, rows[random.permutation(len(rows))[:_ORDINARY_ROWS]])
    chosen: list[tuple[_Kind, NDArray[np.float64]]] = [("ordinary", row) for row in frozen]
    thresholds = [
        (f, t) for f, values in enumerate(thresholds_by_feature(ensemble)) for t in values if math.isfinite(t)
    ]
    for index in random.permutation(len(thresholds))[:_THRESHOLD_ROWS]:
        feature, threshold = thresholds[index]
        row = frozen[index % len(frozen)].copy()
        # The value is the threshold or one of the two adjacent doubles. Software that rounds thresholds differently
        # returns a different result for such a value.
        row[feature] = (threshold, math.nextafter(threshold, -math.inf), math.nextafter(threshold, math.inf))[index % 3]
        chosen.append(("threshold", row))
    for index in range(_MISSING_ROWS):
        row = frozen[index % len(frozen)].copy()
        # The expected share of missing values increases from row to row. In the last row, every value is missing.
        row[random.random(len(row)) < (index + 1) / _MISSING_ROWS] = math.nan
        chosen.append(("missing", row))
    return chosen


def document_rows(rows: NDArray[np.float64]) -> tuple[tuple[Cell, ...], ...]:
    """Return rows as a JSON document stores them; a missing value is None."""
    return tuple(tuple(None if math.isnan(value) else float(value) for value in row) for row in rows)
