"""Calibration measures: do probabilities and outcomes agree overall, by bin, and in log-odds?

Bins have equal numbers of rows in the order of the pd. Equal pds keep the order of the rows, so shuffle rows that are
sorted by outcome before binning many equal pds. Tests of single grades are in `grades`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import chi2

from training.errors import DataInvalid
from training.measures.inputs import Labels, Pds, check_both_outcomes, check_matching, check_probabilities

ECE_BINS = 10  # of equal mass
_MURPHY_BINS = 10  # of equal mass
_STEPS_MAX = 100
_STEP_MIN = 1e-10
_SEPARATED = "the recalibration has no maximum, because the pds separate good and bad completely"


@dataclass(frozen=True, slots=True)
class CalibrationInTheLarge:
    """Calibration in the large: mean pd against the bad rate.

    Attributes:
        difference: mean_pd - bad_rate; above 0, pds are too high (cautious); below 0, too low.
        z: (bads - sum of pds) / sqrt(sum of pd * (1 - pd)); about standard normal if every pd is right and rows are
            independent. 0 if every pd is 0 or 1 and right.
    """

    mean_pd: float
    bad_rate: float
    difference: float
    z: float


@dataclass(frozen=True, slots=True)
class Recalibration:
    """The line that would recalibrate the log-odds: log-odds of bad = slope * log-odds of the pd + intercept.

    Attributes:
        slope: 1 is calibrated; below 1 the pds are too extreme, below 0 they rank in the wrong direction.
        intercept: 0 is calibrated, at slope 1.
    """

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class BrierDecomposition:
    """The Brier score in parts: brier = reliability - resolution + uncertainty + within_bins, exactly.

    Attributes:
        brier: Mean squared error of the pds; 0 to 1, lower is better.
        reliability: Mean squared distance of mean pd and bad rate of the bins; 0 is calibrated.
        resolution: Mean squared distance of the bins' bad rates and the overall one; higher is better.
        uncertainty: bad rate * (1 - bad rate); independent of the model.
        within_bins: Variance of the pds within bins, minus twice their covariance with the labels; 0 if all pds of each
            bin are equal.
        bins: Number of bins with a row.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    bins: int


@dataclass(frozen=True, slots=True)
class EceNoiseFloor:
    """The ECE that would be measured if every pd were right: sampling noise alone.

    Attributes:
        mean: Mean of the draws.
        quantile_95: 95 % of the draws are at or below it; an ECE above it is more than noise.
        draws: Number of draws.
    """

    mean: float
    quantile_95: float
    draws: int


@dataclass(frozen=True, slots=True)
class HosmerLemeshowTest:
    """The test of Hosmer and Lemeshow; with many rows it detects differences of no practical importance.

    Attributes:
        groups: g, of equal mass.
        statistic: Sum of (bads - expected)**2 / (rows * mean pd * (1 - mean pd)).
        degrees_of_freedom: g, because the rows were not used to fit the model (with those, it would be g - 2).
        p_value: Small means poorly calibrated.
    """

    groups: int
    statistic: float
    degrees_of_freedom: int
    p_value: float


def calibration_in_the_large(labels: Labels, pds: Pds) -> CalibrationInTheLarge:
    """Compare the mean pd with the bad rate.

    Raises:
        DataInvalid: Labels and pds do not match, pds outside [0, 1], or outcomes that pds of 0 and 1 rule out.
    """
    _check_inputs(labels, pds)
    mean_pd, bad_rate = float(np.mean(pds)), float(np.mean(labels))
    surplus, spread = float(np.sum(labels - pds)), float(np.sum(pds * (1.0 - pds)))
    if spread == 0.0 and surplus != 0.0:
        raise DataInvalid("every pd is 0 or 1, but the outcomes differ from them")
    return CalibrationInTheLarge(mean_pd, bad_rate, mean_pd - bad_rate, surplus / spread**0.5 if spread else 0.0)


def recalibration(labels: Labels, pds: Pds) -> Recalibration:
    """Fit slope and intercept of the labels on the log-odds, by maximum likelihood (Cox 1958; Newton's method).

    Args:
        labels: Shape (n,); both outcomes.
        pds: Shape (n,), strictly between 0 and 1, not all equal.

    Raises:
        DataInvalid: A pd is 0 or 1 and has no log-odds; or there is no maximum, because the pds separate good and bad.
    """
    _check_inputs(labels, pds)
    check_both_outcomes(labels)
    if np.min(pds) <= 0.0 or np.max(pds) >= 1.0:
        raise DataInvalid("recalibration requires pds strictly between 0 and 1")
    log_odds = np.log(pds) - np.log1p(-pds)
    if np.ptp(log_odds) == 0.0:
        raise DataInvalid("recalibration requires pds that differ; all are equal")
    center = float(np.mean(log_odds))
    # Centred log-odds make slope and intercept nearly independent, which keeps the Hessian well conditioned.
    design = np.column_stack([log_odds - center, np.ones(len(pds))])
    bad_rate = float(np.mean(labels))
    line = np.array([0.0, np.log(bad_rate / (1.0 - bad_rate))])
    for _ in range(_STEPS_MAX):
        step = _newton_step(design, labels, line)
        line = line + step
        if np.max(np.abs(step)) < _STEP_MIN:
            return Recalibration(float(line[0]), float(line[1] - line[0] * center))
    raise DataInvalid(_SEPARATED)


def brier_score(labels: Labels, pds: Pds) -> float:
    """Return the mean squared error of the pds; 0 to 1, lower is better.

    Raises:
        DataInvalid: Shapes do not match, or pds outside [0, 1].
    """
    _check_inputs(labels, pds)
    return float(np.mean((pds - labels) ** 2))


