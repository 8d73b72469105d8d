"""What a reason names and writes, on made customers whose right sentences were written by hand."""

import math

import pytest

from models.bundle_documents import FeatureSpec, GroupSpec, SchemaDocument
from models.reasons import GroupContribution, word_in
from models.schema import FeatureInput, Schema
from models.stated_reasons import stated_reasons, stated_text
from server.decisions.inputs import merge_inputs

SENTENCE = {
    "en": "Bought on {days_90:|one=day|other=days} of the last 90 (typical: {days_90.typical}), usually every {gap} days",
    "de": "Einkäufe an {days_90} der letzten 90 Tage (üblich: {days_90.typical}), üblich alle {gap} Tage",
}
SCHEMA = Schema(
    SchemaDocument(
        features=(
            FeatureSpec(
                name="days_90",
                description="Days in 90",
                sign=-1,
                group="HABIT",
                names={"de": "Einkaufstage in 90 Tagen"},
            ),
            FeatureSpec(
                name="days_30",
                description="Days in 30",
                sign=-1,
                group="HABIT",
                names={"de": "Einkaufstage in 30 Tagen"},
            ),
            FeatureSpec(name="gap", description="Usual gap", group="HABIT", names={"de": "Üblicher Abstand"}),
            FeatureSpec(name="recency", description="Days since the last purchase", sign=1, group="RECENCY"),
            FeatureSpec(name="share", description="Share returned", group="SHARE"),
        ),
        groups=(
            GroupSpec(code="HABIT", texts=SENTENCE),
            GroupSpec(code="RECENCY", texts={"en": "{pushed}"}),
            GroupSpec(code="SHARE", texts={"en": "{pushed}"}),
        ),
        reason_rules=2,
    )
)
TYPICAL: dict[str, FeatureInput | None] = {"days_90": 10.0, "days_30": 4.0, "gap": 7.5, "recency": 4.0, "share": None}
TYPICAL_VALUES = {"days_90": 10.0, "days_30": 4.0, "gap": 7.5, "recency": 4.0, "share": 0.0}


def reason_texts(
    pushes: dict[str, float], locale: str = "en", schema: Schema = SCHEMA, **values: float | None
) -> list[str]:
    """Return the sentences of a customer with these contributions and values; every other value is typical."""
    return reason_values(pushes, values, locale, schema)


def reason_values(
    pushes: dict[str, float], values: dict[str, float | None], locale: str = "en", schema: Schema = SCHEMA
) -> list[str]:
    """Return the same for values in a dictionary."""
    known = {name: value for name, value in (TYPICAL_VALUES | values).items() if value is not None}
    contributions = [pushes.get(name, 0.0) for name in schema.names]
    reasons = stated_reasons(schema, contributions, [0] * len(schema.names), known, TYPICAL)
    return [stated_text(schema, reason, locale, known, TYPICAL) for reason in reasons]


def test_the_sentence_of_the_group_is_used_if_it_is_about_the_feature_that_raises_the_risk() -> None:
    assert reason_texts({"days_90": 0.5}, days_90=1.0) == [
        "Bought on 1 day of the last 90 (typical: 10), usually every 7.5 days"
    ]
    assert reason_texts({"days_30": 0.5, "days_90": 0.1}, days_30=0.0, days_90=3.0) == [
        "Days in 30: 0 (typical: 4); Days in 90: 3 (typical: 10)"
    ]


@pytest.mark.parametrize(
    ("name", "value", "is_reason"),
    [
        ("recency", 5.0, True),
        ("recency", 3.0, False),  # more recent than typical
        ("recency", 4.0, False),
        ("recency", 4.001, False),  # written as 4, like the typical value
        ("recency", 4.01, True),
        ("days_30", 5.0, False),
        ("days_30", 3.0, True),
        ("gap", 9.0, True),  # no direction is better
        ("gap", 6.0, True),
        ("gap", 7.5, False),
    ],
)
def test_a_value_that_is_better_than_or_written_like_the_typical_one_is_no_reason(
    name: str, value: float | None, *, is_reason: bool
) -> None:
    stated = reason_values({name: 2.0, "share": 1.0}, {name: value, "share": 0.25})

    assert len(stated) == 1 + is_reason
    assert stated[-1] == "Share returned: 0.25"


ON_AVERAGE = "compared with other customers, this raises the risk on average"
IM_MITTEL = "verglichen mit anderen Kunden erhöht das im Mittel das Risiko"


@pytest.mark.parametrize(
    ("pushes", "values", "en", "de"),
    [
        (
            {"days_90": 0.4, "gap": 0.1},
            {},
            f"Days in 90: 10 ({ON_AVERAGE})",
            f"Einkaufstage in 90 Tagen: 10 ({IM_MITTEL})",
        ),
        ({"days_90": 0.1, "gap": 0.4}, {}, f"Usual gap: 7.5 ({ON_AVERAGE})", f"Üblicher Abstand: 7,5 ({IM_MITTEL})"),
        # Better than typical: neither the group's sentence nor the typical value would be understood.
        (
            {"days_30": 0.4},
            {"days_30": 9.0},
            f"Days in 30: 9 ({ON_AVERAGE})",
            f"Einkaufstage in 30 Tagen: 9 ({IM_MITTEL})",
        ),
    ],
)
def test_a_customer_at_the_medians_whose_score_a_group_raises_gets_the_strongest_value_as_the_reason(
    pushes: dict[str, float], values: dict[str, float | None], en: str, de: str
) -> None:
    assert reason_values(pushes | {"recency": 0.2}, values) == [en]
    assert reason_values(pushes | {"recency": 0.2}, values, "de") == [de]


