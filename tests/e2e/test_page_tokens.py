"""A page token is valid on every server of a database, but only for the same principal, method and query."""

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from grounds.audit.v1 import audit_pb2_grpc, sample_pb2
from grounds.churn.v1 import churn_pb2 as pb
from grounds.churn.v1 import churn_pb2_grpc
from grounds.credit.v1 import credit_pb2_grpc
from server.config import read_settings
from server.stores.database import Database
from tests.conftest import LOAD_TIME
from tests.e2e.processes import Process, start
from tests.e2e.test_network import claims, extend, refusal
from tests.server.churn_runs import ChurnFamily
from tests.server.edges.identity.certificates import encode_token, write_key_set
from tests.server.loading import load_file
from tests.server.requests import score_request

KEY = ed25519.Ed25519PrivateKey.generate()
READER, OTHER_READER = "spiffe://example.com/reader", "spiffe://example.com/other-reader"
AUTHORITY = (
    "".join(
        f'[[callers]]\nprincipal = "{principal}"\nroles = ["loan_desk", "crm", "crm_export", "auditor"]\nmarkets = ["*"]\n'
        for principal in (READER, OTHER_READER)
    )
    + "# End of the authority file.\n"
)
INVALID, RESYNC = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), ("FAILED_PRECONDITION", "RESYNC_REQUIRED")
Metadata = tuple[tuple[str, str], ...]


def metadata(principal: str) -> Metadata:
    """Return the metadata with which a principal identifies itself."""
    token = encode_token({"alg": "EdDSA", "kid": "k1"}, claims(sub=principal), KEY)
    return (("authorization", f"Bearer {token}"),)


def list_decisions(channel: grpc.Channel, token: str, caller: Metadata, market: str = "DE") -> Any:
    """Request a page of decisions."""
    only = sample_pb2.DecisionFilter(market=market)
    request = sample_pb2.ListDecisionsRequest(page_size=1, page_token=token, filter=only)
    return audit_pb2_grpc.AuditServiceStub(channel).ListDecisions(request, metadata=caller, timeout=30)


def list_risks(channel: grpc.Channel, token: str, caller: Metadata, market: str = "DE") -> Any:
    """Request a page of predictions."""
    request = pb.ListChurnRisksRequest(market=market, page_size=5, page_token=token)
    return churn_pb2_grpc.ChurnServiceStub(channel).ListChurnRisks(request, metadata=caller, timeout=30)


def list_changes(channel: grpc.Channel, token: str, caller: Metadata, market: str = "DE") -> Any:
    """Request a page of a synchronization."""
    request = pb.ListChurnRiskChangesRequest(market=market, page_size=5, page_token=token)
    return churn_pb2_grpc.ChurnServiceStub(channel).ListChurnRiskChanges(request, metadata=caller, timeout=30)


METHODS: dict[Callable[..., Any], tuple[str, str]] = {
    list_decisions: INVALID,
    list_risks: INVALID,
    list_changes: RESYNC,
}


@pytest.fixture
def shared_config(config: Path, churn_family: ChurnFamily, tmp_path: Path) -> Path:
    """Load a scoring run, and let the servers identify callers by their tokens, behind a proxy that terminates TLS."""
    database = Database(read_settings(config).database)
    load_file(database, churn_family.first_run, LOAD_TIME)
    database.close()
    (tmp_path / "authority.toml").write_text(AUTHORITY)
    return extend(
        config,
        authority=tmp_path / "authority.toml",
        jwt_keys=write_key_set(tmp_path / "keys.json", {"k1": KEY}),
        jwt_issuer="https://issuer.example.com",
        jwt_audience="grounds",
    )


@pytest.fixture
def servers(shared_config: Path) -> Iterator[tuple[Process, Process]]:
    """Start two servers of one database, each on its own port."""
    first, second = (start(shared_config, number) for number in range(2))
    yield first, second
    first.stop()
    second.stop()


def new_channel(server: Process) -> grpc.Channel:
    """Open a channel that does not share its connection with other channels."""
    return grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)])


def make_decisions(channel: grpc.Channel, caller: Metadata, count: int = 4) -> None:
    """Request some decisions, which a list then contains."""
    for _ in range(count):
        credit_pb2_grpc.CreditServiceStub(channel).ScoreCredit(
            score_request(request_id=str(uuid.uuid4())), metadata=caller, timeout=30, wait_for_ready=True
        )


def test_a_server_continues_the_list_of_another_server_only_for_the_same_principal_method_and_query(
    servers: tuple[Process, Process],
) -> None:
    mine, foreign = metadata(READER), metadata(OTHER_READER)
    with new_channel(servers[0]) as first, new_channel(servers[1]) as second:
        make_decisions(first, mine)
        tokens = {method: method(first, "", mine).next_page_token for method in METHODS}
        assert all(tokens.values())
        for method, refused in METHODS.items():
            here, there = method(first, tokens[method], mine), method(second, tokens[method], mine)
            assert without_token(there) == without_token(here)
            # The second server's token of the third page is valid on the first server.
            assert without_token(method(first, there.next_page_token, mine)) != without_token(here)
            assert refusal(lambda method=method: method(second, tokens[method], foreign)) == refused
            assert refusal(lambda method=method: method(second, tokens[method], mine, market="FR")) == refused
        for of, to in itertools.permutations(METHODS, 2):
            assert refusal(lambda of=of, to=to: to(second, tokens[of], mine)) == METHODS[to], (of, to)


def without_token(page: Any) -> Any:
    """Return a page without its token, because the token contains the time of its creation."""
    copy = type(page)()
    copy.CopyFrom(page)
    copy.next_page_token = ""
    return copy


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_both_workers_of_a_server_continue_the_list_that_one_of_them_began(shared_config: Path) -> None:
    server, mine = start(shared_config, workers=2), metadata(READER)
    with new_channel(server) as channel:
        make_decisions(channel, mine)
        token = list_decisions(channel, "", mine).next_page_token
        expected = without_token(list_decisions(channel, token, mine))
    deadline, answered = time.monotonic() + 60, set[int]()
    while answered != {0, 1}:
        assert time.monotonic() < deadline, f"only these workers answered: {answered}"
        with new_channel(server) as channel:
            assert without_token(list_decisions(channel, token, mine)) == expected
            assert refusal(lambda channel=channel: list_decisions(channel, token, metadata(OTHER_READER))) == INVALID
        lines = shared_config.with_name("server-0.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        answered = {event["worker"] for event in events if str(event.get("method", "")).endswith("/ListDecisions")}
    server.stop()
