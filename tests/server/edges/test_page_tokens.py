"""Page tokens: a token of one method is rejected by every other method."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from itertools import permutations
from typing import Any

import grpc
import pytest

from grounds.audit.v1 import activation_pb2, audit_pb2, sample_pb2
from grounds.churn.v1 import churn_pb2 as pb
from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2
from server.config import Settings
from server.edges.identity.callers import Caller
from server.edges.page_tokens import CopyState, ExportCursor, PageTokens, RiskPageCursor, SyncCursor
from server.errors import PageTokenInvalid
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.requests import call_error, score_request
from tests.server.servers import serve

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
RESYNC = (grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED")


def list_risks(serving: Serving, token: str) -> Awaitable[Any]:
    """Request a page of predictions."""
    return serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", page_size=1, page_token=token))


def list_changes(serving: Serving, token: str) -> Awaitable[Any]:
    """Request a page of a synchronization."""
    request = pb.ListChurnRiskChangesRequest(market="DE", page_size=1, page_token=token)
    return serving.churn.ListChurnRiskChanges(request)


def list_changes_since(serving: Serving, token: str) -> Awaitable[Any]:
    """Request the changes since a delta token."""
    return serving.churn.ListChurnRiskChanges(pb.ListChurnRiskChangesRequest(market="DE", delta_token=token))


async def read_export(serving: Serving, token: str) -> list[pb.ExportChurnRisksResponse]:
    """Request the parts of an export."""
    request = pb.ExportChurnRisksRequest(market="DE", resume_token=token)
    return [part async for part in serving.churn.ExportChurnRisks(request)]


def list_decisions(serving: Serving, token: str) -> Awaitable[Any]:
    """Request a page of decisions."""
    return serving.audit.ListDecisions(sample_pb2.ListDecisionsRequest(page_size=1, page_token=token))


def list_customer_decisions(serving: Serving, token: str) -> Awaitable[Any]:
    """Request a page of the decisions about the customer of `score_request`."""
    request = credit_pb2.ListCustomerDecisionsRequest(customer=score_request().customer, page_size=1, page_token=token)
    return serving.credit.ListCustomerDecisions(request)


def list_activations(serving: Serving, token: str) -> Awaitable[Any]:
    """Request a page of changes of what serves."""
    return serving.audit.ListActivations(activation_pb2.ListActivationsRequest(page_size=1, page_token=token))


async def list_contacts(serving: Serving, token: str) -> Any:
    """Request a page of the contacts with the customer who is most at risk."""
    customer = (await list_risks(serving, "")).churn_risks[0].customer
    return await serving.churn.ListContacts(pb.ListContactsRequest(customer=customer, page_size=1, page_token=token))


async def record_two_contacts(serving: Serving) -> None:
    """Record two contacts with the customer who is most at risk."""
    risk = (await list_risks(serving, "")).churn_risks[0]
    for _ in range(2):
        request = pb.RecordContactRequest(
            request_id=str(uuid.uuid4()),
            customer=risk.customer,
            run_id=risk.run_id,
            contact_time=risk.as_of_time,
            channel=pb.CONTACT_CHANNEL_PHONE,
        )
        await serving.churn.RecordContact(request)


METHODS: dict[str, tuple[Callable[[Serving, str], Awaitable[Any]], tuple[grpc.StatusCode, str]]] = {
    "risks": (list_risks, INVALID),
    "changes": (list_changes, RESYNC),
    "delta": (list_changes_since, RESYNC),
    "export": (read_export, RESYNC),
    "decisions": (list_decisions, INVALID),
    "customer": (list_customer_decisions, INVALID),
    "activations": (list_activations, INVALID),
    "contacts": (list_contacts, INVALID),
}
# The field of the request that has the token, by method of the contract.
FIELDS = {
    ("ListChurnRisks", "page_token"),
    ("ListChurnRiskChanges", "page_token"),
    ("ListChurnRiskChanges", "delta_token"),
    ("ExportChurnRisks", "resume_token"),
    ("ListDecisions", "page_token"),
    ("ListCustomerDecisions", "page_token"),
    ("ListActivations", "page_token"),
    ("ListContacts", "page_token"),
}


def test_every_method_with_a_token_is_tested_here() -> None:
    services = [
        service
        for module in (audit_pb2, credit_pb2, pb, model_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    methods = [method for service in services for method in service.methods]

    found = {
        (each.name, name) for each in methods for name in each.input_type.fields_by_name if name.endswith("_token")
    }

    assert found == FIELDS
    assert len(FIELDS) == len(METHODS)


@pytest.fixture
async def with_runs(churn_settings: Settings) -> AsyncIterator[Serving]:
    """Serve credit and churn."""
    async with serve(churn_settings) as serving:
        yield serving


def page_tokens(serving: Serving) -> PageTokens:
    """Return the server's PageTokens."""
    return PageTokens(lambda: [serving.application.database.ensure_key("page_tokens")], 7, utc_now)


