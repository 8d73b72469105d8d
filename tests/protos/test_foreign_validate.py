"""The generated Python works beside an application that has a buf/validate/validate.proto of its own."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# The application's file: another release of buf.validate, where the option of fields is a mere number.
APPLICATION = """
from google.protobuf import descriptor_pb2, descriptor_pool

file = descriptor_pb2.FileDescriptorProto(name="buf/validate/validate.proto", package="buf.validate")
file.dependency.append("google/protobuf/descriptor.proto")
option = file.extension.add(name="field", number=1159, extendee=".google.protobuf.FieldOptions")
option.type, option.label = {kind}, option.LABEL_OPTIONAL
rules = file.message_type.add(name="FieldRules")
rules.field.add(name="theirs", number=1, type=option.TYPE_STRING, label=option.LABEL_OPTIONAL)
if option.type == option.TYPE_MESSAGE:
    option.type_name = ".buf.validate.FieldRules"
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""
CONTRACT = """
from grounds.audit.v1 import audit_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2

request = credit_pb2.ScoreCreditRequest(request_id="1", locale="de")
assert credit_pb2.ScoreCreditRequest.FromString(request.SerializeToString()) == request
assert request.DESCRIPTOR.fields_by_name["features"].GetOptions().debug_redact
"""
RULES = """
from protovalidate import Validator

violations = Validator().collect_violations(credit_pb2.ScoreCreditRequest(request_id="1"))
found = {violation.proto.rule_id for violation in violations}
assert found == {"required", "string.uuid"}, found
"""
KINDS = {"message": "option.TYPE_MESSAGE", "number": "option.TYPE_INT64"}


def run(program: str) -> None:
    """Run a program in a new process that has our contract and no module of this one."""
    path = {"PYTHONPATH": str(ROOT / "protos")}
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, env=path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("first", ["contract", "application"])
def test_the_contract_and_an_application_with_its_own_rules_load_in_either_order(first: str, kind: str) -> None:
    application = APPLICATION.format(kind=kind)

    run(CONTRACT + application if first == "contract" else application + CONTRACT)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_rules_hold_beside_an_application_with_its_own_rules(kind: str) -> None:
    run(APPLICATION.format(kind=kind) + CONTRACT + RULES)


def test_the_contract_imports_no_module_named_buf() -> None:
    run(CONTRACT + "import sys\nassert 'buf' not in sys.modules")
