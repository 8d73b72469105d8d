"""Rows that go into a bundle: the baseline and the golden rows, without anything that points at a person.

Every value is replaced by one representative of its threshold interval: the upper end, or for the
last interval the next double above the last threshold. All decisions stay the same, so margins and
contributions stay the same, and two customers whom the model cannot tell apart become one row.
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
    """Choose the population that explanations compare with: all in the band, or 1,000 of them by hash."""
    band = rows[(pds >= spec.min_pd) & (pds <= spec.max_pd)]
    if band.empty:
        raise ModelRejected(
            f"baseline: no development row has a pd from {spec.min_pd} to {spec.max_pd}; widen the band"
        )
    if len(band) <= _BASELINE_ROWS_MAX:
        return band
    keys = band["market"] + "|" + band["customer_id"] + "|" + band["as_of"].astype(str)
    order = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    chosen = band.assign(order=order).sort_values("order").head(_BASELINE_ROWS_MAX)
    return chosen.drop(columns="order")


def baseline_document(
    spec: BaselineSpec, chosen: pd.DataFrame, samples: Samples, ensemble: Ensemble, booster: lightgbm.Booster
) -> BaselineDocument:
    """Freeze the baseline, its rows in the order of their values so that nothing tells whose they are."""
    typical = {name: _typical_value(chosen[name], samples.levels.get(name)) for name in samples.names}
    if spec.method == "path_dependent":
        base = float(np.asarray(booster.predict(np.zeros((1, len(samples.names))), pred_contrib=True))[0, -1])
        count, rows = len(samples.part("FIT")), ()
        definition = "the rows that the model was fitted on, by the covers of its splits"
        return BaselineDocument(
            method=spec.method, definition=definition, rows=rows, base_margin=base, row_count=count, typical=typical
        )
    frozen = representative_rows(ensemble, samples.features(chosen))
    frozen = frozen[np.lexsort(frozen.T[::-1])]
    margins = booster.predict(frozen, raw_score=True, num_threads=1)
    return BaselineDocument(
        definition=spec.definition,
        rows=document_rows(frozen),
        base_margin=math.fsum(margins) / len(frozen),
        row_count=len(frozen),
        typical=typical,
    )


def _typical_value(column: pd.Series, levels: tuple[str, ...] | None) -> float | str | None:
    """Give the median, or a category's most frequent level; None where there is none."""
    present = column.dropna()
    if levels is None:
        return None if len(present) * 2 < len(column) else float(present.median())
    known = present[present >= 0].astype(int).value_counts()
    return None if known.empty else levels[int(known.index[0])]
