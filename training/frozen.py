"""Rows that go into a bundle: the baseline and the golden rows, without anything that points at a person.

Every value is replaced by one representative of its threshold interval: the upper end, or for the
last interval the next double above the last threshold. All decisions stay the same, so margins and
contributions stay the same, and two customers whom the model cannot tell apart become one row.
"""

import hashlib
import math
from typing import Literal

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.documents import BaselineDocument, Cell
from training.errors import ModelRefused
from training.export.bins import codes_of
from training.export.trees import ZERO_MAX, CategorySplit, Ensemble, Split, splits_of
from training.samples import Samples
from training.spec import BaselineSpec

BASELINE_ROWS_MAX = 1000
GOLDEN_ORDINARY = 32
GOLDEN_THRESHOLDS = 48
GOLDEN_MISSING = 16


def thresholds_by_feature(ensemble: Ensemble) -> list[NDArray[np.float64]]:
    """Give each feature's distinct thresholds in ascending order; none for a feature never asked."""
    found: list[set[float]] = [set() for _ in range(ensemble.feature_count)]
    for tree in ensemble.trees:
        for split in splits_of(tree):
            if isinstance(split, Split):
                found[split.feature].add(split.threshold)
    return [np.array(sorted(values)) for values in found]


def representatives(ensemble: Ensemble, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace every value by the representative of its interval; missing stays missing."""
    replaced = np.empty_like(rows)
    for feature, thresholds in enumerate(thresholds_by_feature(ensemble)):
        if feature in ensemble.categories:
            replaced[:, feature] = representative_codes(ensemble, feature, rows[:, feature])
            continue
        finite = thresholds[np.isfinite(thresholds)]
        above = math.nextafter(finite[-1], math.inf) if len(finite) else 0.0
        ends = np.append(finite, above)
        values = rows[:, feature]
        chosen = ends[np.searchsorted(finite, values, side="left")]
        if feature in ensemble.zero_missing:
            chosen = without_new_zeros(values, chosen)
        replaced[:, feature] = np.where(np.isnan(values), np.nan, chosen)
    return replaced


def representative_codes(ensemble: Ensemble, feature: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace every code by the smallest one that is in the same sets; by -1 where it is in none."""
    sets = sorted({tuple(sorted(split.codes)) for split in category_splits(ensemble) if split.feature == feature})
    first: dict[tuple[bool, ...], float] = {(False,) * len(sets): -1.0}
    membership = {code: tuple(code in codes for codes in sets) for code in sorted({c for codes in sets for c in codes})}
    for code, member in membership.items():
        first.setdefault(member, float(code))
    return np.array([first[membership.get(int(code), (False,) * len(sets))] for code in codes_of(values)])


def category_splits(ensemble: Ensemble) -> list[CategorySplit]:
    """Give every question about a category."""
    return [split for tree in ensemble.trees for split in splits_of(tree) if isinstance(split, CategorySplit)]


def without_new_zeros(values: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep zeros zero, and others no zero, in a column where zero means missing."""
    nearest = math.nextafter(ZERO_MAX, math.inf)
    no_zero = np.where(np.abs(chosen) <= ZERO_MAX, np.copysign(nearest, values), chosen)
    return np.where(np.abs(values) <= ZERO_MAX, 0.0, no_zero)


def choose_baseline(spec: BaselineSpec, rows: pd.DataFrame, pds: NDArray[np.float64]) -> pd.DataFrame:
    """Choose the population that explanations compare with: all in the band, or 1,000 of them by hash."""
    band = rows[(pds >= spec.min_pd) & (pds <= spec.max_pd)]
    if band.empty:
        raise ModelRefused(f"baseline: no development row has a pd from {spec.min_pd} to {spec.max_pd}; widen the band")
    if len(band) <= BASELINE_ROWS_MAX:
        return band
    keys = band["market"] + "|" + band["customer_id"] + "|" + band["as_of"].astype(str)
    order = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    chosen = band.assign(order=order).sort_values("order").head(BASELINE_ROWS_MAX)
    return chosen.drop(columns="order")


def baseline_document(
    spec: BaselineSpec, chosen: pd.DataFrame, samples: Samples, ensemble: Ensemble, booster: lightgbm.Booster
) -> BaselineDocument:
    """Freeze the baseline, its rows in the order of their values so that nothing tells whose they are."""
    typical = {name: typical_of(chosen[name], samples.levels.get(name)) for name in samples.names}
    if spec.method == "path_dependent":
        base = float(np.asarray(booster.predict(np.zeros((1, len(samples.names))), pred_contrib=True))[0, -1])
        count, rows = len(samples.part("FIT")), ()
        definition = "the rows that the model was fitted on, by the covers of its splits"
        return BaselineDocument(
            method=spec.method, definition=definition, rows=rows, base_margin=base, row_count=count, typical=typical
        )
    frozen = representatives(ensemble, samples.features(chosen))
    frozen = frozen[np.lexsort(frozen.T[::-1])]
    margins = booster.predict(frozen, raw_score=True, num_threads=1)
    return BaselineDocument(
        definition=spec.definition,
        rows=cells(frozen),
        base_margin=math.fsum(margins) / len(frozen),
        row_count=len(frozen),
        typical=typical,
    )


def typical_of(column: pd.Series, levels: tuple[str, ...] | None) -> float | str | None:
    """Give the median, or a category's most frequent level; None where there is none."""
    present = column.dropna()
    if levels is None:
        return None if len(present) * 2 < len(column) else float(present.median())
    known = present[present >= 0].astype(int).value_counts()
    return None if known.empty else levels[int(known.index[0])]


Kind = Literal["ordinary", "threshold", "missing"]


def golden_rows(ensemble: Ensemble, rows: NDArray[np.float64]) -> list[tuple[Kind, NDArray[np.float64]]]:
    """Choose rows that a reader must reproduce: ordinary ones, ones on thresholds and beside them, ones with gaps.

    Args:
        ensemble: The model.
        rows: Real rows, shape (n, n_features); at least one.
    """
    random = np.random.default_rng(0)
    frozen = representatives(ensemble, rows[random.permutation(len(rows))[:GOLDEN_ORDINARY]])
    chosen: list[tuple[Kind, NDArray[np.float64]]] = [("ordinary", row) for row in frozen]
    asked = [(f, t) for f, values in enumerate(thresholds_by_feature(ensemble)) for t in values if math.isfinite(t)]
    for index in random.permutation(len(asked))[:GOLDEN_THRESHOLDS]:
        feature, threshold = asked[index]
        row = frozen[index % len(frozen)].copy()
        row[feature] = (threshold, math.nextafter(threshold, -math.inf), math.nextafter(threshold, math.inf))[index % 3]
        chosen.append(("threshold", row))
    for index in range(GOLDEN_MISSING):
        row = frozen[index % len(frozen)].copy()
        row[random.random(len(row)) < (index + 1) / GOLDEN_MISSING] = math.nan
        chosen.append(("missing", row))
    return chosen


def cells(rows: NDArray[np.float64]) -> tuple[tuple[Cell, ...], ...]:
    """Give rows as a document holds them: None where missing."""
    return tuple(tuple(None if math.isnan(value) else float(value) for value in row) for row in rows)
