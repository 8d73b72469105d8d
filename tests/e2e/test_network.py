"""A server on a network rejects unidentified callers, and grants others only the rights in the authority file."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from google.rpc import error_details_pb2, status_pb2
from google.type.money_pb2 import Money
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc, sample_pb2
from grounds.churn.v1 import churn_pb2, churn_pb2_grpc
from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from grounds_client.channel import ClientCredentials, open_channel
from tests.conftest import ROOT
from tests.e2e.processes import Process, start
from tests.server.edges.identity.certificates import (
    AUDITOR,
    AUTHORITY,
    CRM,
    LOAN_DESK,
    CertificateAuthority,
    encode_token,
    write_key_set,
)
from tests.server.http2 import call_frames, opening_frames
from tests.server.requests import customer, numbers, score_request

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
KEY = ed25519.Ed25519PrivateKey.generate()
DENIED = ("PERMISSION_DENIED", "METHOD_NOT_ALLOWED")
UNKNOWN_DECISION = ("NOT_FOUND", "DECISION_UNKNOWN")
LIMIT = 5000
LOAN_DESK_FR = "spiffe://example.com/loan-desk-fr"


def extend(config: Path, **settings: object) -> Path:
    """Add settings to a configuration file; return its path."""
    with config.open("a") as file:
        for name, value in settings.items():
            file.write(f"{name} = {json.dumps(value if isinstance(value, int) else str(value))}\n")
    return config


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Write an authority file; return its path."""
    path = tmp_path / "authority.toml"
    path.write_text(AUTHORITY)
    return path


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    """Create a certificate authority; write its certificate, and a certificate and key for the server."""
    made = CertificateAuthority.create()
    made.write(tmp_path / "ca.pem")
    made.issue(tmp_path, "server")
    return made


@pytest.fixture
def mtls_server(config: Path, ca: CertificateAuthority, authority: Path, tmp_path: Path) -> Iterator[Process]:
    """Start a server that identifies callers by their client certificates."""
    del ca
    process = start(
        extend(
            config,
            tls_certificate=tmp_path / "server.pem",
            tls_key=tmp_path / "server.key",
            tls_client_ca=tmp_path / "ca.pem",
            authority=authority,
        )
    )
    yield process
    process.stop()


@pytest.fixture
def token_server(config: Path, ca: CertificateAuthority, authority: Path, tmp_path: Path) -> Iterator[Process]:
    """Start a server that identifies callers by their bearer tokens."""
    del ca
    process = start(
        extend(
            config,
            tls_certificate=tmp_path / "server.pem",
            tls_key=tmp_path / "server.key",
            authority=authority,
            jwt_keys=write_key_set(tmp_path / "keys.json", {"k1": KEY}),
            jwt_issuer="https://issuer.example.com",
            jwt_audience="grounds",
        )
    )
    yield process
    process.stop()


