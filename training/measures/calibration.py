"""Calibration measures: whether probabilities and outcomes agree overall, by bin, and in log-odds.

The rows are sorted by pd and divided into bins with equally many rows. Rows with equal pds stay in their given order.
Therefore shuffle the rows first if many pds are equal and the rows are sorted by outcome. Tests of single grades are in
`grades`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import chi2

from training.errors import DataInvalid
from training.measures.inputs import Labels, Pds, check_both_outcomes, check_matching, check_probabilities

ECE_BINS = 10  # number of bins with equally many rows
_MURPHY_BINS = 10  # number of bins with equally many rows
_STEPS_MAX = 100
_STEP_MIN = 1e-10
_SEPARATED = "the likelihood of the recalibration has no maximum, because the pds separate good and bad completely; add rows, or remove features that contain the outcome"


@dataclass(frozen=True, slots=True)
class CalibrationInTheLarge:
    """Calibration in the large: the mean pd compared with the bad rate.

    Attributes:
        mean_pd: Mean of the pds.
        bad_rate: Share of bad rows.
        difference: mean_pd - bad_rate. Above 0, the pds are too high (cautious); below 0, the pds are too low.
        z: (bads - sum of pds) / sqrt(sum of pd * (1 - pd)). If every pd is correct and the rows are independent, z has
            approximately a standard normal distribution. If every pd is 0 or 1 and agrees with the outcome, z is 0.
    """

    mean_pd: float
    bad_rate: float
    difference: float
    z: float


@dataclass(frozen=True, slots=True)
class Recalibration:
    """The line that would recalibrate the log-odds: log-odds of bad = slope * log-odds of the pd + intercept.

    Attributes:
        slope: 1 if the pds are calibrated. Below 1, the pds are too extreme; below 0, the pds rank in the wrong
            direction.
        intercept: 0 if the pds are calibrated.
    """

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class BrierDecomposition:
    """The Brier score in parts: brier = reliability - resolution + uncertainty + within_bins, exactly.

    Attributes:
        brier: Mean squared error of the pds; 0 to 1, lower is better.
        reliability: Mean squared distance between the mean pd and the bad rate of a bin; 0 if calibrated.
        resolution: Mean squared distance between a bin's bad rate and the overall bad rate; higher is better.
        uncertainty: bad rate * (1 - bad rate), which does not depend on the model.
        within_bins: Variance of the pds within bins, minus twice the covariance of pds and labels within bins; 0 if all
            pds of each bin are equal.
        bins: Number of bins that are not empty.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    bins: int


@dataclass(frozen=True, slots=True)
class EceNoiseFloor:
    """The ECE (expected calibration error) that sampling noise alone causes, although every pd is correct.

    Attributes:
        mean: Mean ECE of the simulated draws.
        quantile_95: 95 % quantile of the ECE of the draws; sampling noise alone rarely explains a larger ECE.
        draws: Number of simulated draws.
    """

    mean: float
    quantile_95: float
    draws: int


@dataclass(frozen=True, slots=True)
class HosmerLemeshowTest:
    """The result of a Hosmer-Lemeshow test. With many rows, the test detects differences of no practical importance.

    Attributes:
        groups: g, the number of groups, which have equally many rows.
        statistic: Sum over the groups of (bads - expected bads)**2 / (rows * mean pd * (1 - mean pd)).
        degrees_of_freedom: g, because the model was not fitted on these rows; for rows of the fit it would be g - 2.
        p_value: Probability of a statistic at least this large if the pds are calibrated; 0 to 1.
    """

    groups: int
    statistic: float
    degrees_of_freedom: int
    p_value: float


def calibration_in_the_large(labels: Labels, pds: Pds) -> CalibrationInTheLarge:
    """Compare the mean pd with the bad rate.

    Raises:
        DataInvalid: Labels and pds do not match, a pd is outside [0, 1], or every pd is 0 or 1 and an outcome differs.
    """
    _check_inputs(labels, pds)
    mean_pd, bad_rate = float(np.mean(pds)), float(np.mean(labels))
    surplus, spread = float(np.sum(labels - pds)), float(np.sum(pds * (1.0 - pds)))
    if spread == 0.0 and surplus != 0.0:
        raise DataInvalid(
            "every pd is 0 or 1, but the outcomes differ from them; provide probabilities between 0 and 1"
        )
    return CalibrationInTheLarge(mean_pd, bad_rate, mean_pd - bad_rate, surplus / spread**0.5 if spread else 0.0)


