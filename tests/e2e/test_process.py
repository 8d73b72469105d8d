"""A server process: start time, memory, imported modules, SIGTERM, SIGKILL, and what it logs."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from decimal import Decimal
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import demo
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from grounds.customer.v1.customer_pb2 import Customer
from grounds_client import Amount, CallFailed, Client
from tests.conftest import ROOT, Released, as_environment

START_SECONDS_MEDIAN_MAX = 4.0
MEMORY_BYTES_MAX = 300 * 1024 * 1024
# Reconnect every 50 ms. By default gRPC waits for at least a second, which would add to the measured start time.
FAST_RECONNECT = [(f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "min", "max")]
FORBIDDEN = {"lightgbm", "shap", "pandas", "sklearn", "pyarrow", "onnx"}
AnsweredRequest = tuple[str, int, credit_pb2.CreditDecision]
LIMIT = Amount(Decimal(50_000), "TWD")


@pytest.fixture
def settings(released: Released, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a server of the released models with a database of its own."""
    return as_environment(released.copy_stores(tmp_path))


def seconds_until_serving(settings: dict[str, str], port: int) -> float:
    """Start a server, and return the seconds until its health is SERVING; then stop it."""
    environment = {**os.environ, **settings, "GROUNDS_PORT": str(port)}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "server"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=FAST_RECONNECT) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="grounds.credit.v1.CreditService")
            answer = stub.Check(request, wait_for_ready=True, timeout=30)
        took = time.monotonic() - start
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    return took


def free_port() -> int:
    """Return the number of a free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_is_healthy_within_four_seconds_of_its_start(settings: dict[str, str]) -> None:
    times = [seconds_until_serving(settings, free_port()) for _ in range(5)]

    assert statistics.median(times) <= START_SECONDS_MEDIAN_MAX


def test_after_a_thousand_calls_a_server_uses_little_memory_and_has_loaded_no_training_library(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with demo.serving(tmp_path / "log", **settings) as address, Client(address) as client:
        process = server_process()
        for number in range(500):
            client.score_credit("TW", str(number + 1), LIMIT)
            client.simulate_credit("TW", str(number + 1), LIMIT, features={"PAY_0": 2.0})
        memory = process.memory_info().rss
        loaded = {Path(file.path).parts[-2] for file in process.memory_maps() if "site-packages" in file.path}

    assert memory <= MEMORY_BYTES_MAX
    assert not any(name in folder for name in FORBIDDEN for folder in loaded)


def test_the_modules_of_the_server_import_no_training_library() -> None:
    code = "import sys, server.__main__, server.application; print(','.join(sorted({m.split('.')[0] for m in sys.modules})))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)

    assert not FORBIDDEN & set(done.stdout.strip().split(","))


def test_after_sigterm_a_server_finishes_running_calls_and_exits_with_0(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with demo.serving(tmp_path / "log", **settings) as address:
        process = server_process()
        channel = grpc.insecure_channel(address)
        stub = credit_pb2_grpc.CreditServiceStub(channel)
        calls = [
            stub.ScoreCredit.future(
                credit_pb2.ScoreCreditRequest(
                    request_id=str(uuid.uuid4()),
                    customer=Customer(market="TW", customer_id="7"),
                    requested_amount=LIMIT.to_money(),
                )
            )
            for _ in range(50)
        ]
        calls[0].result()
        process.send_signal(signal.SIGTERM)
        statuses = {call.code() for call in calls}

    assert statuses == {grpc.StatusCode.OK}


def server_process() -> psutil.Process:
    """Return the only server among the child processes. A child that has ended has no command line to read."""
    children = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return next(each for each in children if "server" in each.cmdline())


def answer_and_kill(log: Path, settings: dict[str, str], answered: list[AnsweredRequest]) -> None:
    """Append 20 answers to `answered`, and then kill the server."""
    with demo.serving(log, **settings) as address, Client(address) as client:
        process = server_process()
        for number in range(20):
            request_id = str(uuid.uuid4())
            decision = client.score_credit("TW", str(number + 1), LIMIT, request_id=request_id)
            answered.append((request_id, number + 1, decision))
        process.kill()


def test_a_restarted_server_repeats_what_it_answered_before_it_was_killed(
    settings: dict[str, str], tmp_path: Path
) -> None:
    log, answered = tmp_path / "log", []
    with pytest.raises(SystemExit):  # demo.serving raises SystemExit if the server did not end normally
        answer_and_kill(log, settings, answered)

    with demo.serving(log, **settings) as address, Client(address) as client:
        again = [client.score_credit("TW", str(n), LIMIT, request_id=request_id) for request_id, n, _ in answered]

    assert [decision.SerializeToString(deterministic=True) for decision in again] == [
        decision.SerializeToString(deterministic=True) for _, _, decision in answered
    ]


def test_a_second_server_on_the_same_port_reports_the_conflict_and_exits_with_1(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with demo.serving(tmp_path / "log", **settings) as address:
        environment = {**os.environ, **settings, "GROUNDS_PORT": address.rsplit(":", 1)[1]}
        second = subprocess.run(
            [sys.executable, "-m", "server"],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert second.returncode == 1
    assert "configure another port" in second.stderr


def test_the_application_log_contains_no_customer_number_and_no_value(settings: dict[str, str], tmp_path: Path) -> None:
    with demo.serving(tmp_path / "log", **settings) as address, Client(address) as client:
        client.score_credit("TW", "29999", Amount(Decimal("73219.5"), "TWD"))
        with pytest.raises(CallFailed, match="PAY_0"):
            client.simulate_credit("TW", "29999", LIMIT, features={"PAY_0": 73219.5})

    lines = (tmp_path / "log").read_text()
    assert all(json.loads(line) for line in lines.splitlines())
    assert "29999" not in lines
    assert "73219" not in lines
