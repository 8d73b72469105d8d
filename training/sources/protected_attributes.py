"""Reads the protected attributes: columns that the model must not use, and that only the fairness tables use."""

import math
from itertools import pairwise

import pandas as pd

from training.errors import SpecInvalid
from training.spec import AttributeSpec, Spec

# A feature name cannot contain a colon, so no feature can have the name of an attribute column.
ATTRIBUTE_PREFIX = "attribute:"


def attribute_columns(spec: Spec, cells: pd.DataFrame) -> dict[str, pd.Series]:
    """Return a column for each protected attribute, with the group of every row, or None if the value is missing.

    Args:
        spec: The spec.
        cells: The values of each attribute in the column `attribute:COLUMN`: numbers for bands, otherwise text.

    Raises:
        SpecInvalid: The column of an attribute is also the column of a feature.
    """
    columns = {feature.column or feature.name for feature in spec.features}
    attributes = spec.fairness.attributes
    if shared := [attribute.column for attribute in attributes if attribute.column in columns]:
        raise SpecInvalid(
            f"fairness.attributes: {', '.join(shared)} must not also be features; remove them from fairness.attributes or "
            "from the features"
        )
    return {
        ATTRIBUTE_PREFIX + attribute.column: _group_names(attribute, cells[ATTRIBUTE_PREFIX + attribute.column])
        for attribute in attributes
    }


def _group_names(spec: AttributeSpec, column: pd.Series) -> pd.Series:
    """Return the name of the group of every row."""

    def name(value: object) -> str | None:
        if pd.isna(value):  # type: ignore[call-overload]  # pandas-stubs do not accept any object
            return None
        if spec.bands:
            return _band_name(spec.bands, float(str(value)))
        return spec.names.get(str(value), str(value))

    return pd.Series([name(value) for value in column.tolist()], index=column.index, dtype=object)


def _band_name(bands: tuple[float, ...], value: float) -> str:
    """Return the name of the band that contains a number; a band contains its lower bound, but not its upper bound."""
    if value < bands[0]:
        return f"below {bands[0]:g}"
    for low, high in pairwise((*bands, math.inf)):
        if value < high and high != math.inf:
            return f"{low:g} to below {high:g}"
    return f"{bands[-1]:g} and above"