def recalibration(labels: Labels, pds: Pds) -> Recalibration:
    """Fit slope and intercept of the labels on the log-odds, by maximum likelihood (Cox 1958; Newton's method).

    Args:
        labels: Shape (n,); both outcomes occur.
        pds: Shape (n,), strictly between 0 and 1, not all equal.

    Raises:
        DataInvalid: A pd is 0 or 1 and so has no log-odds, all pds are equal, or the likelihood has no maximum because
            the pds separate good and bad completely.
    """
    _check_inputs(labels, pds)
    check_both_outcomes(labels)
    if np.min(pds) <= 0.0 or np.max(pds) >= 1.0:
        raise DataInvalid("recalibration requires pds strictly between 0 and 1; remove or correct the other pds")
    log_odds = np.log(pds) - np.log1p(-pds)
    if np.ptp(log_odds) == 0.0:
        raise DataInvalid(
            "recalibration requires pds that differ, but all pds are equal; add features that rank the outcome, or add rows"
        )
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
        DataInvalid: Shapes do not match, or a pd is outside [0, 1].
    """
    _check_inputs(labels, pds)
    return float(np.mean((pds - labels) ** 2))


def brier_decomposition(labels: Labels, pds: Pds, bins: int = _MURPHY_BINS) -> BrierDecomposition:
    """Decompose the Brier score over bins with equally many rows.

    Sources: Murphy 1973; Stephenson, Coelho and Jolliffe 2008 for the component within bins.

    Args:
        labels: Shape (n,).
        pds: Shape (n,).
        bins: Number of bins, at least 1; with fewer rows than bins, each row has a bin of its own.

    Raises:
        DataInvalid: Shapes do not match, a pd is outside [0, 1], or `bins` is below 1.
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
    """Return the mean distance between mean pd and bad rate over ECE_BINS bins with equally many rows.

    Even perfect pds have an error above 0, because of sampling noise: see `ece_noise_floor`.

    Raises:
        DataInvalid: Shapes do not match, or a pd is outside [0, 1].
    """
    _check_inputs(labels, pds)
    bins = equal_mass_bins(pds, ECE_BINS)
    return float(sum(abs(pds[rows].mean() - labels[rows].mean()) * len(rows) for rows in bins) / len(pds))


def ece_noise_floor(pds: Pds, seed: int, draws: int = 1000) -> EceNoiseFloor:
    """Simulate the ECE of perfect pds: draw outcomes from the pds themselves, and measure the ECE of each draw.

    Args:
        pds: Shape (n,).
        seed: Seed of the simulation; the same seed produces the same result.
        draws: Number of simulated draws, at least 1.

    Raises:
        DataInvalid: There are no rows, a pd is outside [0, 1], or `draws` is below 1.
    """
    if draws < 1:
        raise DataInvalid(f"draws must be at least 1, got {draws}; set a larger number")
    generator = np.random.default_rng(seed)
    ordered = np.sort(pds)  # sorted once here, so that the sort in each draw is fast
    found = [
        expected_calibration_error((generator.random(len(ordered)) < ordered).astype(np.int64), ordered)
        for _ in range(draws)
    ]
    return EceNoiseFloor(float(np.mean(found)), float(np.quantile(found, 0.95)), draws)


def hosmer_lemeshow_test(labels: Labels, pds: Pds, groups: int) -> HosmerLemeshowTest:
    """Test the calibration over groups with equally many rows (Hosmer and Lemeshow 1980).

    Args:
        labels: Shape (n,).
        pds: Shape (n,).
        groups: g, the number of groups, from 3 to n; the p-value depends on g, so report g together with the p-value.

    Raises:
        DataInvalid: Shapes do not match, g is out of range, or the mean pd of a group is 0 or 1.
    """
    _check_inputs(labels, pds)
    if not 3 <= groups <= len(pds):  # noqa: PLR2004 - a fit on the same rows would take two degrees of freedom
        raise DataInvalid(
            f"groups must be from 3 to the number of rows, {len(pds)}, got {groups}; set another number of groups"
        )
    statistic = 0.0
    for rows in equal_mass_bins(pds, groups):
        mean_pd = float(np.mean(pds[rows]))
        if not 0.0 < mean_pd < 1.0:
            raise DataInvalid(
                f"the mean pd of every group must lie strictly between 0 and 1, got {mean_pd:g}; use fewer groups"
            )
        statistic += (float(np.sum(labels[rows])) - len(rows) * mean_pd) ** 2 / (len(rows) * mean_pd * (1.0 - mean_pd))
    return HosmerLemeshowTest(groups, statistic, groups, float(chi2.sf(statistic, groups)))


def _check_inputs(labels: Labels, pds: Pds) -> None:
    """Check that labels and pds match, and that pds are probabilities."""
    check_matching(labels, pds)
    check_probabilities(pds)


def equal_mass_bins(pds: Pds, bins: int) -> list[NDArray[np.int64]]:
    """Return the row numbers of each bin, the bin with the lowest pds first.

    The sizes of the bins differ by at most one. Empty bins are left out. If there are fewer rows than `bins`, each row
    is a bin by itself.
    """
    if bins < 1:
        raise DataInvalid(f"bins must be at least 1, got {bins}; set a larger number")
    return [rows for rows in np.array_split(np.argsort(pds, kind="stable"), bins) if len(rows)]


def _newton_step(design: NDArray[np.float64], labels: Labels, line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Newton step, halved until the step does not decrease the likelihood, but at most 30 times."""
    scores = design @ line
    fitted = expit(scores)
    curvature = (design * (fitted * (1.0 - fitted))[:, None]).T @ design
    if not np.linalg.cond(curvature) < 1.0 / np.finfo(np.float64).eps:
        raise DataInvalid(_SEPARATED)
    step = np.asarray(np.linalg.solve(curvature, design.T @ (labels - fitted)), dtype=np.float64)
    # Far from the maximum, a full step can overshoot. Near the maximum, rounding errors can decrease the likelihood
    # slightly, which the tolerance allows.
    for _ in range(30):
        if _log_likelihood(design @ (line + step), labels) >= _log_likelihood(scores, labels) - 1e-12 * len(labels):
            break
        step = step / 2.0
    return step


def _log_likelihood(scores: NDArray[np.float64], labels: Labels) -> float:
    """Return the log-likelihood of the labels for given log-odds, in a form that does not overflow."""
    return float(np.sum(labels * scores - np.logaddexp(0.0, scores)))
