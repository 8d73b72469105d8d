"""A sample as the exported files answered it: what every figure is measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle_documents import Scorecard
from models.scorecard import grade_from_pd, log_odds_from_margin, pd_from_log_odds, unrounded_score
from models.scoring import Scorer
from training.equivalence.check import EquivalenceReport
from training.errors import DataInvalid
from training.export.trees import Ensemble
from training.sources.samples import Sample, Samples, label_of

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, eq=False)
class CandidateModel:
    """What is judged: the exported files with their calibration, and how they were come by.

    Attributes:
        base_margin: Mean margin of the baseline, before calibration.
        ensemble: What the files were written from; it says where the model asks about each feature.
        gain: By feature, the share of the loss that its splits took away in the fit; the shares add up to 1.
    """

    scorer: Scorer
    card: Scorecard
    base_margin: float
    ensemble: Ensemble
    gain: Mapping[str, float]
    parameters: Mapping[str, Any]
    equivalence: EquivalenceReport


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSample:
    """Rows with their outcomes and the answers of the exported files.

    Attributes:
        rows: As in Samples.rows.
        labels: Shape (n,); 1 where the outcome was bad.
        pds: Shape (n,).
        scores: Shape (n,), points before rounding; a higher one is less risk.
        grades: Shape (n,).
    """

    rows: pd.DataFrame
    labels: NDArray[np.int64]
    pds: NDArray[np.float64]
    scores: NDArray[np.float64]
    grades: NDArray[np.str_]

    @property
    def customers(self) -> NDArray[np.str_]:
        """Say whose row each is: shape (n,). The same number in two markets is two customers."""
        return (self.rows["market"].astype(str) + "|" + self.rows["customer_id"].astype(str)).to_numpy(dtype=np.str_)

    def subset(self, inside: NDArray[np.bool_]) -> "ScoredSample":
        """Give some of the rows."""
        kept = (self.labels[inside], self.pds[inside], self.scores[inside], self.grades[inside])
        return ScoredSample(self.rows[inside], *kept)

    def latest_per_customer(self) -> "ScoredSample":
        """Give one row a customer, the newest: rows of one customer are no independent rows."""
        times = self.rows["as_of"].to_numpy()
        newest = pd.Series(times).groupby(self.customers).transform("max").to_numpy()
        return self.subset(times == newest)


def score_sample(exported: CandidateModel, samples: Samples, *parts: Sample) -> ScoredSample:
    """Let the exported files answer some parts."""
    rows = samples.part(*parts)
    log_odds = [
        log_odds_from_margin(exported.card, margin) for margin in exported.scorer.margins(samples.features(rows))
    ]
    pds = [pd_from_log_odds(one) for one in log_odds]
    return ScoredSample(
        rows=rows,
        labels=label_of(rows),
        pds=np.array(pds, dtype=np.float64),
        scores=np.array([unrounded_score(exported.card, one) for one in log_odds], dtype=np.float64),
        grades=np.array([grade_from_pd(exported.card, pd) for pd in pds], dtype=np.str_),
    )


def measure_or_remark(remarks: list[str], what: str, measure: Callable[[], Found]) -> Found | None:
    """Measure what few or odd rows may not allow; None then, and the reason stands among the remarks."""
    try:
        return measure()
    except DataInvalid as error:
        remarks.append(f"{what}: not measured: {error}")
        return None
