"""Calibration: whether the predicted probabilities agree with the outcomes, overall, by bin and by grade."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.bundle_documents import Grade
from training.measures.calibration import (
    ECE_BINS,
    BrierDecomposition,
    CalibrationInTheLarge,
    EceNoiseFloor,
    HosmerLemeshowTest,
    Recalibration,
    brier_decomposition,
    calibration_in_the_large,
    ece_noise_floor,
    equal_mass_bins,
    hosmer_lemeshow_test,
    recalibration,
)
from training.measures.concentration import Concentration, concentration
from training.measures.grades import GradeTest, grade_tests
from training.measures.proportions import Estimate, proportion
from training.validation.scored_sample import ScoredSample, measure_or_remark

GRADE_SHARE_MIN = 0.03  # a grade with a smaller share of the customers has too few rows to be tested
_NOISE_DRAWS = 1000
_HOSMER_LEMESHOW_GROUPS = 10


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One of ten bins with equally many rows.

    Attributes:
        rows: Number of rows.
        mean_pd: Mean predicted probability.
        bad_rate: Bad rate with its 95 % Wilson interval.
    """

    rows: int
    mean_pd: float
    bad_rate: Estimate


@dataclass(frozen=True, slots=True)
class GradeCalibration:
    """One grade of the master scale on the hold-out.

    Attributes:
        test: Jeffreys and binomial tests of the grade's bads against the mean pd of its rows; the pd is 0 for an empty
            grade.
        min_pd: Lower bound of the pd, exclusive.
        max_pd: Upper bound of the pd, inclusive.
        share: Share of all rows of the hold-out, from 0 to 1.
        development_share: Share of all development rows, from 0 to 1.
        bad_rate: Bad rate with its 95 % Wilson interval; None for an empty grade.
    """

    test: GradeTest
    min_pd: float
    max_pd: float
    share: float
    development_share: float
    bad_rate: Estimate | None


@dataclass(frozen=True, slots=True)
class CalibrationFindings:
    """Measures of calibration on the hold-out. A measure is None, with a remark, if the rows did not allow it.

    Attributes:
        in_the_large: Comparison of the mean predicted probability with the bad rate.
        recalibration: Slope and intercept of a logistic regression of the outcome on the log-odds.
        brier: Brier score and its decomposition.
        hosmer_lemeshow: Hosmer-Lemeshow test over 10 groups.
        ece_noise: Expected calibration error that perfect probabilities would have, from 1,000 simulated draws of outcomes.
        bins: The bins over which the expected calibration error is computed.
        grades: The grades, the safest first.
        concentration: Concentration of the hold-out over the grades.
        development_concentration: Concentration of the development rows over the grades.
    """

    in_the_large: CalibrationInTheLarge | None
    recalibration: Recalibration | None
    brier: BrierDecomposition
    hosmer_lemeshow: HosmerLemeshowTest | None
    ece_noise: EceNoiseFloor
    bins: tuple[CalibrationBin, ...]
    grades: tuple[GradeCalibration, ...]
    concentration: Concentration | None
    development_concentration: Concentration | None

    @property
    def filled_grade_count(self) -> int:
        """Return the number of grades that have enough rows to be tested."""
        return sum(grade.share >= GRADE_SHARE_MIN for grade in self.grades)

    @property
    def order_violations(self) -> int:
        """Return how many grades have a bad rate at or below that of the previous grade; empty grades are skipped."""
        rates = [grade.test.bad_rate for grade in self.grades if grade.test.bad_rate is not None]
        return sum(before >= after for before, after in pairwise(rates))


def measure_calibration(
    hold_out: ScoredSample, development: ScoredSample, scale: Sequence[Grade], remarks: list[str]
) -> CalibrationFindings:
    """Measure the calibration of the hold-out.

    Args:
        hold_out: The rows of the hold-out.
        development: The development rows, whose distribution over the grades is compared with that of the hold-out.
        scale: The grades of the master scale, the safest first.
        remarks: List to which a remark is appended for each measure that could not be computed.
    """
    labels, pds = hold_out.labels, hold_out.pds
    grades = _measure_grades(hold_out, development, scale)
    shares, development_shares = [grade.share for grade in grades], [grade.development_share for grade in grades]
    return CalibrationFindings(
        in_the_large=measure_or_remark(
            remarks, "calibration in the large", lambda: calibration_in_the_large(labels, pds)
        ),
        recalibration=measure_or_remark(remarks, "slope and intercept", lambda: recalibration(labels, pds)),
        brier=brier_decomposition(labels, pds),
        hosmer_lemeshow=measure_or_remark(
            remarks, "Hosmer-Lemeshow", lambda: hosmer_lemeshow_test(labels, pds, groups=_HOSMER_LEMESHOW_GROUPS)
        ),
        ece_noise=ece_noise_floor(pds, seed=0, draws=_NOISE_DRAWS),
        bins=_calibration_bins(hold_out),
        grades=grades,
        concentration=measure_or_remark(remarks, "concentration", lambda: concentration(shares)),
        development_concentration=measure_or_remark(
            remarks, "concentration of development", lambda: concentration(development_shares)
        ),
    )


def _calibration_bins(sample: ScoredSample) -> tuple[CalibrationBin, ...]:
    """Return the bins over which the expected calibration error is computed."""
    return tuple(
        CalibrationBin(len(rows), float(sample.pds[rows].mean()), proportion(int(sample.labels[rows].sum()), len(rows)))
        for rows in equal_mass_bins(sample.pds, ECE_BINS)
    )


def _measure_grades(
    hold_out: ScoredSample, development: ScoredSample, scale: Sequence[Grade]
) -> tuple[GradeCalibration, ...]:
    """Test each grade against the mean pd of the grade's rows."""
    mean_pds = {}
    for grade in scale:
        pds = hold_out.pds[hold_out.grades == grade.grade]
        mean_pds[grade.grade] = float(pds.mean()) if len(pds) else 0.0
    lower_bounds = [0.0, *(grade.max_pd for grade in scale)]  # one more bound than grades; zip ignores the last bound
    return tuple(
        GradeCalibration(
            test=test,
            min_pd=lower,
            max_pd=grade.max_pd,
            share=test.rows / len(hold_out.labels),
            development_share=float(np.mean(development.grades == grade.grade)),
            bad_rate=proportion(test.bads, test.rows) if test.rows else None,
        )
        for test, grade, lower in zip(
            grade_tests(hold_out.labels, hold_out.grades, mean_pds), scale, lower_bounds, strict=False
        )
    )
