"""A process of the server that crashes leaves no core file: its memory contains customers' values and keys."""

import contextlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from grounds.credit.v1 import credit_pb2_grpc
from server.stores.record_log.sampling import _spawn_worker
from tests.e2e.processes import Process, start
from tests.server.requests import score_request

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the test reads /proc and needs prlimit")
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
_CRASHES = (signal.SIGABRT, signal.SIGSEGV)
_PATIENCE_SECONDS = 90


@pytest.fixture(autouse=True)
def _allow_core_files() -> Iterator[None]:
    """Raise the soft limit on core files to the hard limit, so that child processes may write them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create an empty working folder, in which the kernel writes core files."""
    made = tmp_path / "working"
    made.mkdir()
    return made


def core_limits(pid: int) -> list[str]:
    """Return the soft and the hard limit on the size of core files, as the kernel reports them."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max core file size")).split()[4:6]


def crash(pid: int, number: signal.Signals) -> None:
    """Remove the limit on core files of a process if this user may, and make the process crash."""
    # Only root may raise a hard limit. For other users, the limit itself prevents the core file.
    with contextlib.suppress(PermissionError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    psutil.Process(pid).send_signal(number)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition is still false"
        time.sleep(0.02)


def score(server: Process) -> None:
    """Request a decision, so that the memory of the server contains values of a customer."""
    with grpc.insecure_channel(server.address) as channel:
        credit_pb2_grpc.CreditServiceStub(channel).ScoreCredit(score_request(), timeout=30, wait_for_ready=True)


@ON_SQLITE
@pytest.mark.parametrize("number", _CRASHES, ids=lambda number: number.name)
def test_a_server_that_crashes_leaves_no_core_file_even_if_its_limit_is_raised(
    config: Path, folder: Path, number: signal.Signals
) -> None:
    server = start(config, folder=folder)
    score(server)
    assert core_limits(server.process.pid) == ["0", "0"]

    crash(server.process.pid, number)

    assert server.process.wait(_PATIENCE_SECONDS) == -number
    assert list(folder.iterdir()) == []


@ON_SQLITE
def test_supervisor_and_workers_leave_no_core_file_and_a_crashed_worker_is_replaced(config: Path, folder: Path) -> None:
    server = start(config, workers=2, folder=folder)
    score(server)
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert {tuple(core_limits(each.pid)) for each in (server.process, *family)} == {("0", "0")}
    first = int(next(child.pid for child in family if "spawn_main" in " ".join(child.cmdline())))

    crash(first, signal.SIGSEGV)
    wait_for(lambda: not psutil.pid_exists(first))
    score(server)
    server.stop()

    assert list(folder.iterdir()) == []


def test_the_worker_for_samples_leaves_no_core_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker receives the URL of the database, which may contain a password."""
    monkeypatch.chdir(folder)
    worker = _spawn_worker()
    wait_for(lambda: core_limits(worker.pid) == ["0", "0"])
    crash(worker.pid, signal.SIGABRT)
    worker.communicate()

    assert worker.returncode == -signal.SIGABRT
    assert list(folder.iterdir()) == []


def test_a_process_without_this_protection_leaves_a_core_file_where_the_tests_look(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE, cwd=folder
    )
    assert process.stdout is not None
    process.stdout.readline()

    crash(process.pid, signal.SIGABRT)
    process.communicate()

    if not list(folder.iterdir()):
        pytest.skip("the kernel of this machine writes core files elsewhere, so the other tests can only check limits")