@contextmanager
def channel_as(
    server: Process,
    ca: CertificateAuthority,
    folder: Path,
    *uris: str,
    dns_names: tuple[str, ...] = (),
    days: float = 10,
) -> Iterator[grpc.Channel]:
    """Open a channel with a new client certificate for these URIs. The certificate expires `days` days from now."""
    name = f"client-{uuid.uuid4().hex[:8]}"
    certificate, key = ca.issue(folder, name, uris, dns_names=dns_names, first_day=-20, last_day=days)
    with open_channel(server.address, ClientCredentials(folder / "ca.pem", certificate, key)) as channel:
        yield channel


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the status code and the reason of a call that fails; the reason is "" if the server sent no reason."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value  # the error is also the call, so it has a code and metadata
    trailers = dict(error.trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")).details:
        if detail.Unpack(info):
            break
    return error.code().name, info.reason


def request_in(market: str, customer_id: str = "C00000") -> pb.ScoreCreditRequest:
    """Return a request with a new request_id, about a customer of a market."""
    return score_request(
        request_id=str(uuid.uuid4()), customer=customer(market, customer_id), features=numbers(turnover=1000.0)
    )


def score(channel: grpc.Channel, request: pb.ScoreCreditRequest, **options: Any) -> pb.ScoreCreditResponse:
    """Request a decision."""
    answer: pb.ScoreCreditResponse = credit_pb2_grpc.CreditServiceStub(channel).ScoreCredit(
        request, timeout=10, **options
    )
    return answer


def test_each_certificate_may_do_what_its_entry_states(
    mtls_server: Process, ca: CertificateAuthority, tmp_path: Path
) -> None:
    denied, wrong_market = DENIED, ("PERMISSION_DENIED", "MARKET_NOT_ALLOWED")
    with channel_as(mtls_server, ca, tmp_path, LOAN_DESK) as desk:
        request = request_in("DE")
        decision = score(desk, request).credit_decision
        assert refusal(lambda: score(desk, request_in("FR"))) == wrong_market
        # The answer does not depend on whether the customer exists.
        assert refusal(lambda: score(desk, request_in("FR", "NOBODY"))) == wrong_market
        assert refusal(lambda: score(desk, pb.ScoreCreditRequest())) == wrong_market  # checked before validation
        assert refusal(lambda: list_churn(desk)) == denied
        assert refusal(lambda: evidence(desk, decision.record_ref.decision_id)) == denied
    with channel_as(mtls_server, ca, tmp_path, CRM) as crm:
        assert refusal(lambda: score(crm, request_in("DE"))) == denied
        export = churn_pb2_grpc.ChurnServiceStub(crm).ExportChurnRisks
        assert refusal(lambda: next(export(churn_pb2.ExportChurnRisksRequest(market="DE"), timeout=10))) == denied
        assert refusal(lambda: list_churn(crm)) == ("FAILED_PRECONDITION", "NO_RUN")  # allowed, but no run is loaded
    with channel_as(mtls_server, ca, tmp_path, AUDITOR) as auditor:
        assert refusal(lambda: score(auditor, request_in("DE"))) == denied
        found = evidence(auditor, decision.record_ref.decision_id).evidence
        assert found.record.caller == LOAN_DESK
        decisions = audit_pb2_grpc.AuditServiceStub(auditor).ListDecisions
        assert refusal(lambda: decisions(sample_pb2.ListDecisionsRequest(), timeout=10)) == wrong_market
        only_de = sample_pb2.ListDecisionsRequest(filter=sample_pb2.DecisionFilter(market="DE"))
        assert [each.caller for each in decisions(only_de, timeout=10).decisions] == [LOAN_DESK]
    with channel_as(mtls_server, ca, tmp_path, "spiffe://example.com/nobody") as nobody:
        assert refusal(lambda: score(nobody, request_in("DE"))) == denied


def test_a_decision_of_another_market_is_answered_like_an_unknown_decision(
    mtls_server: Process, ca: CertificateAuthority, tmp_path: Path
) -> None:
    with channel_as(mtls_server, ca, tmp_path, LOAN_DESK) as desk:
        decision_id = score(desk, request_in("DE")).credit_decision.record_ref.decision_id
    with channel_as(mtls_server, ca, tmp_path, LOAN_DESK_FR) as other:
        stub = credit_pb2_grpc.CreditServiceStub(other)
        for each in (decision_id, str(uuid.uuid4())):
            by_id = pb.GetCreditDecisionRequest(decision_id=each)
            override = override_request(each)
            assert refusal(lambda by_id=by_id: stub.GetCreditDecision(by_id, timeout=10)) == UNKNOWN_DECISION
            assert refusal(lambda override=override: stub.RecordOverride(override, timeout=10)) == UNKNOWN_DECISION


def test_the_authority_file_limits_the_amounts_of_overrides(
    mtls_server: Process, ca: CertificateAuthority, tmp_path: Path
) -> None:
    """The file allows 5,000 EUR to a CREDIT_MANAGER and nothing to other roles; a request cannot raise these limits."""
    refused = ("INVALID_ARGUMENT", "OVERRIDE_INVALID")
    with channel_as(mtls_server, ca, tmp_path, LOAN_DESK) as desk:
        stub = credit_pb2_grpc.CreditServiceStub(desk)
        decision_id = score(desk, request_in("DE")).credit_decision.record_ref.decision_id
        for changes in ({"limit": 5001}, {"role": "BRANCH_CLERK"}):
            request = override_request(decision_id, **changes)
            assert refusal(lambda request=request: stub.RecordOverride(request, timeout=10)) == refused
        recorded = stub.RecordOverride(override_request(decision_id), timeout=10)
        assert recorded.override.authority_limit.units == LIMIT


def override_request(decision_id: str, *, role: str = "CREDIT_MANAGER", limit: int = 5000) -> pb.RecordOverrideRequest:
    """Return a request for an override that declines."""
    return pb.RecordOverrideRequest(
        request_id=str(uuid.uuid4()),
        decision_id=decision_id,
        decision=pb.DECISION_DECLINE,
        reason_code="FRAUD_SUSPECTED",
        user_id="u17",
        user_role=role,
        authority_limit=Money(units=limit, currency_code="EUR"),
    )


def list_churn(channel: grpc.Channel) -> churn_pb2.ListChurnRisksResponse:
    """Request the first page of the churn list of DE."""
    request = churn_pb2.ListChurnRisksRequest(market="DE")
    answer: churn_pb2.ListChurnRisksResponse = churn_pb2_grpc.ChurnServiceStub(channel).ListChurnRisks(
        request, timeout=10
    )
    return answer


def evidence(channel: grpc.Channel, decision_id: str) -> audit_pb2.GetEvidenceResponse:
    """Read the evidence of a decision."""
    request = audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose="test")
    answer: audit_pb2.GetEvidenceResponse = audit_pb2_grpc.AuditServiceStub(channel).GetEvidence(request, timeout=10)
    return answer


