"""Fits the rivals, which are simpler benchmark models. The model is compared with the rivals on the same rows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from training.measures.bg_nbd import PurchaseHistories, fit_bg_nbd
from training.measures.scorecard import fit_scorecard
from training.sources.samples import Samples, label_of
from training.spec import RivalSpec


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
    # The codes of a category have no order, so a logistic regression cannot use them as numbers.
    names = list(rival.features or [name for name in samples.names if name not in samples.levels])
    steps = [SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=1000)]
    if rival.logarithms:
        steps.insert(1, FunctionTransformer(_signed_logarithm))
    pipeline = make_pipeline(*steps)
    pipeline.fit(known[names].to_numpy(dtype=np.float64), label_of(known))
    pds: NDArray[np.float64] = pipeline.predict_proba(test[names].to_numpy(dtype=np.float64))[:, 1]
    return pds


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