@pytest.mark.parametrize(
    ("pushes", "values", "reasons"),
    [
        # The group lowers the risk, but one of its values raises it.
        ({"days_90": -0.5, "days_30": 0.2}, {}, [f"Days in 30: 4 ({ON_AVERAGE})"]),
        ({"days_90": -0.5, "days_30": 0.2}, {"days_30": 1.0}, ["Days in 30: 1 (typical: 4)"]),
        (
            {"days_90": -0.5, "recency": -0.2},
            {},
            [
                "Days since the last purchase: 4 (compared with other customers, this lowers the risk least of all values)"
            ],
        ),
        ({}, {}, []),
    ],
)
def test_a_score_that_no_group_raises_has_a_reason_only_if_one_is_required(
    pushes: dict[str, float], values: dict[str, float], reasons: list[str]
) -> None:
    known = TYPICAL_VALUES | values
    contributions = [pushes.get(name, 0.0) for name in SCHEMA.names]
    points = list(range(1, 6))

    assert stated_reasons(SCHEMA, contributions, points, known, TYPICAL) == []
    found = stated_reasons(SCHEMA, contributions, points, known, TYPICAL, is_required=True)

    assert [stated_text(SCHEMA, one, "en", known, TYPICAL) for one in found] == reasons
    for one in found:
        position = SCHEMA.names.index(one.features[0])
        assert (one.log_odds, one.points) == (contributions[position], points[position])


@pytest.mark.parametrize("count", [20, 21, 60])
def test_the_strongest_of_many_equal_groups_is_a_reason(count: int) -> None:
    features = tuple(FeatureSpec(name=f"f{one}", description="A value", group=f"G{one:02d}") for one in range(count))
    groups = tuple(GroupSpec(code=one.group, texts={"en": "{pushed}"}) for one in features)
    schema = Schema(SchemaDocument(features=features, groups=groups, reason_rules=2))
    values: dict[str, FeatureInput] = dict.fromkeys(schema.names, 1.0)

    found = stated_reasons(schema, [0.125] * count, [0] * count, values, dict.fromkeys(schema.names, 0.0))

    assert [one.code for one in found] == ["G00", "G01", "G02", "G03"]


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("zh-Hant", "平均會提高風險"),
        ("zh-TW", "平均會提高風險"),
        ("zh-Hans", "平均会提高风险"),
        ("zh", "平均会提高风险"),
        ("nl", "on average"),
    ],
)
def test_the_effect_of_a_value_is_written_in_the_script_of_the_locale(locale: str, words: str) -> None:
    assert words in word_in(locale, "raises")


def test_a_group_that_is_no_reason_makes_room_for_the_next_one() -> None:
    assert reason_texts({"recency": 2.0, "days_90": 1.0}, recency=1.0, days_90=2.0) == [
        "Bought on 2 days of the last 90 (typical: 10), usually every 7.5 days"
    ]


def test_a_missing_value_is_written_in_words_and_never_as_a_dash() -> None:
    assert reason_texts({"days_90": 0.5}, days_90=2.0, gap=None) == ["Days in 90: 2 (typical: 10)"]
    assert reason_texts({"days_90": 0.5}, "de", days_90=2.0, gap=None) == ["Einkaufstage in 90 Tagen: 2 (üblich: 10)"]
    assert reason_texts({"gap": 0.5}, "de", gap=None) == ["Üblicher Abstand: nicht bekannt"]
    assert reason_texts({"recency": 0.5}, recency=None) == ["Days since the last purchase: not known"]
    assert reason_texts({"share": 0.5}, share=0.25) == ["Share returned: 0.25"]  # the typical value is missing


def test_a_special_code_is_written_as_a_missing_value_and_never_as_a_number() -> None:
    document = SCHEMA.document
    features = [
        one.model_copy(update={"missing": (96.0, 98.0)}) if one.name == "recency" else one for one in document.features
    ]
    coded = Schema(document.model_copy(update={"features": tuple(features)}))

    for code in (96.0, 98.0):
        for stored, given in (({"recency": code}, {}), ({}, {"recency": code})):
            merged = merge_inputs(coded, stored, None, given)
            known = float(merged["recency"].value) if merged else None
            texts = reason_texts({"recency": 0.5}, schema=coded, recency=known)
            assert texts == ["Days since the last purchase: not known"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.5, "0.5"),
        (0.04, "0.04"),
        (0.0123456, "0.0123"),
        (1.0, "1"),
        (1.25, "1.25"),
        (12.345, "12.3"),
        (123.45, "123"),
        (-0.5, "-0.5"),
        (1234.5, "1,234"),
        (math.nextafter(1.0, 2.0), "1"),
    ],
)
def test_a_number_without_a_pattern_takes_the_decimals_of_its_size(value: float, written: str) -> None:
    assert reason_texts({"share": 1.0}, share=value) == [f"Share returned: {written}"]


def test_bundles_of_earlier_releases_keep_their_rules_and_their_files() -> None:
    document = SCHEMA.document.model_copy(update={"reason_rules": 1})
    earlier = Schema(document)

    assert reason_texts({"recency": 1.0}, schema=earlier, recency=3.0) == [
        "Days since the last purchase 3 (typical: 4)"
    ]
    assert "reason_rules" not in document.model_dump()
    assert SCHEMA.document.model_dump()["reason_rules"] == 2
    assert stated_text(earlier, GroupContribution("SHARE", 1.0, 0, ("share",)), "en", {"share": 0.5}, TYPICAL).endswith(
        "0 (typical: -)"
    )