def test_a_client_without_a_valid_certificate_is_refused(
    mtls_server: Process, ca: CertificateAuthority, tmp_path: Path
) -> None:
    unauthenticated = ("UNAUTHENTICATED", "CALLER_NOT_AUTHENTICATED")
    for uris in (
        (),
        (LOAN_DESK, CRM),
        (LOAN_DESK, LOAN_DESK),
        ("https://example.com/loan-desk",),
        (LOAN_DESK.replace("spiffe", "SPIFFE"),),
        (f"{LOAN_DESK}\0",),
        (f"{LOAN_DESK}\0/other",),
        (f"{LOAN_DESK} ",),
        (f"{LOAN_DESK}/{'x' * 255}",),
        # A record cannot state a name with these characters.
        (LOAN_DESK.replace("loan", "%6coan"),),
        (f"{LOAN_DESK}?",),
        (f"{LOAN_DESK}#",),
        (LOAN_DESK.replace("example.com", "user@example.com"),),
    ):
        with channel_as(mtls_server, ca, tmp_path, *uris) as channel:
            assert refusal(lambda channel=channel: score(channel, request_in("DE"))) == unauthenticated, uris
    with channel_as(mtls_server, ca, tmp_path, dns_names=(LOAN_DESK, LOAN_DESK.removeprefix("spiffe://"))) as channel:
        assert refusal(lambda: score(channel, request_in("DE"))) == unauthenticated
    # A name that only resembles a principal is a different name, which has no rights.
    for uri in (
        LOAN_DESK.upper().replace("SPIFFE", "spiffe"),
        f"{LOAN_DESK}/",
        LOAN_DESK.replace("/loan", "/./loan"),
        LOAN_DESK.replace("/loan", "/crm/../loan"),
        LOAN_DESK.replace("example.com", "example.com:443"),
    ):
        with channel_as(mtls_server, ca, tmp_path, uri) as channel:
            assert refusal(lambda channel=channel: score(channel, request_in("DE"))) == DENIED, uri
    # The TLS handshake fails before any call, so gRPC reports the server as unavailable.
    with channel_as(mtls_server, ca, tmp_path, LOAN_DESK, days=-1) as expired:
        assert refusal(lambda: score(expired, request_in("DE"))) == ("UNAVAILABLE", "")
    with channel_as(mtls_server, CertificateAuthority.create("other CA"), tmp_path, LOAN_DESK) as foreign:
        assert refusal(lambda: score(foreign, request_in("DE"))) == ("UNAVAILABLE", "")
    with open_channel(mtls_server.address, ClientCredentials(tmp_path / "ca.pem")) as without:
        assert refusal(lambda: score(without, request_in("DE"))) == ("UNAVAILABLE", "")
    with open_channel(mtls_server.address) as plaintext:
        assert refusal(lambda: score(plaintext, request_in("DE"))) == ("UNAVAILABLE", "")