def brier_decomposition(labels: Labels, pds: Pds, bins: int = _MURPHY_BINS) -> BrierDecomposition:
    """Decompose the Brier score over bins of equal mass.

    Source: Murphy 1973; the part within bins: Stephenson, Coelho and Jolliffe 2008.

    Args:
        labels: Shape (n,).
        pds: Shape (n,).
        bins: At least 1; with fewer rows than bins, each row has its own.

    Raises:
        DataInvalid: Shapes do not match, pds outside [0, 1], or no bins.
    """
    score, bad_rate = brier_score(labels, pds), float(np.mean(labels))
    filled = equal_mass_bins(pds, bins)
    reliability = resolution = within = 0.0
    for rows in filled:
        pd_here, bad_here = float(np.mean(pds[rows])), float(np.mean(labels[rows]))
        reliability += len(rows) * (pd_here - bad_here) ** 2
        resolution += len(rows) * (bad_here - bad_rate) ** 2
        pd_off, bad_off = pds[rows] - pd_here, labels[rows] - bad_here
        within += float(np.sum(pd_off**2) - 2.0 * np.sum(pd_off * bad_off))
    n = len(labels)
    return BrierDecomposition(
        score, reliability / n, resolution / n, bad_rate * (1.0 - bad_rate), within / n, len(filled)
    )


def expected_calibration_error(labels: Labels, pds: Pds) -> float:
    """Return the mean distance between probability and bad rate over ECE_BINS bins of equal mass.

    It is above 0 even for perfect probabilities: see `ece_noise_floor`.

    Raises:
        DataInvalid: Shapes do not match, or pds outside [0, 1].
    """
    _check_inputs(labels, pds)
    bins = equal_mass_bins(pds, ECE_BINS)
    return float(sum(abs(pds[rows].mean() - labels[rows].mean()) * len(rows) for rows in bins) / len(pds))


def ece_noise_floor(pds: Pds, seed: int, draws: int = 1000) -> EceNoiseFloor:
    """Simulate the ECE of perfect pds: draw outcomes from the pds themselves, and measure the ECE of each draw.

    Args:
        pds: Shape (n,).
        seed: The same seed gives the same floor.
        draws: At least 1.

    Raises:
        DataInvalid: No rows, pds outside [0, 1], or no draws.
    """
    if draws < 1:
        raise DataInvalid(f"draws must be at least 1, got {draws}")
    generator = np.random.default_rng(seed)
    ordered = np.sort(pds)  # the sort inside each draw is then almost free
    found = [
        expected_calibration_error((generator.random(len(ordered)) < ordered).astype(np.int64), ordered)
        for _ in range(draws)
    ]
    return EceNoiseFloor(float(np.mean(found)), float(np.quantile(found, 0.95)), draws)


def hosmer_lemeshow_test(labels: Labels, pds: Pds, groups: int) -> HosmerLemeshowTest:
    """Test the calibration over groups of equal mass (Hosmer and Lemeshow 1980).

    Args:
        labels: Shape (n,).
        pds: Shape (n,).
        groups: g, from 3 to n; state it beside the result.

    Raises:
        DataInvalid: Shapes do not match, g out of range, or a group whose mean pd is 0 or 1.
    """
    _check_inputs(labels, pds)
    if not 3 <= groups <= len(pds):  # noqa: PLR2004 - two degrees of freedom may go
        raise DataInvalid(f"groups must be from 3 to the number of rows, {len(pds)}; got {groups}")
    statistic = 0.0
    for rows in equal_mass_bins(pds, groups):
        mean_pd = float(np.mean(pds[rows]))
        if not 0.0 < mean_pd < 1.0:
            raise DataInvalid(f"the mean pd of every group must lie strictly between 0 and 1, got {mean_pd:g}")
        statistic += (float(np.sum(labels[rows])) - len(rows) * mean_pd) ** 2 / (len(rows) * mean_pd * (1.0 - mean_pd))
    return HosmerLemeshowTest(groups, statistic, groups, float(chi2.sf(statistic, groups)))


def _check_inputs(labels: Labels, pds: Pds) -> None:
    """Check that labels and pds match, and that pds are probabilities."""
    check_matching(labels, pds)
    check_probabilities(pds)


def equal_mass_bins(pds: Pds, bins: int) -> list[NDArray[np.int64]]:
    """Return the rows of each bin, lowest pds first; sizes differ by one at most, and no bin is empty."""
    if bins < 1:
        raise DataInvalid(f"bins must be at least 1, got {bins}")
    return [rows for rows in np.array_split(np.argsort(pds, kind="stable"), bins) if len(rows)]


def _newton_step(design: NDArray[np.float64], labels: Labels, line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Newton step, halved until the likelihood does not decrease."""
    scores = design @ line
    fitted = expit(scores)
    curvature = (design * (fitted * (1.0 - fitted))[:, None]).T @ design
    if not np.linalg.cond(curvature) < 1.0 / np.finfo(np.float64).eps:
        raise DataInvalid(_SEPARATED)
    step = np.asarray(np.linalg.solve(curvature, design.T @ (labels - fitted)), dtype=np.float64)
    # Far from the maximum a full step can overshoot; the tolerance absorbs rounding near it.
    for _ in range(30):
        if _log_likelihood(design @ (line + step), labels) >= _log_likelihood(scores, labels) - 1e-12 * len(labels):
            break
        step = step / 2.0
    return step


def _log_likelihood(scores: NDArray[np.float64], labels: Labels) -> float:
    """Return the log-likelihood of labels under these log-odds, without overflow."""
    return float(np.sum(labels * scores - np.logaddexp(0.0, scores)))
