"""Benchmark of a server on a network: what TLS and authorization cost one caller, and how little others can slow down the loan desk."""

import itertools
import json
import multiprocessing
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
from google.rpc import status_pb2
from google.type.money_pb2 import Money

import demo
from grounds.audit.v1 import audit_pb2, audit_pb2_grpc, sample_pb2
from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from grounds.customer.v1.customer_pb2 import Customer
from grounds_client.channel import ClientCredentials, open_channel
from tests.bench.record import prepare_server
from tests.conftest import ROOT
from tests.server.edges.identity.certificates import LOAN_DESK, CertificateAuthority

IDLE_CONNECTIONS, WAVE_CALLS = 2000, 500
_BULK_CALLERS = 4
_WAVE_SECONDS = 2.0
_LOWER_PRIORITY = 10
_START_SECONDS_MAX = 120
_ROUNDS = 3
# The kinds of load under which the loan desk is measured, and the server on which they are, by the title of the row. The process
# that sends a wave takes processor time from every server of the machine; the wave on another server shows how much.
_DISTURBANCES = {
    "alone": ((), "mTLS"),
    "2,000 idle connections": (("idle",), "mTLS"),
    "2,000 idle connections, and 500 calls over a limit every two seconds": (("idle", "waves"), "mTLS"),
    "the same connections and calls on another server of the machine": (("idle", "waves"), "other"),
    "four auditors that read all records": (("records",), "mTLS"),
    "four auditors that list all decisions": (("decisions",), "mTLS"),
    "four auditors that read the evidence of decision after decision": (("evidence",), "mTLS"),
}
_WARM_UP_CALLS = 50
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_AUTHORITY = f'[[callers]]\nprincipal = "{LOAN_DESK}"\nroles = ["loan_desk", "crm", "auditor"]\nmarkets = ["*"]\n# End of the authority file.\n'


def measure_network(bundle_folder: Path, features: Path, calls: int, *, with_load: bool) -> dict[str, Any]:
    """Measure the latency of the loan desk with and without TLS, and under the load of others.

    Args:
        bundle_folder: Folder of the released credit bundle.
        features: Feature file with all customers.
        calls: Number of decisions for each figure.
        with_load: Whether to measure under the load of others too.
    """
    customers = pq.read_table(features, columns=["customer_id"]).column(0).to_pylist()[:1000]
    with tempfile.TemporaryDirectory() as name, ExitStack() as exit_stack:
        folder = Path(name)
        credentials = _issue_certificates(folder)
        addresses = {}
        for kind in ("plaintext", "mTLS", "other"):
            (folder / kind).mkdir()
            config = prepare_server(folder / kind, f"sqlite:///{folder / kind / 'log.db'}", bundle_folder, features)
            if kind != "plaintext":
                _add_tls(config, folder)
                with config.open("a") as file:
                    file.write(f"audit_requests_in_flight_max = {_BULK_CALLERS}\n")
            addresses[kind] = exit_stack.enter_context(_serve(config))
        plain = exit_stack.enter_context(open_channel(addresses["plaintext"]))
        secure = exit_stack.enter_context(open_channel(addresses["mTLS"], credentials))
        requests = _requests(customers)
        for channel in (plain, secure):
            _time_calls(channel, requests, _WARM_UP_CALLS)
        # The two kinds are interleaved call by call, so a machine that becomes slower slows both alike.
        pairs = [(_time_calls(plain, requests, 1)[0], _time_calls(secure, requests, 1)[0]) for _ in range(calls)]
        found = {"plaintext": _quantiles([one for one, _ in pairs]), "mTLS": _quantiles([other for _, other in pairs])}
        if with_load:
            took: dict[str, list[float]] = {title: [] for title in _DISTURBANCES}
            for _ in range(_ROUNDS):
                for title, (kinds, server) in _DISTURBANCES.items():
                    with ExitStack() as processes:
                        for kind in kinds:
                            processes.enter_context(disturbing(kind, addresses[server], credentials))
                        took[title] += _time_calls(secure, requests, calls)
            found |= {title: _quantiles(each) for title, each in took.items()}
    return {"calls": calls, "rounds": _ROUNDS, "latencies": found}


@contextmanager
def disturbing(kind: str, address: str, credentials: ClientCredentials | None = None) -> Iterator[None]:
    """Run a process that disturbs the server during the block, in one of several ways.

    Args:
        kind: "idle" for 2,000 connections that send nothing, "waves" for 500 calls at the same moment, of which most are
            over the limit of their class, or a name of _BULK_READERS for four auditors that read in bulk.
        address: Host and port of the server.
        credentials: The files for TLS; None connects without TLS.
    """
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_disturb, args=(kind, address, credentials, ready, done))
    process.start()
    try:
        assert ready.wait(_START_SECONDS_MAX), "the disturbing process did not start"
        yield
    finally:
        done.set()
        process.join()
        assert process.exitcode == 0, "the disturbing process failed"


def _disturb(kind: str, address: str, credentials: ClientCredentials | None, ready: Event, done: Event) -> None:
    """Disturb the server until `done` is set. This function runs in a process of its own."""
    if kind == "idle":
        with _idle_connections(address, credentials):
            ready.set()
            done.wait()
        return
    # This channel has no retry policy, so refused calls are not repeated.
    with (
        grpc.secure_channel(address, credentials.channel_credentials())
        if credentials
        else grpc.insecure_channel(address)
    ) as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=30)
        os.nice(_LOWER_PRIORITY)
        ready.set()
        if kind == "waves":
            while not done.wait(_WAVE_SECONDS):
                _send_wave(stub)
            return
        with ThreadPoolExecutor(_BULK_CALLERS) as callers:
            list(callers.map(_BULK_READERS[kind], [stub] * _BULK_CALLERS, [done] * _BULK_CALLERS))


