"""Several workers on one port share the load and the record log, and a worker that fails is replaced."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from grounds_client.channel import open_channel
from server.config import read_settings
from server.maintenance.doctor import check_log, read_verifier_key
from server.stores.database import Database
from tests.conftest import ROOT
from tests.e2e.processes import Process, start
from tests.server.monitoring.scrapes import fetch
from tests.server.requests import customer, numbers, score_request

WORKERS = 2
SECONDS_MAX = 60
# The tests of processes and sockets do not depend on the kind of database.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def server(config: Path) -> Iterator[Process]:
    """Start a server with two workers."""
    process = start(config, workers=WORKERS)
    yield process
    if process.process.poll() is None:
        process.process.terminate()
        process.process.wait(SECONDS_MAX)


def events(config: Path, name: str) -> list[dict[str, object]]:
    """Return the lines of the server's application log that report this event."""
    lines = config.with_name("server-0.log").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "the condition is still false"
        time.sleep(0.05)


def listeners(server: Process) -> dict[int, int]:
    """Return the number of established connections of each process that listens on the port, by process id."""
    port = int(server.address.rsplit(":", 1)[1])
    connections: dict[int, int] = {}
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            own = [c for c in child.net_connections("tcp") if c.laddr.port == port]
        except psutil.NoSuchProcess:  # the process has ended since `children` listed it
            continue
        if any(c.status == psutil.CONN_LISTEN for c in own):
            connections[child.pid] = sum(c.status == psutil.CONN_ESTABLISHED for c in own)
    return connections


def new_channel(server: Process) -> grpc.Channel:
    """Open a channel that does not share its connection with other channels."""
    return grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)])


def health_of_new_connection(server: Process) -> int:
    """Request the health status of CreditService over a new connection; return -1 if the call fails."""
    with new_channel(server) as channel:
        request = health_pb2.HealthCheckRequest(service="grounds.credit.v1.CreditService")
        try:
            return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=1).status)
        except grpc.RpcError:
            return -1


def request_with(turnover: float) -> pb.ScoreCreditRequest:
    """Return a request with a new request_id and this turnover."""
    return score_request(
        request_id=str(uuid.uuid4()), customer=customer("DE", "C00000"), features=numbers(turnover=turnover)
    )


def test_all_workers_answer_on_one_port_and_write_one_record_log(server: Process, config: Path) -> None:
    """Calls over twenty connections reach both workers, and every worker gives a repeated request its first answer."""
    channels = [new_channel(server) for _ in range(20)]
    stubs = [credit_pb2_grpc.CreditServiceStub(channel) for channel in channels]
    requests = [request_with(1000.0 + number) for number in range(len(stubs))]
    answers = [stub.ScoreCredit(request, timeout=10) for stub, request in zip(stubs, requests, strict=True)]
    busy = listeners(server)
    again = [stub.ScoreCredit(requests[0], timeout=10) for stub in stubs]
    for channel in channels:
        channel.close()
    server.stop()
    assert len(busy) == WORKERS
    assert all(busy.values())
    assert again == [answers[0]] * len(stubs)
    settings = read_settings(config)
    verifier = read_verifier_key(settings)
    database = Database(settings.database)
    sound, sentences = check_log(database, verifier, None)
    database.close()
    assert sound, sentences


@ON_SQLITE
def test_a_killed_worker_is_replaced_and_the_other_worker_keeps_answering(server: Process, config: Path) -> None:
    """The application log reports the worker that ended and the signal; after the replacement both workers answer."""
    (victim, survivor) = listeners(server)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: bool(events(config, "worker ended")))
    (ended,) = events(config, "worker ended")
    assert (ended["pid"], ended["exit_status"]) == (victim, -signal.SIGKILL)
    wait_for(lambda: len(listeners(server)) == WORKERS)
    assert survivor in listeners(server)
    assert [event["worker"] for event in events(config, "worker replaced")] == [ended["worker"]]
    wait_for(lambda: health_of_new_connection(server) == health_pb2.HealthCheckResponse.SERVING)
    server.stop()


@ON_SQLITE
def test_health_of_every_worker_is_not_serving_while_one_worker_does_not_respond(server: Process) -> None:
    """The kernel still accepts connections for a stopped worker, which never answers, so health must not be SERVING."""
    (stopped, _) = listeners(server)
    os.kill(stopped, signal.SIGSTOP)
    # The operating system selects the worker, so a check may reach the stopped worker and fail; it is then repeated.
    wait_for(lambda: health_of_new_connection(server) == health_pb2.HealthCheckResponse.NOT_SERVING)
    os.kill(stopped, signal.SIGCONT)
    wait_for(lambda: health_of_new_connection(server) == health_pb2.HealthCheckResponse.SERVING)


@ON_SQLITE
def test_a_worker_that_does_not_respond_is_killed_and_replaced(config: Path, tmp_path: Path) -> None:
    """The supervisor waits one second for a report of a worker, instead of the usual 30 seconds."""
    script = tmp_path / "supervise.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from server.application_log import configure_logging\n"
        "from server.config import read_settings\n"
        "from server.workers.supervisor import Supervisor\n"
        "if __name__ == '__main__':\n"
        "    config = Path(sys.argv[1])\n"
        "    configure_logging()\n"
        "    sys.exit(Supervisor(read_settings(config), config, 2, hang_seconds=1.0).run())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with config.with_name("server-0.log").open("w") as lines:
        process = subprocess.Popen([sys.executable, script, config], env=environment, stderr=lines)
    try:
        wait_for(lambda: bool(events(config, "all workers serving")))
        server = Process(process, str(events(config, "all workers serving")[0]["address"]))
        (stopped, _) = listeners(server)
        os.kill(stopped, signal.SIGSTOP)
        wait_for(lambda: bool(events(config, "worker does not respond and is killed")))
        wait_for(lambda: len(listeners(server)) == WORKERS and stopped not in listeners(server))
        server.stop()
    finally:
        process.kill()
        process.wait(SECONDS_MAX)


