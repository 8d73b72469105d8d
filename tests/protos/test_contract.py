"""The contract is checked as it is, and its rules refuse what its comments say they refuse."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from protovalidate import Validator

from grounds.audit.v1 import audit_pb2, bodies_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds.customer.v1.customer_pb2 import Customer
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2
from tests.conftest import ROOT

VALIDATOR = Validator()
LOCALES = (
    (credit_pb2.ScoreCreditRequest, "locale"),
    (credit_pb2.SimulateCreditRequest, "locale"),
    (credit_pb2.RecordOverrideRequest, "locale"),
    (credit_pb2.GetPolicyRequest, "locale"),
    (churn_pb2.GetChurnRiskRequest, "locale"),
    (churn_pb2.BatchGetChurnRisksRequest, "locale"),
    (churn_pb2.ListChurnRisksRequest, "locale"),
    (churn_pb2.ListChurnRiskChangesRequest, "locale"),
    (churn_pb2.ExportChurnRisksRequest, "locale"),
)
# What a debugger or a log must not print of a message; contract: debug_redact.
REDACTED = {
    *(("ChurnRiskRow", name) for name in ("customer_id", "suppressions", "drivers", "features", "contributions")),
    *(("ChurnEvidence", name) for name in ("row", "features")),
    ("Customer", "customer_id"),
    ("ScoreCreditRequest", "features"),
    ("ScoreCreditRequest", "facts"),
    ("SimulateCreditRequest", "features"),
    ("SimulateCreditRequest", "facts"),
    ("RecordOverrideRequest", "granted_amount"),
    ("RecordOverrideRequest", "user_id"),
    ("RecordOverrideRequest", "second_user_id"),
    ("RecordOverrideRequest", "comment"),
    ("CustomerDecision", "requested_amount"),
    ("Override", "granted_amount"),
    ("Override", "user_id"),
    ("Override", "second_user_id"),
    ("Override", "comment"),
    ("EventRecord", "request"),
    ("EventRecord", "answer"),
    ("FeatureChange", "current"),
    ("FeatureChange", "proposed"),
    ("FeatureChange", "text"),
    ("Contribution", "value"),
    ("Reason", "text"),
    ("DecisionRecord", "request"),
    ("DecisionRecord", "answer"),
    ("DecisionRecord", "features"),
    ("DecisionRecord", "numbers"),
    ("FedFeature", "value"),
    ("FedFeature", "number"),
    ("ChurnRisk", "suppressions"),
    ("ExportChurnRisksResponse", "arrow_stream"),
}


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contract's own check over a copy of it."""
    command = [sys.executable, str(folder / "contract.py"), "check"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the contract with all that is generated from it."""
    return shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_contract_as_it_is_passes_its_check(copy: Path) -> None:
    done = check(copy)

    assert done.returncode == 0, done.stdout + done.stderr


def edit(path: Path, right: str, wrong: str) -> None:
    """Change one place of a file."""
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))


def test_a_generated_file_that_was_edited_fails_the_check(copy: Path) -> None:
    edit(copy / "grounds/credit/v1/credit_pb2_grpc.py", "class CreditServiceStub", "# mine\nclass CreditServiceStub")

    done = check(copy)

    assert done.returncode != 0
    assert "protos/grounds/credit/v1/credit_pb2_grpc.py is not what the contract generates" in done.stdout


def test_a_breaking_change_fails_the_check_which_reports_everything_that_is_wrong_at_once(copy: Path) -> None:
    (copy / "grounds/churn/v1/churn_pb2.pyi").unlink()
    proto = copy / "grounds/credit/v1/credit.proto"
    edit(proto, "  string grade = 5;\n", "\n")
    edit(proto, "double pd = 3;", "float pd = 3;")
    edit(proto, "  double approve_max_pd = 2;", "  double approve_max_pd = 2;\n\n   string uncommented = 9;")

    done = check(copy)

    assert done.returncode != 0
    for message in (
        "protos/grounds/churn/v1/churn_pb2.pyi is not what the contract generates",
        "protos/grounds/credit/v1/credit_pb2.py is not what the contract generates",
        'changed type from "double" to "float"',
        'Previously present field "5" with name "grade"',
        'Field "uncommented" should have a non-empty comment',
        "-   string uncommented = 9;",
    ):
        assert message in done.stdout


def problems(message: Message) -> set[str]:
    """Return the fields that break a rule, also those of nested messages."""
    violations = VALIDATOR.collect_violations(message)
    return {
        ".".join(part.field_name for part in violation.proto.field.elements)  # type: ignore[union-attr] # every rule is one of a field
        for violation in violations
    }


@pytest.mark.parametrize("market", ["", "D", "DEU", "de", "De", "D1", "DE\n", " DE", "ÄÖ", "\uff24\uff25"], ids=ascii)
def test_a_market_that_is_not_two_capital_letters_is_refused(market: str) -> None:
    assert problems(Customer(market=market, customer_id="1")) == {"market"}
    assert problems(churn_pb2.ListChurnRisksRequest(market=market)) == {"market"}


@pytest.mark.parametrize("customer_id", ["", "a b", "ä", "x" * 65, "1\n", "a/b", "a%b", "\x00", "1\u200b"], ids=ascii)
def test_a_customer_number_with_other_signs_or_too_long_is_refused(customer_id: str) -> None:
    assert problems(Customer(market="TW", customer_id=customer_id)) == {"customer_id"}


@pytest.mark.parametrize("customer_id", ["1", "x" * 64, "A.b_c:d-9"])
def test_a_customer_number_of_the_signs_that_the_comment_names_is_taken(customer_id: str) -> None:
    assert problems(Customer(market="TW", customer_id=customer_id)) == set()


@pytest.mark.parametrize(("kind", "field"), LOCALES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_locale_is_absent_or_bcp_47(kind: type[Message], field: str) -> None:
    for right in ("", "de", "gsw", "de-AT", "zh-Hant-TW"):
        assert field not in problems(kind(**{field: right}))
    for bad in ("d", "DE", "de_AT", "german", "de-", "de-A", "de\n", "de-AT-1-2-3-4"):
        assert field in problems(kind(**{field: bad}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_is_finite(value: float) -> None:
    assert problems(explain_pb2.FeatureValue(number=value)) == {"number"}


def test_a_level_has_1_to_128_characters() -> None:
    assert problems(explain_pb2.FeatureValue(level="")) == {"level"}
    assert problems(explain_pb2.FeatureValue(level="x" * 129)) == {"level"}
    assert problems(explain_pb2.FeatureValue(level="ä" * 128)) == set()
    assert problems(explain_pb2.FeatureValue(number=0.0)) == set()


def test_a_bundle_is_named_by_64_hexadecimal_digits_and_a_family_by_a_small_word() -> None:
    for bad in ("", "0" * 63, "0" * 65, "G" * 64, "A" * 64):
        assert problems(model_pb2.GetModelRequest(bundle_id=bad)) == {"bundle_id"}
    for bad in ("Credit", "1credit", "a" * 33, "cre dit"):
        assert problems(model_pb2.ListModelsRequest(family=bad)) == {"family"}
    assert problems(model_pb2.ListModelsRequest()) == set()


def test_values_and_words_about_a_customer_are_not_printed_by_a_debugger() -> None:
    modules = (audit_pb2, bodies_pb2, credit_pb2, churn_pb2, explain_pb2, model_pb2)
    messages = [message for module in modules for message in module.DESCRIPTOR.message_types_by_name.values()]
    fields: list[FieldDescriptor] = [field for m in [*messages, Customer.DESCRIPTOR] for field in m.fields]

    redacted = {
        (f.containing_type.name, f.name)
        for f in fields
        if f.containing_type is not None and f.GetOptions().debug_redact
    }

    assert redacted == REDACTED
