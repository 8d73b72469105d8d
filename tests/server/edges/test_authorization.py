"""Roles of every method and status of every error: both tables are complete and agree with the .proto files."""

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from grounds.audit.v1 import audit_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2
from server.edges.authorization import ROLES, authorize
from server.edges.identity.callers import LOAN_DESK
from server.edges.identity.markets import BY_RECORD, MARKET_FIELDS, NO_MARKET
from server.edges.interceptor import CallInterceptor
from server.edges.reflection import v1_descriptor
from server.edges.status import ERROR_STATUSES, INTERNAL
from server.errors import MethodNotAllowed, ServerError
from tests.conftest import ROOT
from tests.server.requests import call_error

STANDARD = (health_pb2.DESCRIPTOR, v1_descriptor(), reflection_pb2.DESCRIPTOR)
OURS = (audit_pb2.DESCRIPTOR, credit_pb2.DESCRIPTOR, churn_pb2.DESCRIPTOR, model_pb2.DESCRIPTOR)
FILES = (*OURS, *STANDARD)
PROTOS = sorted((ROOT / "protos" / "grounds").glob("*/v1/*.proto"))
EVERY_METHOD = {
    *("REQUEST_INVALID", "REQUEST_UNREADABLE", "REQUEST_TOO_LARGE", "METHOD_UNKNOWN", "METHOD_NOT_ALLOWED"),
    *("CALLER_NOT_AUTHENTICATED", "MARKET_NOT_ALLOWED"),
    *("REQUEST_INCOMPLETE", "OVERLOADED", "RATE_EXCEEDED", "SERVER_BUSY", "STORE_UNAVAILABLE", "DRAINING", "INTERNAL"),
}


def method_names() -> list[str]:
    """Return every method of every service that the server registers."""
    services = [service for file in FILES for service in file.services_by_name.values()]
    return [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]


def documented_reasons(text: str) -> dict[str, str]:
    """Return the error reasons in a comment, with their codes."""
    words = re.sub(r"\s*\n\s*//\s?", " ", text)
    return dict(re.findall(r"\b([A-Z][A-Z_]+) \(([A-Z_]+)[),:]", words))


def comment_paragraphs(heading: str) -> Iterator[str]:
    """Return the paragraphs in comments of the .proto files that begin with a text."""
    for proto in PROTOS:
        yield from re.findall(rf"//\s*{heading}(?:.*\n\s*// ?\S.*)*.*", proto.read_text())


def subclasses(error: type[ServerError]) -> set[type[ServerError]]:
    """Return all subclasses of an error, direct and indirect."""
    return {kind for child in error.__subclasses__() for kind in {child, *subclasses(child)}}


def test_every_method_has_roles_and_every_entry_is_a_method() -> None:
    assert sorted(ROLES) == sorted(method_names())
    assert all(ROLES.values())


def test_every_method_of_our_services_states_which_market_a_request_asks_about() -> None:
    """The field that each entry states must exist, because the market of a restricted caller is checked with it."""
    ours = {
        f"/{service.full_name}/{method.name}": method.input_type
        for file in OURS
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert sorted(MARKET_FIELDS) == sorted(ours)
    for method, path in MARKET_FIELDS.items():
        message = ours[method]
        names = {each.name for each in message.fields}
        if path == BY_RECORD:
            assert "decision_id" in names
        elif path == NO_MARKET:
            assert not names & {"customer", "customers", "filter", "decision_id"}
        else:
            *outer, last = path.split(".")
            for name in outer:
                inner = message.fields_by_name[name].message_type
                assert inner is not None
                message = inner
            assert message.fields_by_name[last].type == FieldDescriptor.TYPE_STRING


def test_the_server_serves_every_service_of_the_proto_files() -> None:
    declared = {name for proto in PROTOS for name in re.findall(r"^service (\w+)", proto.read_text(), re.MULTILINE)}

    assert declared == {"AuditService", "CreditService", "ChurnService", "ModelService"}
    assert all(descriptor_pool.Default().FindServiceByName(method.split("/")[1]) for method in method_names())


def test_a_role_may_call_only_its_own_methods() -> None:
    authorize("/grounds.credit.v1.CreditService/ScoreCredit", frozenset({LOAN_DESK}))
    for method in ("/grounds.churn.v1.ChurnService/GetChurnRisk", "/grounds.weather.v1.WeatherService/GetRain"):
        with pytest.raises(MethodNotAllowed):
            authorize(method, frozenset({LOAN_DESK}))


@pytest.mark.parametrize("service", ["grounds.weather.v1.WeatherService", "acme.weather.v1.WeatherService"])
async def test_a_method_without_an_entry_is_denied_to_every_role(service: str) -> None:
    async def get_rain(_request: bytes, _context: object) -> bytes:
        return b"rain"

    server = grpc.aio.server(interceptors=[CallInterceptor(request_bytes_max=1024)])
    handlers = {"GetRain": grpc.unary_unary_rpc_method_handler(get_rain)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        error = await call_error(channel.unary_unary(f"/{service}/GetRain")(b""))
    await server.stop(None)

    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "METHOD_NOT_ALLOWED")
    assert error.metadata == {"method": f"/{service}/GetRain"}


def test_every_error_has_a_status_of_its_own() -> None:
    reasons = [meaning.reason for meaning in ERROR_STATUSES.values()]

    assert set(ERROR_STATUSES) == subclasses(ServerError)
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", reason) for reason in reasons)


def test_the_table_and_the_proto_files_have_equal_reasons_and_codes() -> None:
    documented = {}
    for paragraph in (*comment_paragraphs("Reasons:"), *comment_paragraphs("A failed call is")):
        for reason, code in documented_reasons(paragraph).items():
            assert documented.setdefault(reason, code) == code

    assert documented == {meaning.reason: meaning.code.name for meaning in (*ERROR_STATUSES.values(), INTERNAL)}


def test_every_method_documents_its_reasons_and_every_service_the_common_reasons() -> None:
    general = [documented_reasons(paragraph) for paragraph in comment_paragraphs("A failed call is")]
    particular = list(comment_paragraphs("Reasons:"))

    assert [set(reasons) for reasons in general] == [EVERY_METHOD] * len(OURS)
    assert len(particular) == sum(len(s.methods) for f in OURS for s in f.services_by_name.values())
    assert all(documented_reasons(paragraph) or "none of its own" in paragraph for paragraph in particular)


def test_the_proto_files_are_found() -> None:
    assert {path.name for path in PROTOS} >= {Path(file.name).name for file in OURS}
