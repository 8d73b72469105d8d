"""Which bundle scores, and whether it fits the spec with which it is asked."""

from collections.abc import Callable
from pathlib import Path

from models.bundle import Bundle, read_bundle
from models.bundle_documents import FeatureSpec
from models.catalog import decline_family, find_bundle, read_active
from training.errors import SpecInvalid
from training.sources.snapshots import row_definition
from training.spec import Spec, schema_document


def select_bundle(bundles: Path, family: str, named: str | None, option: str = "--bundle") -> Bundle:
    """Read the bundle that is named, else the one that is active for the family.

    Raises:
        SpecInvalid: Not one bundle is active, or the one named is of another family.
    """
    active = sorted(set(read_active(bundles, family).values()))
    if named is None and len(active) != 1:
        listed = f" ({', '.join(one[:12] for one in active)})" if active else ""
        raise SpecInvalid(f"{family}: {len(active)} bundles are active{listed}; name one with {option}")
    bundle = read_bundle(find_bundle(bundles, named or active[0]))
    if bundle.manifest.family != family:
        raise SpecInvalid(
            f"bundle {bundle.bundle_id[:12]} is of the family {bundle.manifest.family!r}, not {family!r}; "
            f"name another with {option}"
        )
    return bundle


def select_decline_bundle(bundles: Path, family: str, named: str | None) -> Bundle | None:
    """Read the bundle of the second output: the one named, else the active one of the family FAMILY_decline, if any."""
    if named is None and not read_active(bundles, decline_family(family)):
        return None
    return select_bundle(bundles, decline_family(family), named, "--decline")


def check_compatible(spec: Spec, spec_sha256: str, bundle: Bundle, say: Callable[[str], None]) -> None:
    """Refuse a spec by which a row would mean something else than it meant to the bundle, and say what cannot be known.

    Raises:
        SpecInvalid: Names the features, and the rules of the snapshots, that differ.
    """
    named = f"bundle {bundle.bundle_id[:12]}"
    second = bundle.manifest.family == decline_family(spec.family)
    if not second and bundle.manifest.made_from.get("spec_sha256") != spec_sha256:
        say(f"the spec was changed since {named} was made; its features and snapshots are compared")
    problems = [] if second else _changed_features(spec, bundle)
    if spec.snapshots is not None:
        now, then = row_definition(spec.snapshots), bundle.manifest.made_from
        if second:
            now.pop("snapshots.outcome")
        if not set(now) & set(then):
            say(f"{named} is older than this check: it does not say by which features.sql and snapshots it was made")
        problems += [
            f"  {name}: {then[name]} in the bundle, {value} now"
            for name, value in now.items()
            if then.get(name, value) != value
        ]
    if problems:
        way_out = "fit anew, or take the spec and the release that the bundle was made with"
        raise SpecInvalid("\n".join([f"{named} was made from something else than the spec says:", *problems, way_out]))


def _changed_features(spec: Spec, bundle: Bundle) -> list[str]:
    """Name the features that mean something else to the bundle; a spec without [[features]] takes those of the bundle."""
    if not spec.features:
        return []
    levels = {feature.name: feature.levels for feature in bundle.schema.features if feature.kind == "category"}
    now = {feature.name: _meaning(feature) for feature in schema_document(spec, levels).features}
    then = {feature.name: _meaning(feature) for feature in bundle.schema.features}
    return [
        f"  features.{name}: {then.get(name, 'not there')} in the bundle, {now.get(name, 'not there')} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def _meaning(feature: FeatureSpec) -> str:
    """Say what a value of a feature is."""
    low, high = ("" if bound is None else f"{bound:.17g}" for bound in (feature.min, feature.max))
    return f"{feature.kind} [{low}, {high}] {feature.unit}".rstrip()
