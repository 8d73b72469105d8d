"""The spec's features and reason groups as the schema of a bundle."""

import re
from collections.abc import Mapping

from models.bundle_documents import FeatureSpec, GroupSpec, SchemaDocument
from training.errors import SpecInvalid
from training.spec.family import Spec


def schema_document(spec: Spec, levels: Mapping[str, tuple[str, ...]]) -> SchemaDocument:
    """Write out the spec's features and groups, with the defaults of what it does not say."""
    groups = {group.code: GroupSpec(**group.model_dump()) for group in spec.groups}
    features = []
    for entry in spec.features:
        code = entry.group or re.sub(r"[^A-Z0-9_]", "_", entry.name.upper())
        if entry.group is None:
            groups.setdefault(code, _default_group(code))
        elif entry.group not in groups:
            raise SpecInvalid(f"features.{entry.name}: group {entry.group!r} is not among [[groups]]")
        known = entry.model_dump(exclude={"column", "group", "description"})
        features.append(
            FeatureSpec(
                **known, levels=levels.get(entry.name, ()), group=code, description=entry.description or entry.name
            )
        )
    used = {feature.group for feature in features}
    return SchemaDocument(features=tuple(features), groups=tuple(g for c, g in groups.items() if c in used))


def _default_group(code: str) -> GroupSpec:
    """Give a feature that is in no group one of its own, with a plain sentence."""
    return GroupSpec(code=code, texts={"en": "{pushed}"})
