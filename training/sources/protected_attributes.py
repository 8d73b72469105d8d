"""Attributes that the model must not see: read beside the features, for the fairness tables alone."""

import math
from itertools import pairwise

import pandas as pd
from pandas.api.types import is_numeric_dtype

from training.errors import DataInvalid, SpecInvalid
from training.spec import AttributeSpec, Spec

# A feature's name holds no colon, so that no feature can ever be an attribute by accident.
ATTRIBUTE_PREFIX = "attribute:"


def attribute_columns(spec: Spec, table: pd.DataFrame) -> dict[str, pd.Series]:
    """Give the group of every row by attribute; None where it is not known.

    Raises:
        SpecInvalid: An attribute is a feature as well.
        DataInvalid: Bands over a column that is no number.
    """
    columns = {feature.column or feature.name for feature in spec.features}
    if seen := [one.column for one in spec.fairness.attributes if one.column in columns]:
        raise SpecInvalid(f"fairness: {', '.join(seen)} are features; what the model sees is not kept out of it")
    return {ATTRIBUTE_PREFIX + one.column: _group_names(one, table[one.column]) for one in spec.fairness.attributes}


def _group_names(spec: AttributeSpec, column: pd.Series) -> pd.Series:
    """Give the name of every row's group."""
    if spec.bands and not is_numeric_dtype(column):
        raise DataInvalid(f"column {spec.column!r}: is {column.dtype}; bands need a number")

    def name(value: object) -> str | None:
        if pd.isna(value):  # type: ignore[call-overload]  # any object may be asked
            return None
        if spec.bands:
            return _band_name(spec.bands, float(str(value)))
        plain = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        return spec.names.get(plain, plain)

    return pd.Series([name(value) for value in column.tolist()], index=column.index, dtype=object)


def _band_name(bands: tuple[float, ...], value: float) -> str:
    """Name the band of a number: below the first, from each to the next, from the last."""
    if value < bands[0]:
        return f"below {bands[0]:g}"
    for low, high in pairwise((*bands, math.inf)):
        if value < high and high != math.inf:
            return f"{low:g} to below {high:g}"
    return f"{bands[-1]:g} and above"
