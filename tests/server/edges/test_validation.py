"""Error messages for requests that violate a rule of the .proto files."""

import re

import pytest

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
