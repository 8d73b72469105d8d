"""Fits the rivals, which are simpler benchmark models. The model is compared with the rivals on the same rows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from training.measures.bg_nbd import PurchaseHistories, fit_bg_nbd
from training.measures.scorecard import fit_scorecard
from training.sources.samples import Samples, label_of
from training.spec import RivalSpec

_WINSOR_QUANTILES = (0.01, 0.99)


def rival_pds(rival: RivalSpec, signs: Mapping[str, int], samples: Samples, test: pd.DataFrame) -> NDArray[np.float64]:
    """Fit a rival, and return its pds for the test rows: shape (n,).

    BG/NBD is fitted to purchase histories and does not use labels. All other rivals are fitted on the fit and
    calibration parts. A single feature is fitted as a logistic regression, which ranks rows by the feature and learns
    from these parts whether a high value means a high pd. A scorecard satisfies the monotone constraints of the spec.

    Args:
        rival: The rival of the spec.
        signs: Monotone constraint (sign) of every feature by name.
        samples: The samples, with the purchase histories if the rival is BG/NBD.
        test: The rows to predict.

    Raises:
        DataInvalid: The rival cannot be fitted to these rows.
    """
    if rival.kind == "bg_nbd":
        return _bg_nbd_pds(samples, test)
    known = samples.part("FIT", "CALIBRATION")
    if rival.kind == "scorecard":
        names = list(rival.features or samples.names)
        categories = [position for position, name in enumerate(names) if name in samples.levels]
        known_rows, test_rows = (part[names].to_numpy(dtype=np.float64) for part in (known, test))
        fitted = fit_scorecard(known_rows, label_of(known), [signs[name] for name in names], categories)
        return fitted.pds(test_rows)
    pipeline = _logistic_pipeline(rival, samples, known)
    pipeline.fit(known, label_of(known))
    pds: NDArray[np.float64] = pipeline.predict_proba(test)[:, 1]
    return pds


def _logistic_pipeline(rival: RivalSpec, samples: Samples, known: pd.DataFrame) -> Pipeline:
    """Return a logistic regression that is not easy to beat.

    A rival of kind "logistic" has both the numbers and their logarithms, unless the spec asks for the logarithms only.
    The numbers are limited to their 1st and 99th percentile in the known rows, so that a few extreme values do not
    decide the weights. A missing number becomes the median, and has an indicator of its own. Categories become one indicator
    for each level.
    """
    names = rival.features or samples.names
    numbers = [name for name in names if name not in samples.levels]
    categories = [name for name in names if name in samples.levels]
    low, high = _winsor_limits(known[numbers].to_numpy(dtype=np.float64))
    limits = FunctionTransformer(_clip_columns, kw_args={"low": low, "high": high})
    rest = (SimpleImputer(strategy="median", add_indicator=rival.kind == "logistic"), StandardScaler())
    logs = make_pipeline(FunctionTransformer(_signed_logarithm), *rest)
    # A single feature ranks by all its values, so its ends are not limited.
    plain = make_pipeline(*rest) if rival.kind == "single" else make_pipeline(limits, *rest)
    levels = make_pipeline(FunctionTransformer(_known_codes), OneHotEncoder(handle_unknown="ignore"))
    columns = [("levels", levels, categories)]
    if not rival.logarithms:
        columns.append(("values", plain, numbers))
    if rival.logarithms or rival.kind == "logistic":
        columns.append(("logarithms", logs, numbers))
    return make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=1000))


def _clip_columns(rows: pd.DataFrame, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows within the limits of every column; missing values stay missing."""
    limited: NDArray[np.float64] = np.clip(rows.to_numpy(dtype=np.float64), low, high)
    return limited


def _winsor_limits(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 1st and the 99th percentile of the present values of every column.

    A column whose percentiles are equal, or that has no value, has no limits: they would make it constant.
    """
    low, high = np.full(rows.shape[1], -np.inf), np.full(rows.shape[1], np.inf)
    for position, column in enumerate(rows.T):
        present = column[~np.isnan(column)]
        ends = np.quantile(present, _WINSOR_QUANTILES) if len(present) else (0.0, 0.0)
        if ends[0] < ends[1]:
            low[position], high[position] = ends
    return low, high


def _known_codes(codes: pd.DataFrame) -> pd.DataFrame:
    """Return category codes in which a missing or unknown level is -1, a level of its own."""
    return codes.fillna(-1.0).clip(lower=-1.0)


def _bg_nbd_pds(samples: Samples, test: pd.DataFrame) -> NDArray[np.float64]:
    """Fit BG/NBD to all histories, and return P(no purchase within the customer's horizon) for the test rows."""
    assert samples.histories is not None
    fitted, histories = fit_bg_nbd(purchase_histories(samples.histories)), purchase_histories(test)
    horizons = test["horizon_days"].to_numpy()
    pds = np.empty(len(test))
    for horizon in np.unique(horizons):
        inside = horizons == horizon
        selected = PurchaseHistories(histories.frequency[inside], histories.recency[inside], histories.age[inside])
        pds[inside] = fitted.no_purchase_probabilities(selected, float(horizon))
    return pds


def purchase_histories(rows: pd.DataFrame) -> PurchaseHistories:
    """Return the purchase histories of rows with the columns purchase_days, recency_days and tenure_days.

    A history consists of the number of purchase days after the first one, the days from the first to the last purchase,
    and the days since the first purchase.
    """
    days, recency, tenure = (
        rows[name].to_numpy(dtype=np.float64) for name in ("purchase_days", "recency_days", "tenure_days")
    )
    return PurchaseHistories(days - 1.0, tenure - recency, tenure)


def _signed_logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + |x|) with the sign of x."""
    logarithms: NDArray[np.float64] = np.sign(values) * np.log1p(np.abs(values))
    return logarithms
