"""Matches the features and levels of a model that was fitted elsewhere with those of a spec."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import lightgbm

from training.errors import ModelRejected, quote_name, shorten_list
from training.export.trees import CategoricalSplit, Ensemble, tree_splits
from training.sources.default_features import feature_names
from training.sources.labels import canonical_label
from training.spec import FeatureEntry, Spec, level_problem, toml_text

_SHOWN = 8
_LEVELS_SHOWN = 5


def match_features(spec: Spec, booster: lightgbm.Booster, ensemble: Ensemble) -> Spec:
    """Return the spec with the features of a model in the order of its columns, and with the levels of its categories.

    A feature of the spec matches the model's feature that has its name, or the name of its column. LightGBM replaces
    spaces in names with underscores, so a column with spaces in its name matches the name with underscores.

    Args:
        spec: The spec. If it lists no features, the features are those of the model.
        booster: The model.
        ensemble: Its trees.

    Raises:
        ModelRejected: The features differ from those of the spec, or the levels of a category are unknown; the message lists
            every difference.
    """
    kinds = _feature_kinds(booster, ensemble)
    features = spec.features or _model_features(booster, kinds)
    names = booster.feature_name()
    if problems := [*_name_problems(features, names)] or [*_kind_problems(features, kinds)]:
        raise _mismatch(problems)
    codes = _largest_codes(features, booster)
    return spec.model_copy(update={"features": _with_levels(features, booster.pandas_categorical or [], codes)})


def _feature_kinds(booster: lightgbm.Booster, ensemble: Ensemble) -> list[str | None]:
    """Return "number" or "category" for each feature; None for a feature that was constant when the model was fitted."""
    infos = booster.dump_model()["feature_infos"]
    split = {one.feature: one for tree in ensemble.trees for one in tree_splits(tree)}
    kinds: list[str | None] = []
    for position, name in enumerate(booster.feature_name()):
        if position in split:
            kinds.append("category" if isinstance(split[position], CategoricalSplit) else "number")
        else:
            kinds.append(("category" if infos[name]["values"] else "number") if name in infos else None)
    return kinds


def _model_features(booster: lightgbm.Booster, kinds: Sequence[str | None]) -> tuple[FeatureEntry, ...]:
    """Return a feature of a spec for each feature of a model."""
    columns = booster.feature_name()
    return tuple(
        FeatureEntry.model_validate(
            {
                "name": name,
                "kind": kind or "number",
                "column": None if name == column else column,
                "description": "" if name == column else column,
            }
        )
        for name, column, kind in zip(feature_names(columns), columns, kinds, strict=True)
    )


def _name_problems(features: Sequence[FeatureEntry], names: Sequence[str]) -> Iterator[str]:
    """Yield a problem for each feature that only the spec or only the model has, or for a different order."""
    found = [_model_name(feature, names) for feature in features]
    unknown = [_feature_label(feature) for feature, name in zip(features, found, strict=True) if name is None]
    missing = [name for name in names if name not in found]
    if unknown:
        listed = ", ".join(shorten_list(unknown, _SHOWN, ""))
        yield f"features that the model does not have: {listed}; remove them from the spec"
    if missing:
        yield (
            f"features of the model that the spec does not list: {_name_list(missing)}; add a [[features]] for each, whose name or "
            "column is the name in the model"
        )
    if unknown or missing:
        return
    for number, (own, model) in enumerate(zip_longest(found, names), 1):
        if own != model:
            yield (
                f"the features have a different order: feature {number} is {model!r} in the model and {own!r} in the spec; list the "
                f"[[features]] in the order of the model: {_name_list(names)}"
            )
            return


def _model_name(feature: FeatureEntry, names: Sequence[str]) -> str | None:
    """Return the name that a feature of the spec has in the model; None if the model does not have the feature."""
    for name in (feature.name, (feature.column or feature.name).replace(" ", "_")):
        if name in names:
            return name
    return None


def _kind_problems(features: Sequence[FeatureEntry], kinds: Sequence[str | None]) -> Iterator[str]:
    """Yield a problem for each feature that is a number in the spec and a category in the model, or the reverse."""
    for feature, kind in zip(features, kinds, strict=True):
        label = _feature_label(feature)
        if kind is None or kind == feature.kind:
            continue
        if kind == "category":
            yield f"{label}: the model was fitted with it as a category; set kind = 'category' in the spec"
        else:
            yield (
                f"{label}: the model was fitted with it as a number (an ordered category of pandas is a number, too), but the spec "
                "has kind = 'category'; set kind = 'number', and use numbers in the data, or fit the model with an unordered category"
            )


def _largest_codes(features: Sequence[FeatureEntry], booster: lightgbm.Booster) -> dict[str, int]:
    """Return the largest code of each category that the model was fitted on, by name of the feature in the spec."""
    infos = booster.dump_model()["feature_infos"]
    found = zip(features, booster.feature_name(), strict=True)
    return {own.name: max(infos[name]["values"]) for own, name in found if infos.get(name, {}).get("values")}


def _with_levels(
    features: Sequence[FeatureEntry], lists: Sequence[Sequence[Any]], codes: Mapping[str, int]
) -> tuple[FeatureEntry, ...]:
    """Return the features with the levels that the model was fitted with.

    A model that was fitted on a pandas frame has a list of levels for each category (`pandas_categorical`), in the order of
    the columns. For every other category, the spec must list the levels.

    Args:
        features: The features of the spec, in the order of the model.
        lists: `pandas_categorical`.
        codes: The largest code of each category, by name of the feature.
    """
    categories = [feature for feature in features if feature.kind == "category"]
    unlisted = [feature for feature in categories if feature.levels is None]
    owners = categories if len(lists) == len(categories) else unlisted
    if len(lists) > len(categories) and not unlisted:
        lists = _lists_of(categories, lists)
        owners = categories if lists else unlisted
    if len(lists) != len(owners):
        names = ", ".join(_feature_label(feature) for feature in categories) or "none"
        problem = (
            f"the model has the levels of {len(lists)} categories (pandas_categorical), but the spec has {len(categories)} "
            f"features of kind = 'category' ({names}), {len(unlisted)} of them without levels; for each category without "
            'levels in the model, set levels = ["first", "second", ...] in its [[features]], in the order of the codes on '
            "which the model was fitted; if the model has more, because it was fitted with ordered categories of pandas (which "
            "are numbers) or with a constant category, set the levels of every category"
        )
        raise _mismatch([problem])
    levels = {feature.name: _level_names(values) for feature, values in zip(owners, lists, strict=False)}
    problems = [
        problem
        for feature in categories
        for problem in _level_problems(
            feature, levels.get(feature.name, feature.levels or ()), codes.get(feature.name, -1)
        )
    ]
    if problems:
        raise _mismatch(problems)
    return tuple(
        feature.model_copy(update={"levels": levels[feature.name]}) if feature.name in levels else feature
        for feature in features
    )


def _lists_of(categories: Sequence[FeatureEntry], lists: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Return the lists that have the levels of the given categories, in their order; empty if one has none.

    `pandas_categorical` also has a list for each ordered category, which is a number in the model.
    """
    remaining = iter(lists)
    found = [next((one for one in remaining if _level_names(one) == feature.levels), None) for feature in categories]
    return [] if None in found else [one for one in found if one is not None]