async def read_tokens(serving: Serving) -> dict[str, str]:
    """Return a token of every kind, each checked to be valid."""
    for _ in range(2):
        await serving.credit.ScoreCredit(score_request())
    await record_two_contacts(serving)
    delta = (await read_export(serving, ""))[-1].delta_token
    whole = page_tokens(serving).read(delta, CopyState)
    tokens = {
        "risks": (await list_risks(serving, "")).next_page_token,
        "changes": (await list_changes(serving, "")).next_page_token,
        "delta": delta,
        "export": page_tokens(serving).write(
            ExportCursor("DE", "", whole.run, whole.mark, 0, "NONE", 0, withheld=False)
        ),
        "decisions": (await list_decisions(serving, "")).next_page_token,
        "customer": (await list_customer_decisions(serving, "")).next_page_token,
        "activations": (await list_activations(serving, "")).next_page_token,
        "contacts": (await list_contacts(serving, "")).next_page_token,
    }
    for name, (ask, _) in METHODS.items():
        assert tokens[name], name
        await ask(serving, tokens[name])
    return tokens


async def test_a_token_is_rejected_by_every_method_but_its_own(with_runs: Serving) -> None:
    tokens = await read_tokens(with_runs)

    for of, to in permutations(METHODS, 2):
        ask, meaning = METHODS[to]
        error = await call_error(ask(with_runs, tokens[of]))
        assert (error.code, error.reason) == meaning, f"{of} -> {to}"


async def test_a_signed_token_with_unknown_content_is_rejected_by_every_method(with_runs: Serving) -> None:
    """An older or a newer release may have signed such a token."""
    tokens = page_tokens(with_runs)
    foreign = [
        tokens.sign(content)
        for content in (
            {},
            [],
            7,
            None,
            "decisions",
            ["decisions"],
            ["decisions", "0" * 64],
            ["customer_decisions", "0" * 64, 1, 2],
            {"kind": "PagePlace"},
            {"kind": "PagePlace", "at": 0},
        )
    ]
    kinds = ("PagePlace", "SyncPlace", "CopyState", "ExportPlace")
    foreign += [tokens.sign({"kind": kind, "at": 2**31, "market": "DE"}) for kind in kinds]

    for token in foreign:
        for name, (ask, meaning) in METHODS.items():
            error = await call_error(ask(with_runs, token))
            assert (error.code, error.reason) == meaning, f"{name} {token}"


def test_a_token_of_one_principal_is_rejected_for_every_other_principal() -> None:
    tokens = PageTokens(lambda: [b"new key", b"old key"], 7, utc_now)
    first, second = (tokens.for_caller(Caller(f"spiffe://example.com/{name}")) for name in ("first", "second"))
    copy = CopyState("DE", "", 1, 0, withheld=False)
    token = first.write(copy)

    assert first.read(token, CopyState) == copy
    for other in (second, tokens):
        with pytest.raises(PageTokenInvalid):
            other.read(token, CopyState)
    before = PageTokens(lambda: [b"old key"], 7, utc_now).for_caller(Caller("spiffe://example.com/first"))
    assert first.read(before.write(copy), CopyState) == copy


@pytest.mark.parametrize(
    "cursor",
    [
        RiskPageCursor(1, "DE", "0" * 16, 9, 3, "A"),
        SyncCursor("DE", "", 2, 1, 0, 0, "REMOVED", "A", 0, withheld=True),
        CopyState("DE", "", 1, 0, withheld=True),
        ExportCursor("DE", "", 1, 0, 0, "NONE", 0, withheld=True),
    ],
    ids=lambda cursor: type(cursor).__name__,
)
def test_a_token_that_lacks_any_field_of_its_cursor_is_rejected_and_never_completed(cursor: Any) -> None:
    tokens = PageTokens(lambda: [b"key"], 7, utc_now)
    content = tokens.open(tokens.write(cursor))
    values = asdict(cursor)

    for name in values:
        lacking = tokens.sign({field: value for field, value in content.items() if field != name})
        with pytest.raises(PageTokenInvalid):
            tokens.read(lacking, type(cursor))
        with pytest.raises(TypeError, match=name):
            type(cursor)(**{field: value for field, value in values.items() if field != name})
