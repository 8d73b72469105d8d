"""Golden rows: rows in the bundle whose answers a reader must reproduce when it loads the bundle."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import BaselineDocument, Cell, GoldenDocument, GoldenRow, Scorecard
from models.explained_score import build_explained_score
from models.scoring import Scorer
from training.export.representatives import representative_rows, thresholds_by_feature
from training.export.trees import Ensemble

_ORDINARY_ROWS = 32
_THRESHOLD_ROWS = 48
_MISSING_ROWS = 16
_Kind = Literal["ordinary", "threshold", "missing"]


def golden_document(
    ensemble: Ensemble, scorer: Scorer, card: Scorecard, baseline: BaselineDocument, rows: NDArray[np.float64]
) -> GoldenDocument:
    """Write down what must come out of the golden rows."""
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
    """Choose rows that a reader must reproduce: ordinary ones, ones on thresholds and beside them, ones with gaps.

    Args:
        ensemble: The model.
        rows: Real rows, shape (n, n_features); at least one.
    """
    random = np.random.default_rng(0)
    frozen = representative_rows(ensemble, rows[random.permutation(len(rows))[:_ORDINARY_ROWS]])
    chosen: list[tuple[_Kind, NDArray[np.float64]]] = [("ordinary", row) for row in frozen]
    asked = [(f, t) for f, values in enumerate(thresholds_by_feature(ensemble)) for t in values if math.isfinite(t)]
    for index in random.permutation(len(asked))[:_THRESHOLD_ROWS]:
        feature, threshold = asked[index]
        row = frozen[index % len(frozen)].copy()
        row[feature] = (threshold, math.nextafter(threshold, -math.inf), math.nextafter(threshold, math.inf))[index % 3]
        chosen.append(("threshold", row))
    for index in range(_MISSING_ROWS):
        row = frozen[index % len(frozen)].copy()
        row[random.random(len(row)) < (index + 1) / _MISSING_ROWS] = math.nan
        chosen.append(("missing", row))
    return chosen


def document_rows(rows: NDArray[np.float64]) -> tuple[tuple[Cell, ...], ...]:
    """Give rows as a document holds them: None where missing."""
    return tuple(tuple(None if math.isnan(value) else float(value) for value in row) for row in rows)