@ON_SQLITE
def test_sigterm_drains_all_workers(server: Process, config: Path) -> None:
    """Every worker logs that it has stopped, and no process remains."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.stop()
    assert len(events(config, "stopped")) == WORKERS
    _, alive = psutil.wait_procs(children, timeout=SECONDS_MAX)
    assert alive == []


@ON_SQLITE
def test_workers_stop_when_their_supervisor_is_killed(server: Process, config: Path) -> None:
    """Nobody would replace a failed worker after the supervisor has ended, so the workers drain and end."""
    workers = [psutil.Process(pid) for pid in listeners(server)]
    server.kill()
    _, alive = psutil.wait_procs(workers, timeout=SECONDS_MAX)
    assert alive == []
    assert len(events(config, "stopped")) == WORKERS


async def test_sighup_replaces_all_workers_and_no_call_fails(server: Process) -> None:
    """Callers with the client library's retry policy see no error while the workers are replaced one by one."""
    before = set(listeners(server))
    loop = asyncio.get_running_loop()
    failures: list[grpc.RpcError] = []
    replaced = asyncio.Event()

    def score_repeatedly(number: int) -> int:
        calls = 0
        while not replaced.is_set():
            with open_channel(server.address) as channel:
                stub = credit_pb2_grpc.CreditServiceStub(channel)
                for _ in range(20):
                    try:
                        stub.ScoreCredit(request_with(1000.0 + number), timeout=20)
                    except grpc.RpcError as error:
                        failures.append(error)
                    calls += 1
        return calls

    callers = [loop.run_in_executor(None, score_repeatedly, number) for number in range(4)]
    server.process.send_signal(signal.SIGHUP)
    try:
        await asyncio.to_thread(
            wait_for, lambda: len(listeners(server)) == WORKERS and not before & set(listeners(server))
        )
    finally:
        replaced.set()
        answered = sum(await asyncio.gather(*callers))
    assert failures == []
    assert answered > 0


@ON_SQLITE
def test_a_port_that_another_server_uses_is_refused(server: Process, config: Path) -> None:
    """A second server with workers must not share the port with the workers of the first server."""
    port = server.address.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "server", "--config", str(config), "--workers", "2"],
        cwd=ROOT,
        env={**os.environ, "GROUNDS_PORT": port},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: another process listens there" in done.stderr


@ON_SQLITE
def test_an_error_at_the_start_ends_the_server_with_one_message(config: Path) -> None:
    """The first worker reports the error, and the supervisor starts no other worker."""
    policy = read_settings(config).policy
    broken = config.with_name("broken.toml")
    broken.write_text(config.read_text().replace(str(policy), str(policy.with_name("absent.toml"))))
    done = subprocess.run(
        [sys.executable, "-m", "server", "--config", str(broken), "--workers", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "absent.toml" in done.stderr


@ON_SQLITE
def test_a_foreign_socket_on_the_port_is_refused(config: Path) -> None:
    """The check also detects a foreign socket that allows other sockets on its port (SO_REUSEPORT)."""
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        done = subprocess.run(
            [sys.executable, "-m", "server", "--config", str(config), "--workers", "2"],
            cwd=ROOT,
            env={**os.environ, "GROUNDS_PORT": str(foreign.getsockname()[1])},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
    assert done.returncode == 1
    assert "another process listens there" in done.stderr


@ON_SQLITE
def test_one_endpoint_serves_the_metrics_and_the_readiness_of_all_workers(config: Path) -> None:
    """The sum over the workers is the number of calls; a killed worker is reported as down, and its socket is replaced."""
    config.write_text(config.read_text() + 'metrics_address = "0"\n')
    server = start(config, workers=WORKERS)
    try:
        (event,) = [event for event in events(config, "monitoring") if "worker" not in event]
        address = str(event["address"])
        for number in range(10):
            with new_channel(server) as channel:
                credit_pb2_grpc.CreditServiceStub(channel).ScoreCredit(request_with(1000.0 + number), timeout=10)
        content = fetch(address, "/metrics")[1].decode()
        counts = {
            sample.labels["worker"]: sample.value
            for family in text_string_to_metric_families(content)
            for sample in family.samples
            if sample.name == "grounds_commit_records_sum"
        }
        probes = [fetch(address, path)[0] for path in ("/livez", "/readyz")]
        (victim, _) = listeners(server)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: re.search(rb'grounds_worker_up\{worker="\d"\} 0', fetch(address, "/metrics")[1]) is not None)
        wait_for(lambda: re.search(rb'grounds_worker_up\{worker="\d"\} 0', fetch(address, "/metrics")[1]) is None)
    finally:
        server.stop()

    assert set(counts) == {"0", "1"}
    assert sum(counts.values()) == 10
    assert probes == [200, 200]
    assert content.count("# TYPE grounds_commit_records histogram") == 1