def tls_settings(folder: Path, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return the settings of a TLS client that trusts `ca.pem`; `identity` contains its certificate and its key."""
    settings = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    settings.set_alpn_protocols(["h2"])
    if identity is not None:
        settings.load_cert_chain(*identity)
    return settings


def send_request(
    server: Process, tls: ssl.SSLContext, session: ssl.SSLSession | None = None, **metadata: str
) -> ssl.SSLSocket:
    """Connect, send one ScoreCredit call, and wait for an answer; return the connection."""
    host, _, port = server.address.rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=30)
    connection = tls.wrap_socket(plain, server_hostname=host, session=session)
    call = call_frames(
        1, "/grounds.credit.v1.CreditService/ScoreCredit", request_in("DE").SerializeToString(), **metadata
    )
    connection.sendall(opening_frames() + call)
    received = b""
    while b"grpc-status" not in received and (content := connection.recv(65536)):
        received += content
    return connection


def call_reasons(config: Path) -> list[str]:
    """Return the reasons of all calls in the application log."""
    lines = config.with_name("server-0.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [event["reason"] for event in events if event["event"] == "call"]


@pytest.mark.long
def test_an_expired_certificate_is_refused_also_in_a_resumed_tls_session(
    mtls_server: Process, ca: CertificateAuthority, config: Path, tmp_path: Path
) -> None:
    """The handshake of a resumed session does not check the certificate again, and sessions last for two days."""
    tls = tls_settings(tmp_path, ca.issue(tmp_path, "short", (LOAN_DESK,), last_day=20 / 86_400))
    first = send_request(mtls_server, tls)
    session = first.session
    first.close()
    time.sleep(20)
    second = send_request(mtls_server, tls, session)
    assert second.session_reused
    second.close()
    wait_for(lambda: call_reasons(config) == ["OK", "CALLER_NOT_AUTHENTICATED"])


def test_calls_over_an_older_tls_version_are_refused(
    token_server: Process, ca: CertificateAuthority, config: Path, tmp_path: Path
) -> None:
    del ca
    tls = tls_settings(tmp_path)
    authorization = f"Bearer {encode_token({'alg': 'EdDSA', 'kid': 'k1'}, claims(), KEY)}"
    send_request(token_server, tls, authorization=authorization).close()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    send_request(token_server, tls, authorization=authorization).close()
    wait_for(lambda: call_reasons(config) == ["OK", "CALLER_NOT_AUTHENTICATED"])


def test_a_request_id_belongs_to_its_principal(mtls_server: Process, ca: CertificateAuthority, tmp_path: Path) -> None:
    """Two principals that use the same request_id get two decisions, and neither receives the other's answer."""
    with (
        channel_as(mtls_server, ca, tmp_path, LOAN_DESK) as first,
        channel_as(mtls_server, ca, tmp_path, LOAN_DESK_FR) as second,
    ):
        german, french = request_in("DE"), request_in("FR", "C00001")
        french.request_id = german.request_id
        mine, other = score(first, german).credit_decision, score(second, french).credit_decision
        assert mine.record_ref.decision_id != other.record_ref.decision_id
        assert score(first, german).credit_decision == mine
        assert score(second, french).credit_decision == other


def test_certificates_are_replaced_under_load_without_a_failed_call(
    mtls_server: Process, ca: CertificateAuthority, tmp_path: Path
) -> None:
    """Every call opens a new connection. The server's certificate is replaced three times, each time before its key."""
    failures: list[grpc.RpcError] = []
    calls, done = [0], threading.Event()

    def connect_repeatedly() -> None:
        while not done.is_set():
            with channel_as(mtls_server, ca, tmp_path, LOAN_DESK) as channel:
                try:
                    score(channel, request_in("DE"))
                except grpc.RpcError as error:
                    failures.append(error)
                calls[0] += 1

    caller = threading.Thread(target=connect_repeatedly)
    caller.start()
    for number in range(3):
        certificate, key = ca.issue(tmp_path, f"new-{number}")
        before = calls[0]
        certificate.replace(tmp_path / "server.pem")  # the key does not belong to this certificate yet
        wait_for(lambda before=before: calls[0] > before + 2)
        key.replace(tmp_path / "server.key")
        wait_for(lambda before=before: calls[0] > before + 5)
    done.set()
    caller.join(30)
    assert failures == []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition is still false"
        time.sleep(0.02)


def claims(**changes: object) -> dict[str, object]:
    """Return the claims of a valid token of the loan desk, with changes."""
    now = time.time()
    return {
        "sub": LOAN_DESK,
        "iss": "https://issuer.example.com",
        "aud": "grounds",
        "iat": now - 60,
        "exp": now + 600,
        **changes,
    }


def test_only_a_valid_token_identifies_a_caller(token_server: Process, tmp_path: Path) -> None:
    header = {"alg": "EdDSA", "kid": "k1"}
    path = tmp_path / "token"
    unauthenticated = ("UNAUTHENTICATED", "CALLER_NOT_AUTHENTICATED")
    with open_channel(token_server.address, ClientCredentials(tmp_path / "ca.pem")) as channel:
        assert refusal(lambda: score(channel, request_in("DE"))) == unauthenticated
        # Health checks need no token, because orchestrators have none.
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert check.status == health_pb2.HealthCheckResponse.SERVING
    path.write_text(encode_token(header, claims(), KEY))
    with open_channel(token_server.address, ClientCredentials(tmp_path / "ca.pem", token_file=path)) as channel:
        request = request_in("DE")
        decision = score(channel, request).credit_decision
        for token in (
            encode_token(header, claims(aud="another server"), KEY),
            encode_token(header, claims(exp=time.time() - 60), KEY),
            encode_token({"alg": "none", "kid": "k1"}, claims(), None),
            encode_token(header, claims(), ed25519.Ed25519PrivateKey.generate()),
        ):
            path.write_text(token)
            assert refusal(lambda: score(channel, request_in("DE"))) == unauthenticated
        path.write_text(encode_token(header, claims(sub=CRM), KEY))
        assert refusal(lambda: score(channel, request_in("DE"))) == ("PERMISSION_DENIED", "METHOD_NOT_ALLOWED")
        # The principal repeats the request with a new token, and receives the first answer.
        path.write_text(encode_token(header, claims(jti="2"), KEY))
        assert score(channel, request).credit_decision == decision


def test_a_key_set_is_replaced_under_load_without_a_failed_call(token_server: Process, tmp_path: Path) -> None:
    """The issuer publishes a new key, signs with it, and then withdraws the old one."""
    new, path = ed25519.Ed25519PrivateKey.generate(), tmp_path / "token"
    failures: list[grpc.RpcError] = []
    calls, done = [0], threading.Event()
    path.write_text(encode_token({"alg": "EdDSA", "kid": "k1"}, claims(), KEY))

    def call_repeatedly() -> None:
        with open_channel(token_server.address, ClientCredentials(tmp_path / "ca.pem", token_file=path)) as channel:
            while not done.wait(0.05):
                try:
                    score(channel, request_in("DE"))
                except grpc.RpcError as error:
                    failures.append(error)
                calls[0] += 1

    caller = threading.Thread(target=call_repeatedly)
    caller.start()
    time.sleep(5)  # an unknown key id causes a refresh only five seconds after the last one
    for keys, key_id, key in (({"k1": KEY, "k2": new}, "k2", new), ({"k2": new}, "k2", new)):
        write_key_set(tmp_path / "new.json", keys).replace(tmp_path / "keys.json")
        (tmp_path / "new-token").write_text(
            encode_token({"alg": "EdDSA", "kid": key_id}, claims(jti=str(len(keys))), key)
        )
        (tmp_path / "new-token").replace(path)
        before = calls[0]
        wait_for(lambda before=before: calls[0] > before + 5)
    done.set()
    caller.join(30)
    assert failures == []


def test_a_client_over_its_rate_waits_as_long_as_the_server_states_and_then_succeeds(
    config: Path,
) -> None:
    server = start(extend(config, calls_per_second_max=4, calls_burst_max=1, drain_seconds_max=1))
    seconds: list[float] = []
    with open_channel(server.address) as client, grpc.insecure_channel(server.address) as plain:
        for _ in range(3):
            begin = time.monotonic()
            score(client, request_in("DE"))
            seconds.append(time.monotonic() - begin)
        # A client without the retry policy sees the refusal.
        assert refusal(lambda: [score(plain, request_in("DE")) for _ in range(3)])[1] == "RATE_EXCEEDED"
    server.stop()
    assert sum(seconds[1:]) > 0.4  # two calls wait about 0.25 seconds each


def test_the_commands_of_the_documentation_work(config: Path, tmp_path: Path) -> None:
    """With the files that `dev-certs` creates, the loan desk may read the policy, but the CRM may not score."""
    folder = tmp_path / "certificates"
    run("server", "dev-certs", str(folder), expected=0)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    again = run("server", "dev-certs", str(folder), expected=1)
    assert "already exists" in again.stderr
    with config.open("a") as file:
        file.write((folder / "config.toml").read_text())
    server = start(config)
    options = {
        name: ["--ca", "ca.pem", "--certificate", f"{name}.pem", "--key", f"{name}.key"]
        for name in ("loan-desk", "crm")
    }
    address = ["--address", server.address]
    policy = run("client", *options["loan-desk"], "policy", *address, expected=0, folder=folder)
    assert "DE" in policy.stdout
    denied = run("client", *options["crm"], "score", "DE", "C00000", "100EUR", *address, expected=1, folder=folder)
    assert denied.stderr.startswith("error: METHOD_NOT_ALLOWED")
    shutil.rmtree(folder)
    server.stop()


def run(module: str, *arguments: str, expected: int, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a module of the project as a command in a folder, and check its exit status; return the ended process."""
    path = ":".join(str(ROOT / each) for each in (".", "protos", "record", "client"))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done
