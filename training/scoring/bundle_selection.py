"""Selects the bundle for a scoring run or a feature file, and checks that the bundle fits the spec."""

from collections.abc import Callable
from pathlib import Path

from models.bundle import Bundle, read_bundle
from models.bundle_documents import FeatureSpec
from models.catalog import decline_companion_family, find_bundle, read_active
from training.errors import SpecInvalid
from training.sources.derived_columns import feature_expressions
from training.sources.snapshots import recorded_row_definition, row_definition
from training.spec import Spec, schema_document


def select_bundle(bundles: Path, family: str, named: str | None, option: str = "--bundle") -> Bundle:
    """Read the specified bundle, or the active bundle of the family.

    Args:
        bundles: Folder of the bundle catalog.
        family: Family to which the bundle must belong.
        named: Id or prefix of the id of a bundle; None for the active bundle.
        option: Command-line option that specifies the bundle, for error messages.

    Raises:
        SpecInvalid: Not exactly one bundle is active, or the specified bundle belongs to a different family.
    """
    active = sorted(set(read_active(bundles, family).values()))
    if named is None and len(active) != 1:
        listed = f" ({', '.join(bundle_id[:12] for bundle_id in active)})" if active else ""
        raise SpecInvalid(
            f"{family}: exactly one bundle must be active, got {len(active)}{listed}; specify a bundle with {option}"
        )
    bundle = read_bundle(find_bundle(bundles, named or active[0]))
    if bundle.manifest.family != family:
        raise SpecInvalid(
            f"bundle {bundle.bundle_id[:12]} belongs to the family {bundle.manifest.family!r}, not {family!r}; "
            f"specify a bundle of {family!r} with {option}"
        )
    return bundle


def select_decline_bundle(bundles: Path, family: str, named: str | None) -> Bundle | None:
    """Read the bundle that predicts a decline of spend: the specified one, or the active one of FAMILY_decline.

    Returns:
        The bundle; None if no bundle is specified and the family FAMILY_decline has no active bundle.

    Raises:
        SpecInvalid: More than one bundle is active, or the specified bundle belongs to a different family.
    """
    if named is None and not read_active(bundles, decline_companion_family(family)):
        return None
    return select_bundle(bundles, decline_companion_family(family), named, "--decline")


def check_compatible(spec: Spec, spec_sha256: str, bundle: Bundle, info: Callable[[str], None]) -> None:
    """Check that rows of the spec have the same meaning as the rows on which the bundle was fitted.

    Args:
        spec: The spec of the rows.
        spec_sha256: SHA-256 of the spec.
        bundle: A bundle of the spec's family, or of the decline family that belongs to it.
        info: Function that is called with a notice if the spec file has changed since the fit, or if the bundle does
            not record how its rows were defined.

    Raises:
        SpecInvalid: Features or snapshots differ; the message lists every difference.
    """
    label = f"bundle {bundle.bundle_id[:12]}"
    is_decline = bundle.manifest.family == decline_companion_family(spec.family)
    if not is_decline and bundle.manifest.made_from.get("spec_sha256") != spec_sha256:
        info(f"the spec has changed since {label} was fitted; checking that features and snapshots are the same")
    problems = [] if is_decline else _changed_features(spec, bundle)
    if spec.snapshots is not None:
        now, then = row_definition(spec), recorded_row_definition(bundle.manifest.made_from)
        if is_decline:  # the outcome of a decline family differs by design
            now.pop("snapshots.outcome")
        if not set(now) & set(then):
            info(f"{label} does not record its features.sql and snapshots, so they are not checked")
        problems += [
            f"  {name}: {then[name]} in the bundle, {value} now"
            for name, value in now.items()
            if then.get(name, value) != value
        ]
    recorded, computed = bundle.manifest.made_from, feature_expressions(spec)
    problems += [
        f"  {name}: {recorded[name]} in the bundle, {computed[name]} now"
        for name in computed
        if recorded.get(name, computed[name]) != computed[name]
    ]
    if problems:
        way_out = "fit again, or use the spec and the release that the bundle was fitted with"
        raise SpecInvalid("\n".join([f"{label} does not fit the spec:", *problems, way_out]))


def _changed_features(spec: Spec, bundle: Bundle) -> list[str]:
    """Return a line for each feature whose meaning differs between the bundle and the spec.

    If the spec has no [[features]], no features are compared, and the result is empty.
    """
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
    """Return the kind, the range and the unit of a feature as text."""
    low, high = ("" if bound is None else f"{bound:.17g}" for bound in (feature.min, feature.max))
    return f"{feature.kind} [{low}, {high}] {feature.unit}".rstrip()