def _level_problems(feature: FeatureEntry, levels: tuple[str, ...], largest_code: int) -> Iterator[str]:
    """Yield a problem for each reason why the levels of a category cannot be used."""
    if feature.levels is not None and feature.levels != levels:
        unnamed = [level for level in levels if level not in feature.levels]
        what = (
            f"the spec does not name {_name_list(unnamed, _LEVELS_SHOWN)}" if unnamed else "the order or number differs"
        )
        yield (
            f"{_feature_label(feature)}: levels: the model was fitted with other levels than the spec lists: {what}; remove levels from the "
            f"spec, or set levels = [{', '.join(toml_text(level) for level in levels[:_LEVELS_SHOWN])}"
            f"{', ...' if len(levels) > _LEVELS_SHOWN else ''}]"
        )
    elif largest_code >= len(levels):
        yield (
            f"{_feature_label(feature)}: levels: the model was fitted with codes up to {largest_code}, but the spec names {len(levels)} levels; "
            "list a level for every code from 0"
        )
    if problem := level_problem(levels):
        yield f"{_feature_label(feature)}: {problem}; fit the model without such levels"


def _feature_label(feature: FeatureEntry) -> str:
    """Return the name of a feature, with its column as the owner wrote it if that differs."""
    return feature.name if feature.column is None else f"{feature.name} (column {quote_name(feature.column)})"


def _level_names(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the levels of a pandas category in the text form of the data: 10 for 10.0, and True for true."""
    return tuple(str(value) if isinstance(value, str | bool) else canonical_label(value) for value in values)


def _mismatch(problems: Sequence[str]) -> ModelRejected:
    """Return the error for a model whose features are not those of the spec."""
    return ModelRejected(
        "\n".join(
            [
                "the model does not fit the spec:",
                *(f"  {problem}" for problem in shorten_list([*problems], _SHOWN, "")),
                "correct the spec, or export the model that was fitted with it",
            ]
        )
    )


def _name_list(names: Sequence[str], shown: int = _SHOWN) -> str:
    """Return names as text, at most `shown` of them."""
    return ", ".join(shorten_list([repr(name) for name in names], shown, ""))
