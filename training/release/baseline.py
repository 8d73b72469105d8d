"""The baseline of a bundle: the population that explanations compare a customer with.

The bundle does not contain the values of any person: each value is replaced by a representative of its interval between two
thresholds of the model.
"""

import hashlib
import math

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle_documents import BaselineDocument
from training.errors import ModelRejected
from training.export.representatives import representative_rows
from training.export.trees import Ensemble
from training.release.golden_rows import document_rows
from training.sources.samples import Samples
from training.spec import BaselineSpec

_BASELINE_ROWS_MAX = 1000


def select_baseline(spec: BaselineSpec, rows: pd.DataFrame, pds: NDArray[np.float64]) -> pd.DataFrame:
    """Return the rows of the baseline: at most 1,000 rows whose pd is from min_pd to max_pd of the spec.

    Args:
        spec: The [baseline] of the spec.
        rows: Development rows.
        pds: The pd of every row, shape (n,).

    Raises:
        ModelRejected: No row has a pd in this range.
    """
    band = rows[(pds >= spec.min_pd) & (pds <= spec.max_pd)]
    if band.empty:
        raise ModelRejected(
            f"baseline: no development row has a pd from {spec.min_pd} to {spec.max_pd}; widen min_pd and max_pd"
        )
    if len(band) <= _BASELINE_ROWS_MAX:
        return band
    # The rows whose keys have the smallest hashes are a random sample. It does not depend on the order of the table.
    keys = band["market"] + "|" + band["customer_id"] + "|" + band["as_of"].astype(str)
    order = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    return band.assign(order=order).sort_values("order").head(_BASELINE_ROWS_MAX).drop(columns="order")


def baseline_document(
    spec: BaselineSpec,
    chosen: pd.DataFrame,
    samples: Samples,
    ensemble: Ensemble,
    booster: lightgbm.Booster,
    fit_rows: int,
) -> BaselineDocument:
    """Return the baseline as a bundle stores it: representatives of the selected rows, and typical values.

    Args:
        spec: The [baseline] of the spec.
        chosen: The rows of the baseline, from `select_baseline`.
        samples: All samples.
        ensemble: The trees of the model.
        booster: The model in LightGBM.
        fit_rows: Number of rows on which the model, or its largest tree, was fitted.
    """
    typical = {name: _typical_value(chosen[name], samples.levels.get(name)) for name in samples.names}
    if spec.method == "path_dependent":
        # The last column of pred_contrib is the base value. It is the same for every row, so a row of zeros suffices.
        base = float(np.asarray(booster.predict(np.zeros((1, len(samples.names))), pred_contrib=True))[0, -1])
        return BaselineDocument(
            method=spec.method,
            definition="the rows that the model was fitted on, by the covers of its splits",
            rows=(),
            base_margin=base,
            row_count=fit_rows,
            typical=typical,
        )
    frozen = representative_rows(ensemble, samples.features(chosen))
    frozen = frozen[np.lexsort(frozen.T[::-1])]  # sorting by value removes the order of the customers
    margins = booster.predict(frozen, raw_score=True, num_threads=1)
    return BaselineDocument(
        definition=spec.definition,
        rows=document_rows(frozen),
        base_margin=math.fsum(margins) / len(frozen),
        row_count=len(frozen),
        typical=typical,
    )


def _typical_value(column: pd.Series, levels: tuple[str, ...] | None) -> float | str | None:
    """Return the median of a numeric feature, or the most frequent level of a category feature.

    The result is None if more than half of the values of a numeric feature are missing, or if no row has a known level
    of a category feature.
    """
    present = column.dropna()
    if levels is None:
        return None if len(present) * 2 < len(column) else float(present.median())
    known = present[present >= 0].astype(int).value_counts()
    return None if known.empty else levels[int(known.index[0])]
