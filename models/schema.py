"""What a model takes: features by name, checked and put in the model's order."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import FeatureSpec, SchemaDocument
from models.errors import ValueProblem

FeatureInput = float | str  # a number, or the name of a level
UNSEEN = -1.0  # the code of a level that training did not know; it is in no set of any split
UNSEEN_LEVEL = "(a level that training did not know)"


class Schema:
    """The features of one model, with look-up by name.

    Attributes:
        features: In the order in which the model takes them.
    """

    def __init__(self, document: SchemaDocument) -> None:
        self.document = document
        self.features = document.features
        self.names = tuple(feature.name for feature in self.features)
        self.position = {name: index for index, name in enumerate(self.names)}
        self.group = {group.code: group for group in document.groups}

    @cached_property
    def feature_set_digest(self) -> str:
        """Name the feature set: SHA-256 over what decides whether a stored value still means the same."""
        meaning = [[f.name, f.kind, f.unit, f.min, f.max, *f.levels] for f in self.features]
        return hashlib.sha256(json.dumps(meaning, separators=(",", ":")).encode()).hexdigest()

    def row(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """Give one row, shape (1, n_features), NaN where a feature has no value."""
        row = np.full((1, len(self.features)), np.nan)
        for name, value in values.items():
            row[0, self.position[name]] = value
        return row

    def encode_value(self, name: str, value: FeatureInput) -> float:
        """Give the number that the model takes for a value: of a level its code, UNSEEN where training knew none."""
        if not isinstance(value, str):
            return value
        levels = self.features[self.position[name]].levels
        return float(levels.index(value)) if value in levels else UNSEEN

    def decode_value(self, name: str, number: float) -> FeatureInput:
        """Give the value that a number of the model stands for: of a code its level."""
        feature = self.features[self.position[name]]
        if feature.kind == "number":
            return number
        known = 0 <= number < len(feature.levels)
        return feature.levels[int(number)] if known else UNSEEN_LEVEL

    def missing_mandatory(self, known: Iterable[str]) -> list[str]:
        """Give the mandatory features that are not among the known ones, in schema order."""
        have = set(known)
        return [feature.name for feature in self.features if feature.mandatory and feature.name not in have]

    def problems(self, values: Mapping[str, FeatureInput], *, decides: bool) -> list[ValueProblem]:
        """Find everything that is wrong with a caller's values.

        Args:
            values: By feature name, as the caller gave them.
            decides: True where the answer will be a decision: a value for a STORE feature is refused.
        """
        return [
            problem
            for name, value in sorted(values.items())
            for problem in self._value_problems(name, value, decides=decides)
        ]

    def _value_problems(self, name: str, value: FeatureInput, *, decides: bool) -> list[ValueProblem]:
        """Find what is wrong with one value."""
        if name not in self.position:
            known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")  # noqa: PLR2004 - a line
            return [ValueProblem(name, f"is not a feature of this model; it has {known}", "UNKNOWN_FEATURE")]
        feature = self.features[self.position[name]]
        found = []
        if decides and feature.source == "STORE":
            found.append(
                ValueProblem(name, "comes from the feature store and is not the caller's to give", "SOURCE_NOT_ALLOWED")
            )
        if isinstance(value, str) != (feature.kind == "category"):
            takes = "a level's name, not a number" if feature.kind == "category" else "a number, not a level"
            found.append(ValueProblem(name, f"takes {takes}", "WRONG_KIND"))
        elif not isinstance(value, str) and not is_in_range(feature, value):
            found.append(ValueProblem(name, f"must be {_allowed_range(feature)}", "OUT_OF_RANGE"))
        return found


def is_in_range(feature: FeatureSpec, value: float) -> bool:
    """Tell whether the value is finite and within the feature's bounds, both inclusive."""
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    return bool(np.isfinite(value) and low <= value <= high)


def _allowed_range(feature: FeatureSpec) -> str:
    """Say in words what values a feature takes."""
    unit = f" {feature.unit}" if feature.unit else ""
    if feature.min is not None and feature.max is not None:
        return f"from {feature.min:g} to {feature.max:g}{unit}"
    if feature.min is not None:
        return f"at least {feature.min:g}{unit}"
    if feature.max is not None:
        return f"at most {feature.max:g}{unit}"
    return f"a finite number{unit and ' of' + unit}"
