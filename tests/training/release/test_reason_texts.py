"""A model is not released if a notice in one of its languages would lack a text."""

import re

import pytest

from models.bundle_documents import FeatureSpec, GroupSpec, SchemaDocument
from models.schema import Schema
from training.errors import SpecInvalid
from training.release.reason_texts import check_reason_texts


def schema_with(names: dict[str, dict[str, str]], *, actionable: bool = True) -> Schema:
    """Return a schema of two features in one group with texts in English and German, and with these names."""
    features = tuple(
        FeatureSpec(
            name=name,
            description=name,
            group="DELAY",
            texts={"en": "{value}", "de": "{value}"},
            names=names.get(name, {}),
        )
        for name in ("late", "orders")
    )
    group = GroupSpec(code="DELAY", actionable=actionable, texts={"en": "{pushed}", "de": "{pushed}"})
    return Schema(SchemaDocument(features=features, groups=(group,)))


def test_a_feature_that_a_notice_may_propose_to_change_needs_a_name_in_every_language() -> None:
    check_reason_texts(schema_with({}))  # without any name, notices have the English descriptions
    check_reason_texts(schema_with({"late": {"de": "Verzug"}, "orders": {"de": "Aufträge"}}))
    check_reason_texts(schema_with({"late": {"de": "Verzug"}}, actionable=False))
    with pytest.raises(SpecInvalid, match=re.escape("features.orders.names: has no name in 'de'")):
        check_reason_texts(schema_with({"late": {"de": "Verzug"}}))


def test_names_are_in_the_file_of_the_schema_only_if_there_are_any() -> None:
    without, with_names = schema_with({}), schema_with({"late": {"de": "Verzug"}}, actionable=False)

    assert "names" not in without.document.model_dump_json()
    assert with_names.document.features[0].name_in("de") == "Verzug"
    assert with_names.document.features[0].name_in("en") == "late"
    assert '"names":{"de":"Verzug"}' in with_names.document.model_dump_json()
