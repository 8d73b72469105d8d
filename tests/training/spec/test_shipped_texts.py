"""Every feature of the shipped specs can be a reason in every language of its spec, in a sentence for the person who reads it."""

import pytest

from models.reasons import GroupContribution
from models.schema import FeatureInput, Schema
from models.stated_reasons import stated_text
from tests.conftest import ROOT
from training.spec import read_spec
from training.spec.schema import schema_document


def read_schema(name: str) -> Schema:
    """Return the schema of a shipped spec."""
    return Schema(schema_document(read_spec(ROOT / "training" / name), {}))


@pytest.mark.parametrize("name", ["churn.toml", "credit.toml"])
def test_every_feature_has_a_name_and_a_text_in_every_language_of_the_groups(name: str) -> None:
    schema = read_schema(name)
    languages = set.intersection(*(set(group.texts) for group in schema.document.groups))

    assert {"en", "de"} <= languages
    for feature in schema.features:
        assert languages <= set(feature.texts), feature.name
        assert languages - {"en"} <= set(feature.names), feature.name


@pytest.mark.parametrize(
    ("feature", "value", "typical", "en", "de"),
    [
        (
            "purchase_days_faded_180",
            1.4444,
            10.3,
            "Purchase days of the last half year, older ones counting less: 1.4 (typical: 10.3)",
            "Einkaufstage des letzten halben Jahres, ältere zählen weniger: 1,4 (üblich: 10,3)",
        ),
        (
            "own_silence_risk",
            11 / 15,
            2 / 45,
            "Estimated from earlier pauses: 73% chance of 30 more days without a purchase (typical: 4%)",
            "Nach früheren Pausen geschätzt: 73% Wahrscheinlichkeit für 30 weitere Tage ohne Einkauf (üblich: 4%)",
        ),
        (
            "category_overlap_45",
            0.0,
            0.2549,
            "Of the categories of the last 90 days, 0% were bought in both halves of that time (typical: 25%)",
            "Von den Warengruppen der letzten 90 Tage wurden 0% in beiden Hälften dieser Zeit gekauft (üblich: 25%)",
        ),
        (
            "purchase_days_trend_90",
            -0.2,
            0.0,
            "Trend of purchase days, last 90 days against the 90 before: -20% (typical: +0%; -100% means none)",
            "Trend der Einkaufstage, letzte 90 Tage im Vergleich zu den 90 davor: -20% (üblich: +0%; -100% bedeutet keine)",
        ),
        (
            "spend_30",
            18.9,
            90.6,
            "Spent 18.90 USD in the last 30 days (typical: 90.60)",
            "Umsatz der letzten 30 Tage 18,90 USD (üblich: 90,60)",
        ),
        (
            "purchase_days_14",
            1.0,
            2.0,
            "Bought on 1 day of the last 14 (typical: 2)",
            "Einkäufe an 1 der letzten 14 Tage (üblich: 2)",
        ),
    ],
)
def test_a_driver_that_the_sentence_of_its_group_does_not_state_reads_as_a_sentence(
    feature: str, value: float, typical: float, en: str, de: str
) -> None:
    schema = read_schema("churn.toml")
    reason = GroupContribution(schema.features[schema.position[feature]].group, 0.5, 0, (feature,))
    medians: dict[str, FeatureInput | None] = {**dict.fromkeys(schema.names, 1.0), feature: typical}

    for locale, expected in (("en", en), ("de", de)):
        assert stated_text(schema, reason, locale, {feature: value}, medians) == expected
