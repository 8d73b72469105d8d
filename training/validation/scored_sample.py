"""Rows with the scores that the exported files compute for them; these scored rows are the input of every measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle_documents import Scorecard
from models.onnx_scorer import Scorer
from models.scorecard import grade_from_pd, log_odds_from_margin, pd_from_log_odds, unrounded_score
from training.equivalence.check import EquivalenceReport
from training.errors import DataInvalid
from training.export.trees import Ensemble
from training.fitting.search import SearchCandidate
from training.sources.samples import Sample, Samples, customer_of, label_of

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class CandidateModel:
    """The model under validation: the exported files with their calibration, and how they were created.

    Attributes:
        scorer: The scorer that runs the exported files.
        card: Calibration, scaling and grades.
        base_margin: Mean margin of the baseline, before calibration.
        ensemble: The model from which the files were exported; it contains the thresholds of each feature.
        gain: Share of each feature in the gain of all splits of the fit, by name of the feature; the shares add up to
            1.
        parameters: The hyperparameters that the search selected.
        equivalence: The report of the equivalence check.
        search: The kinds of model that the search compared on its folds, the chosen one first.
        remarks: Sentences on how the model was searched.
        fitted_elsewhere: True if other software fitted the model. Its rows are unknown, and may include the hold-out.
    """

    scorer: Scorer
    card: Scorecard
    base_margin: float
    ensemble: Ensemble
    gain: Mapping[str, float]
    parameters: Mapping[str, Any]
    equivalence: EquivalenceReport
    search: tuple[SearchCandidate, ...] = ()
    remarks: tuple[str, ...] = ()
    fitted_elsewhere: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSample:
    """Rows with their outcomes and the scores of the exported files.

    Attributes:
        rows: The n rows, with the columns of `Samples.rows`.
        labels: Shape (n,); 1 for a bad outcome, 0 for a good one.
        pds: Shape (n,), probabilities of the bad outcome.
        scores: Shape (n,), points before rounding; a higher score means a lower risk.
        grades: Shape (n,), the grade of each row.
    """

    rows: pd.DataFrame
    labels: NDArray[np.int64]
    pds: NDArray[np.float64]
    scores: NDArray[np.float64]
    grades: NDArray[np.str_]

    @property
    def customers(self) -> NDArray[np.str_]:
        """Return the customer of each row, shape (n,). The same customer_id in two markets stands for two customers."""
        return customer_of(self.rows)

    def subset(self, included: NDArray[np.bool_]) -> "ScoredSample":
        """Return the sample of the rows for which `included`, of shape (n,), is true."""
        return ScoredSample(
            rows=self.rows[included],
            labels=self.labels[included],
            pds=self.pds[included],
            scores=self.scores[included],
            grades=self.grades[included],
        )

    def latest_per_customer(self) -> "ScoredSample":
        """Return the latest row of each customer, for measures that assume independent rows."""
        times = self.rows["as_of"].to_numpy()
        latest = pd.Series(times).groupby(self.customers).transform("max").to_numpy()
        return self.subset(times == latest)


def score_sample(model: CandidateModel, samples: Samples, *parts: Sample) -> ScoredSample:
    """Score the rows of the given parts of the samples with the exported files."""
    rows = samples.part(*parts)
    margins = model.scorer.margins(samples.features(rows))
    log_odds = [log_odds_from_margin(model.card, margin) for margin in margins]
    pds = [pd_from_log_odds(one) for one in log_odds]
    return ScoredSample(
        rows=rows,
        labels=label_of(rows),
        pds=np.array(pds, dtype=np.float64),
        scores=np.array([unrounded_score(model.card, one) for one in log_odds], dtype=np.float64),
        grades=np.array([grade_from_pd(model.card, pd) for pd in pds], dtype=np.str_),
    )


def measure_or_remark(remarks: list[str], what: str, measure: Callable[[], _Result]) -> _Result | None:
    """Return a measure; if the rows do not allow it, append a remark with the reason and return None.

    Args:
        remarks: List to which the remark is appended.
        what: Name of the measure in the remark.
        measure: Computes the measure; raises DataInvalid if there are too few or unsuitable rows.
    """
    try:
        return measure()
    except DataInvalid as error:
        remarks.append(f"{what}: not measured: {error}")
        return None
