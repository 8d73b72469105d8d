"""Whether the pds are as high as the outcomes say: overall, by bin, by grade."""

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

NOISE_DRAWS = 1000
# A grade with a smaller share of the customers is too thin to be judged.
GRADE_SHARE_MIN = 0.03


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows of one bin of equal mass: mean pd, and bad rate with Wilson's interval at 95 %."""

    rows: int
    mean_pd: float
    bad_rate: Estimate


@dataclass(frozen=True, slots=True)
class GradeCalibration:
    """One grade of the master scale on the hold-out.

    Attributes:
        test: Its bads against the mean pd of its rows, by Jeffreys and by the binomial; the pd is 0 where it is empty.
        min_pd: Lower end, exclusive.
        max_pd: Upper end, inclusive.
        share: Of all rows.
        development_share: Of all development rows.
        bad_rate: With Wilson's interval; None where the grade is empty.
    """

    test: GradeTest
    min_pd: float
    max_pd: float
    share: float
    development_share: float
    bad_rate: Estimate | None


@dataclass(frozen=True, slots=True)
class CalibrationFindings:
    """Attributes below, on the hold-out. None where the rows did not allow it; the remarks say why.

    Attributes:
        noise: The ECE of pds that are all right, from so many draws of outcomes.
        grades: The safest first.
        concentration: Of the hold-out over the grades.
        development_concentration: The same of development.
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
        """Count the grades that hold enough rows."""
        return sum(grade.share >= GRADE_SHARE_MIN for grade in self.grades)

    @property
    def order_violations(self) -> int:
        """Count the grades whose bad rate is not above that of the grade before; empty grades are passed over."""
        rates = [grade.test.bad_rate for grade in self.grades if grade.test.bad_rate is not None]
        return sum(before >= after for before, after in pairwise(rates))


def measure_calibration(
    hold_out: ScoredSample, development: ScoredSample, scale: Sequence[Grade], remarks: list[str]
) -> CalibrationFindings:
    """Measure the hold-out; development gives the shares to compare with."""
    labels, pds = hold_out.labels, hold_out.pds
    grades = grade_findings(hold_out, development, scale)
    return CalibrationFindings(
        in_the_large=measure_or_remark(
            remarks, "calibration in the large", lambda: calibration_in_the_large(labels, pds)
        ),
        recalibration=measure_or_remark(remarks, "slope and intercept", lambda: recalibration(labels, pds)),
        brier=brier_decomposition(labels, pds),
        hosmer_lemeshow=measure_or_remark(
            remarks, "Hosmer-Lemeshow", lambda: hosmer_lemeshow_test(labels, pds, groups=10)
        ),
        ece_noise=ece_noise_floor(pds, seed=0, draws=NOISE_DRAWS),
        bins=calibration_bins(hold_out),
        grades=grades,
        concentration=measure_or_remark(remarks, "concentration", lambda: concentration([one.share for one in grades])),
        development_concentration=measure_or_remark(
            remarks, "concentration of development", lambda: concentration([one.development_share for one in grades])
        ),
    )


def calibration_bins(judged: ScoredSample) -> tuple[CalibrationBin, ...]:
    """Cut the rows into the bins of the ECE."""
    return tuple(
        CalibrationBin(len(rows), float(judged.pds[rows].mean()), proportion(int(judged.labels[rows].sum()), len(rows)))
        for rows in equal_mass_bins(judged.pds, ECE_BINS)
    )


def grade_findings(
    hold_out: ScoredSample, development: ScoredSample, scale: Sequence[Grade]
) -> tuple[GradeCalibration, ...]:
    """Test every grade against the mean pd of its rows, which is what the grade's customers are told."""
    means = {}
    for grade in scale:
        inside = hold_out.pds[hold_out.grades == grade.grade]
        means[grade.grade] = float(inside.mean()) if len(inside) else 0.0
    lower = [0.0, *(grade.max_pd for grade in scale)]
    return tuple(
        GradeCalibration(
            test=test,
            min_pd=low,
            max_pd=grade.max_pd,
            share=test.rows / len(hold_out.labels),
            development_share=float(np.mean(development.grades == grade.grade)),
            bad_rate=proportion(test.bads, test.rows) if test.rows else None,
        )
        for test, grade, low in zip(grade_tests(hold_out.labels, hold_out.grades, means), scale, lower, strict=False)
    )
