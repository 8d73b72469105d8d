"""The schema of a model: its features by name, and the validation and encoding of their values."""

import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import FeatureSpec, SchemaDocument
from models.errors import ValueProblem

FeatureInput = float | str  # a number, or the name of a category's level
UNSEEN = -1.0  # code of a level that training did not see; no split of the model contains this code
_UNSEEN_LEVEL = "(a level that training did not know)"
_NAMES_LISTED_MAX = 20  # features that an error message lists


class Schema:
    """The features of one model, with look-up by name.

    Attributes:
        document: The content of schema.json.
        features: The features in the order of the model's columns.
        names: The names of the features, in the same order.
        position: The index of each feature, by name.
        group: The reason groups, by code.
        members: The indexes of each group's features, by code.
        locales: The locales in which every group has a text, so that all reasons of an answer have one language.
        store_features: The features that only the feature store may provide.
        caller_features: The features that only the caller may provide.
        categories: The features whose values are levels.
    """

    def __init__(self, document: SchemaDocument) -> None:
        self.document = document
        self.features = document.features
        self.names = tuple(feature.name for feature in self.features)
        self.position = {name: index for index, name in enumerate(self.names)}
        self.group = {group.code: group for group in document.groups}
        self.members = {
            code: tuple(index for index, feature in enumerate(self.features) if feature.group == code)
            for code in self.group
        }
        self.locales = frozenset.intersection(*(frozenset(group.texts) for group in document.groups))
        self.store_features = frozenset(feature.name for feature in self.features if feature.source == "STORE")
        self.caller_features = frozenset(feature.name for feature in self.features if feature.source == "CALLER")
        self._mandatory = tuple(feature.name for feature in self.features if feature.mandatory)
        self.categories = tuple(feature for feature in self.features if feature.kind == "category")

    @cached_property
    def feature_set_digest(self) -> str:
        """Return the SHA-256, in hexadecimal, of the names, kinds, units, bounds and levels of the features.

        These properties define the meaning of stored values, so two bundles with the same digest can use the same
        stored values.
        """
        meaning = [[f.name, f.kind, f.unit, f.min, f.max, *f.levels] for f in self.features]
        return hashlib.sha256(json.dumps(meaning, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def _level_codes(self) -> dict[str, dict[str, float]]:
        """Return the codes of the levels of every feature."""
        return {feature.name: level_codes(feature.levels) for feature in self.features}

    @cached_property
    def _missing_values(self) -> dict[str, frozenset[FeatureInput]]:
        """Return the values that stand for a missing value, by feature; features without such values are absent."""
        return {feature.name: frozenset(feature.missing) for feature in self.features if feature.missing}

    def stands_for_missing(self, name: str, value: FeatureInput) -> bool:
        """Return whether a value of a feature is one of its codes for a missing value."""
        return name in self._missing_values and value in self._missing_values[name]

    def row(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """Return one row of encoded values, shape (1, n_features), NaN where a feature is missing."""
        if not values.keys() <= self.position.keys():
            raise KeyError("a value belongs to no feature of the schema")
        return np.array([[values.get(name, math.nan) for name in self.names]], dtype=np.float64)

    def encode_value(self, name: str, value: FeatureInput) -> float:
        """Return the number for the model: a number unchanged, a level's code, or UNSEEN for an unknown level."""
        if not isinstance(value, str):
            return value
        codes = self._level_codes[name]
        found = codes.get(value)
        return codes.get(canonical_level(value), UNSEEN) if found is None else found

    def decode_row(self, numbers: Iterable[float]) -> dict[str, FeatureInput]:
        """Return the values of one row of encoded values by feature name, without missing values (NaN)."""
        values: dict[str, FeatureInput] = {
            name: number for name, number in zip(self.names, numbers, strict=True) if not math.isnan(number)
        }
        for feature in self.categories:
            if feature.name in values:
                values[feature.name] = self.decode_value(feature.name, float(values[feature.name]))
        return values

    def decode_value(self, name: str, number: float) -> FeatureInput:
        """Return the value for a number of the model: the name of a level for its code, otherwise the number itself."""
        feature = self.features[self.position[name]]
        if feature.kind == "number":
            return number
        is_known = 0 <= number < len(feature.levels)
        return feature.levels[int(number)] if is_known else _UNSEEN_LEVEL

    def missing_mandatory(self, known: Iterable[str]) -> list[str]:
        """Return the mandatory features that are not in `known`, in the order of the schema."""
        have = set(known)
        return [name for name in self._mandatory if name not in have]

    def problems(self, values: Mapping[str, FeatureInput], *, decides: bool) -> list[ValueProblem]:
        """Return every problem of a caller's values, sorted by feature name; empty if all values are valid.

        Args:
            values: Values by feature name, as the caller sent them.
            decides: Whether the answer will be a decision. In a decision, values for STORE features are rejected.
        """
        return [
            problem
            for name, value in sorted(values.items())
            for problem in self._value_problems(name, value, decides=decides)
        ]

    def _value_problems(self, name: str, value: FeatureInput, *, decides: bool) -> list[ValueProblem]:
        """Return every problem of one value."""
        if name not in self.position:
            known = ", ".join(self.names[:_NAMES_LISTED_MAX]) + (", ..." if len(self.names) > _NAMES_LISTED_MAX else "")
            return [ValueProblem(name, f"is not a feature of this model; the model has {known}", "UNKNOWN_FEATURE")]
        feature = self.features[self.position[name]]
        problems = []
        if decides and feature.source == "STORE":
            problem = "comes from the feature store; leave it out of the request"
            problems.append(ValueProblem(name, problem, "SOURCE_NOT_ALLOWED"))
        if self.stands_for_missing(name, value):
            return problems
        if isinstance(value, str) != (feature.kind == "category"):
            expected = "the name of a level, not a number" if feature.kind == "category" else "a number, not a level"
            problems.append(ValueProblem(name, f"must be {expected}", "WRONG_KIND"))
        elif not isinstance(value, str) and not is_in_range(feature, value):
            problems.append(ValueProblem(name, f"must be {_allowed_range(feature)}", "OUT_OF_RANGE"))
        return problems


def level_codes(levels: Iterable[str]) -> dict[str, float]:
    """Return the code of each level by its name, and by its canonical name if no other level has that name.

    Unicode has several encodings of some characters: é is one code point or two. The canonical name is in the form NFC,
    in which é is one code point.
    """
    codes = {level: float(code) for code, level in enumerate(levels)}
    return {canonical_level(level): code for level, code in codes.items()} | codes


def canonical_level(level: str) -> str:
    """Return the name of a level in NFC, without white space around it."""
    return unicodedata.normalize("NFC", level).strip()


def is_in_range(feature: FeatureSpec, value: float) -> bool:
    """Return True if the value is finite and within the feature's bounds, both inclusive."""
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    return bool(np.isfinite(value) and low <= value <= high)


def _allowed_range(feature: FeatureSpec) -> str:
    """Return the accepted values in words."""
    unit = f" {feature.unit}" if feature.unit else ""
    if feature.min is not None and feature.max is not None:
        return f"from {feature.min:g} to {feature.max:g}{unit}"
    if feature.min is not None:
        return f"at least {feature.min:g}{unit}"
    if feature.max is not None:
        return f"at most {feature.max:g}{unit}"
    return f"a finite number{unit and ' of' + unit}"
