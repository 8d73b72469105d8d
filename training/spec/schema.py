"""Converts the spec's features and reason groups to the schema document of a bundle."""

import hashlib
import re
from collections.abc import Mapping

from models.bundle_documents import FeatureSpec, GroupSpec, SchemaDocument
from training.errors import SpecInvalid
from training.spec.family import Spec

_CODE_CHARACTERS = 63


def schema_document(spec: Spec, levels: Mapping[str, tuple[str, ...]]) -> SchemaDocument:
    """Return the spec's features and groups as a bundle stores them, with every default filled in.

    Args:
        spec: The spec; `features` must list every feature of the model.
        levels: Levels of every category feature, in the order of their codes.

    Raises:
        SpecInvalid: The spec does not define the group of a feature.
    """
    groups = {group.code: GroupSpec(**group.model_dump()) for group in spec.groups}
    features = []
    for entry in spec.features:
        code = entry.group or _group_code(entry.name)
        if entry.group is None:
            groups.setdefault(code, _default_group(code))
        elif entry.group not in groups:
            raise SpecInvalid(
                f"features.{entry.name}.group: must be the code of one of the [[groups]], got {entry.group!r}; correct the code, or add the group"
            )
        known = entry.model_dump(exclude={"column", "group", "description", "levels"})
        features.append(
            FeatureSpec(
                **known, levels=levels.get(entry.name, ()), group=code, description=entry.description or entry.name
            )
        )
    used = {feature.group for feature in features}
    return SchemaDocument(
        features=tuple(features), groups=tuple(g for c, g in groups.items() if c in used), reason_rules=2
    )


def _group_code(name: str) -> str:
    """Return the code of a feature's default reason group. A long name is shortened, and a hash keeps it unique."""
    code = re.sub(r"[^A-Z0-9_]", "_", name.upper())
    if len(code) <= _CODE_CHARACTERS:
        return code
    return f"{code[: _CODE_CHARACTERS - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"


def _default_group(code: str) -> GroupSpec:
    """Return the reason group of a feature that has no group in the spec; its text is the text of the feature."""
    return GroupSpec(code=code, texts={"en": "{pushed}"})