def _issue_certificates(folder: Path) -> ClientCredentials:
    """Write certificates and an authority file; return the credentials of a caller with every role."""
    ca = CertificateAuthority.create()
    ca.issue(folder, "server")
    certificate, key = ca.issue(folder, "client", (LOAN_DESK,))
    (folder / "authority.toml").write_text(_AUTHORITY)
    return ClientCredentials(ca.write(folder / "ca.pem"), certificate, key)


def _add_tls(config: Path, folder: Path) -> None:
    """Add TLS and the authority file of a folder to a configuration."""
    names = {
        "tls_certificate": "server.pem",
        "tls_key": "server.key",
        "tls_client_ca": "ca.pem",
        "authority": "authority.toml",
    }
    with config.open("a") as file:
        file.writelines(f"{name} = {json.dumps(str(folder / each))}\n" for name, each in names.items())


@contextmanager
def _serve(config: Path) -> Iterator[str]:
    """Run a server; yield its address."""
    log = config.with_name("server.log")
    with log.open("w") as lines:
        process = subprocess.Popen([sys.executable, "-m", "server", "--config", str(config)], cwd=ROOT, stderr=lines)
    try:
        yield demo.wait_for_address(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(demo.START_SECONDS_MAX)


def _requests(customers: Sequence[str]) -> Iterator[pb.ScoreCreditRequest]:
    """Yield requests for all customers again and again."""
    for customer in itertools.cycle(customers):
        yield pb.ScoreCreditRequest(
            request_id=str(uuid.uuid4()),
            customer=Customer(market="TW", customer_id=customer),
            requested_amount=Money(units=100_000, currency_code="TWD"),
        )


def _time_calls(channel: grpc.Channel, requests: Iterator[pb.ScoreCreditRequest], count: int) -> list[float]:
    """Request decisions one after another; return the milliseconds of each."""
    stub, took = credit_pb2_grpc.CreditServiceStub(channel), []
    for request in itertools.islice(requests, count):
        begin = time.perf_counter()
        stub.ScoreCredit(request, timeout=30)
        took.append((time.perf_counter() - begin) * 1e3)
    return took


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    return {f"p{number}_ms": float(np.quantile(milliseconds, number / 100)) for number in (50, 99)}


@contextmanager
def _idle_connections(address: str, credentials: ClientCredentials | None) -> Iterator[None]:
    """Keep 2,000 connections open that send no call."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, _, port = address.rpartition(":")
    context = None
    if credentials is not None:
        context = ssl.create_default_context(cafile=str(credentials.ca))
        context.load_cert_chain(str(credentials.certificate), str(credentials.key))
        context.set_alpn_protocols(["h2"])
    with ExitStack() as opened:
        for _ in range(IDLE_CONNECTIONS):
            connection = socket.create_connection((host, int(port)), timeout=_START_SECONDS_MAX)
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname=host)
            opened.callback(connection.close)
            connection.sendall(_PREFACE)
        yield


def _send_wave(stub: audit_pb2_grpc.AuditServiceStub) -> None:
    """Send 500 calls at the same moment, of which most are over the limit of their class; check that some were refused."""
    calls = [stub.GetCheckpoint.future(audit_pb2.GetCheckpointRequest(), timeout=30) for _ in range(WAVE_CALLS)]
    refused = [call for call in calls if call.exception() is not None]
    assert refused, "no call of the wave was refused"
    assert all(call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED for call in refused)
    assert all(_details(call) == {"ErrorInfo", "QuotaFailure", "RetryInfo"} for call in refused)


def _details(call: grpc.Call) -> set[str]:
    """Return the names of the messages that the error of a call contains."""
    content = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return {detail.TypeName().rpartition(".")[2] for detail in status_pb2.Status.FromString(content).details}


def _list_records(stub: audit_pb2_grpc.AuditServiceStub, done: Event) -> None:
    """Read all records of the log again and again, in pages of about 1 MB."""
    start = 0
    while not done.is_set():
        start = stub.ListRecords(audit_pb2.ListRecordsRequest(start=start), timeout=30).next_start


def _list_decisions(stub: audit_pb2_grpc.AuditServiceStub, done: Event) -> None:
    """List all decisions again and again, in pages of 1,000."""
    token = ""
    while not done.is_set():
        request = sample_pb2.ListDecisionsRequest(page_size=1000, page_token=token)
        token = stub.ListDecisions(request, timeout=30).next_page_token


def _read_evidence(stub: audit_pb2_grpc.AuditServiceStub, done: Event) -> None:
    """Read the evidence of the newest decisions, one after another, again and again."""
    newest = stub.ListDecisions(sample_pb2.ListDecisionsRequest(page_size=100), timeout=30).decisions
    for decision in itertools.cycle(newest):
        if done.is_set():
            return
        request = audit_pb2.GetEvidenceRequest(decision_id=decision.decision_id, purpose="benchmark")
        stub.GetEvidence(request, timeout=30)


_BULK_READERS = {"records": _list_records, "decisions": _list_decisions, "evidence": _read_evidence}
