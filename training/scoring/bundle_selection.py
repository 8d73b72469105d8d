"""Selects the bundle that scores, and checks that it fits the spec."""

from collections.abc import Callable
from pathlib import Path

from models.bundle import Bundle, read_bundle
from models.bundle_documents import FeatureSpec
from models.catalog import decline_companion_family, find_bundle, read_active
from training.errors import SpecInvalid
from training.sources.snapshots import recorded_row_definition, row_definition
from training.spec import Spec, schema_document


def select_bundle(bundles: Path, family: str, named: str | None, option: str = "--bundle") -> Bundle:
    """Read the named bundle, or the active one of the family.

    Args:
        bundles: The catalog of bundles.
        family: The family that the bundle must belong to.
        named: Id or prefix of an id; None for the active bundle.
        option: The command-line option to name in errors.

    Raises:
        SpecInvalid: No bundle or more than one bundle is active, or the named one belongs to another family.
    """
    active = sorted(set(read_active(bundles, family).values()))
    if named is None and len(active) != 1:
        listed = f" ({', '.join(one[:12] for one in active)})" if active else ""
        raise SpecInvalid(f"{family}: {len(active)} bundles are active{listed}; name one with {option}")
    bundle = read_bundle(find_bundle(bundles, named or active[0]))
    if bundle.manifest.family != family:
        raise SpecInvalid(
            f"bundle {bundle.bundle_id[:12]} belongs to the family {bundle.manifest.family!r}, not {family!r}; "
            f"name another with {option}"
        )
    return bundle


def select_decline_bundle(bundles: Path, family: str, named: str | None) -> Bundle | None:
    """Read the bundle that predicts a decline of spend: the named one, or the active one of the family FAMILY_decline.

    Returns:
        None if none is named and none is active.

    Raises:
        SpecInvalid: More than one bundle is active, or the named one belongs to another family.
    """
    if named is None and not read_active(bundles, decline_companion_family(family)):
        return None
    return select_bundle(bundles, decline_companion_family(family), named, "--decline")


def check_compatible(spec: Spec, spec_sha256: str, bundle: Bundle, info: Callable[[str], None]) -> None:
    """Raise SpecInvalid if rows of the spec have another meaning than the rows that the bundle was fitted on.

    Args:
        spec: The spec of the rows.
        spec_sha256: Its digest.
        bundle: A bundle of the spec's family, or of its decline family.
        info: Called with a notice if the spec has changed in another way, or the bundle does not record its rows.

    Raises:
        SpecInvalid: Lists the features, and the rules of the snapshots, that differ.
    """
    label = f"bundle {bundle.bundle_id[:12]}"
    is_decline = bundle.manifest.family == decline_companion_family(spec.family)
    if not is_decline and bundle.manifest.made_from.get("spec_sha256") != spec_sha256:
        info(f"the spec has changed since {label} was fitted; checking that features and snapshots are the same")
    problems = [] if is_decline else _changed_features(spec, bundle)
    if spec.snapshots is not None:
        now, then = row_definition(spec.snapshots), recorded_row_definition(bundle.manifest.made_from)
        if is_decline:  # its own spec has another outcome by design
            now.pop("snapshots.outcome")
        if not set(now) & set(then):
            info(f"{label} does not record its features.sql and snapshots, so they are not checked")
        problems += [
            f"  {name}: {then[name]} in the bundle, {value} now"
            for name, value in now.items()
            if then.get(name, value) != value
        ]
    if problems:
        way_out = "fit again, or use the spec and the release that the bundle was fitted with"
        raise SpecInvalid("\n".join([f"{label} does not fit the spec:", *problems, way_out]))


def _changed_features(spec: Spec, bundle: Bundle) -> list[str]:
    """Return the features with another meaning in the bundle; none for a spec without [[features]]."""
    if not spec.features:
        return []
    levels = {feature.name: feature.levels for feature in bundle.schema.features if feature.kind == "category"}
    now = {feature.name: _meaning(feature) for feature in schema_document(spec, levels).features}
    then = {feature.name: _meaning(feature) for feature in bundle.schema.features}
    return [
        f"  features.{name}: {then.get(name, 'missing')} in the bundle, {now.get(name, 'missing')} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def _meaning(feature: FeatureSpec) -> str:
    """Return kind, range and unit of a feature as one text."""
    low, high = ("" if bound is None else f"{bound:.17g}" for bound in (feature.min, feature.max))
    return f"{feature.kind} [{low}, {high}] {feature.unit}".rstrip()
