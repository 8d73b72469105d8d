"""Error messages for requests that violate a rule of the .proto files."""

import re

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import audit_pb2, evidence_pb2, sample_pb2
from grounds.credit.v1 import credit_pb2
from server.edges import validation
from server.errors import RequestInvalid
from tests.conftest import ROOT


def test_every_pattern_of_the_proto_files_is_explained_in_words() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "protos" / "grounds").rglob("*.proto"))
    patterns = {pattern.replace(r"\\", "\\") for pattern in re.findall(r'pattern\b[^"]*"([^"]*)"', text)}

    assert len(patterns) >= 10
    assert patterns == set(validation._PATTERN_RULES)


def test_a_message_states_the_rule_without_a_regular_expression_or_the_value() -> None:
    request = credit_pb2.ScoreCreditRequest(locale="d3!", product="secret value")
    request.customer.market, request.customer.customer_id = "tw", "?"

    with pytest.raises(RequestInvalid) as caught:
        validation.validate(request)

    problems = {violation.field: violation.problem for violation in caught.value.violations}
    assert problems["customer.market"] == "must be two uppercase letters, such as TW"
    assert problems["customer.customer_id"] == "must be 1 to 64 letters, digits and . _ : -"
    assert problems["locale"] == "must be a language tag, such as de or de-AT"
    assert "^" not in str(caught.value)
    assert "secret" not in str(problems)


def test_control_and_bidirectional_characters_are_rejected_in_every_text_of_a_request() -> None:
    override = credit_pb2.RecordOverrideRequest(comment="looks fine\x1b[8m \u202e", reason_code="A")
    reading = evidence_pb2.ReplayDecisionRequest(purpose="case\u200b 17")
    level = credit_pb2.SimulateCreditRequest()
    level.features["SECTOR"].level = "7\x9b"

    found = {}
    for request in (override, reading, level):
        with pytest.raises(RequestInvalid) as caught:
            validation.validate(request)
        found |= {each.field: each.problem for each in caught.value.violations if each.kind == "HIDDEN_CHARACTERS"}

    assert found == {
        "comment": r"must not contain control or invisible characters, found \x1b, \u202e",
        "purpose": r"must not contain control or invisible characters, found \u200b",
        'features["SECTOR"].level': r"must not contain control or invisible characters, found \x9b",
    }


@pytest.mark.parametrize("character", "\u034f\u115f\u1160\u17b4\u2800\u3164\ufe0f\uffa0\U000e0101")
def test_invisible_characters_that_python_calls_printable_are_rejected(character: str) -> None:
    request = credit_pb2.RecordOverrideRequest(comment=f"x{character}y")

    with pytest.raises(RequestInvalid) as caught:
        validation.validate(request)

    assert "HIDDEN_CHARACTERS" in {each.kind for each in caught.value.violations}


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)]
)
def test_a_time_outside_the_years_1_to_9999_is_rejected_with_its_field(seconds: int, nanos: int) -> None:
    listing = sample_pb2.ListDecisionsRequest()
    listing.filter.end_time.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
    counting = audit_pb2.CountRefusedCallsRequest(start_time=Timestamp(seconds=seconds, nanos=nanos))

    for request, name in ((listing, "filter.end_time"), (counting, "start_time")):
        with pytest.raises(RequestInvalid) as caught:
            validation.validate(request)

        assert [each.field for each in caught.value.violations if each.kind == "TIMESTAMP_RANGE"] == [name]


def test_a_comment_may_have_several_lines_and_letters_of_any_script() -> None:
    request = credit_pb2.RecordOverrideRequest(comment="erste Zeile\nzweite Zeile\t東京 שלום")

    inspection = validation._Inspection()
    inspection.add(request, "")

    assert inspection.violations == []
