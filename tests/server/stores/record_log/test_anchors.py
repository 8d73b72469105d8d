"""Checkpoints are copied to the configured anchors; a failure is logged and counted, and does not affect decisions."""

import asyncio
import os
import resource
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from grounds_record.checkpoint import open_checkpoint
from server.config import Settings
from server.stores.database import Database
from server.stores.record_log.anchors import CheckpointAnchor
from tests.conftest import START_RECORDS
from tests.server.record_logs import entry, open_test_log
from tests.server.requests import score_request
from tests.server.servers import serve, wait_until


async def serve_and_anchor(settings: Settings, decisions: int) -> tuple[int, list[int], list[str]]:
    """Serve some decisions; return the failures, the sizes of anchored checkpoints, and the logged events."""
    with capture_logs() as lines:
        async with serve(settings) as serving:
            for _ in range(decisions):
                await serving.credit.ScoreCredit(score_request())
            log = serving.application.log
            assert log is not None
            await wait_until(lambda: asyncio.sleep(0, log.last_frontier.size == START_RECORDS + decisions))
            verifier, anchors = log.verifier, serving.application.anchors
            # A stop would interrupt the first push, which begins with the activations of the start.
            await wait_until(lambda: asyncio.sleep(0, anchors.failures > 0 or anchors._pushed >= START_RECORDS))
        failures = serving.application.anchors.failures
    folder = settings.anchor_folder
    notes = sorted(folder.glob("checkpoint-*.txt")) if folder and folder.is_dir() else []
    sizes = [open_checkpoint(path.read_text(), verifier).size for path in notes]
    return failures, sizes, [line["event"] for line in lines]


async def test_the_last_checkpoint_is_in_the_folder_after_a_stop(small_settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "anchors"
    folder.mkdir()

    failures, sizes, _ = await serve_and_anchor(small_settings.model_copy(update={"anchor_folder": folder}), 3)

    assert failures == 0
    assert sizes[-1] == START_RECORDS + 3
    assert sizes == sorted(set(sizes))
    assert {path.suffix for path in folder.iterdir()} == {".txt"}


async def test_a_command_gets_the_checkpoint_on_its_standard_input(small_settings: Settings, tmp_path: Path) -> None:
    got = tmp_path / "got.txt"
    script = f"import sys; open({str(got)!r}, 'w').write(sys.stdin.read())"
    command = f"{sys.executable} -c {shlex.quote(script)}"

    failures, _, _ = await serve_and_anchor(small_settings.model_copy(update={"anchor_command": command}), 2)

    assert failures == 0
    assert got.read_text().splitlines()[:2] == [small_settings.log_origin, str(START_RECORDS + 2)]


async def test_the_failure_of_an_anchor_is_counted_and_does_not_affect_decisions(
    small_settings: Settings, tmp_path: Path
) -> None:
    nowhere = {"anchor_folder": tmp_path / "nowhere", "anchor_command": "/nonexistent/command", "anchor_seconds": 0.05}

    failures, sizes, events = await serve_and_anchor(small_settings.model_copy(update=nowhere), 3)

    assert failures >= 1
    assert sizes == []
    assert "checkpoint not anchored" in events
    assert "stopped" in events


async def test_a_command_that_hangs_is_killed_with_its_children_and_does_not_delay_the_stop(
    small_settings: Settings, tmp_path: Path
) -> None:
    children = tmp_path / "children"
    script = f"sleep 97 & echo $! >> {children}; wait"
    hanging = {"anchor_command": f"sh -c {shlex.quote(script)}", "anchor_seconds": 0.05}

    async def has_begun() -> bool:
        return children.exists() and bool(children.read_text())

    async with serve(small_settings.model_copy(update=hanging)) as serving:
        await serving.credit.ScoreCredit(score_request())
        await wait_until(has_begun)
        start = time.monotonic()
    took = time.monotonic() - start

    assert serving.application.anchors.failures >= 1
    assert took < 10
    assert not [pid for pid in map(int, children.read_text().split()) if is_running(pid)]


def is_running(pid: int) -> bool:
    """Return whether a process with this id exists and has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("head -c 20000000 /dev/zero >&2; exit 3", "exit status 3"),
        ("echo 'no route to the notary' >&2; exit 1", "exit status 1: no route to the notary"),
        ("exec 2>&-; sleep 97", "did not end within 0.5 seconds"),
    ],
)
def test_what_a_command_prints_does_not_reach_the_application_log_unbounded(
    script: str, problem: str, database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_test_log(database.engine.url.render_as_string(hide_password=False), tmp_path) as log:
        log.append([entry()])
    capfd.readouterr()

    with capture_logs() as lines:
        CheckpointAnchor(database, None, f"sh -c {shlex.quote(script)}").push(seconds=0.5 if "97" in script else 30)

    assert problem in lines[-1]["problem"]
    assert len(lines[-1]["problem"]) < 3000
    assert capfd.readouterr().err == ""


def test_a_command_runs_in_a_server_with_more_than_1024_open_descriptors(database: Database, tmp_path: Path) -> None:
    """`select` cannot wait for a descriptor above 1,023; a server with many connections has such descriptors."""
    with open_test_log(database.engine.url.render_as_string(hide_password=False), tmp_path) as log:
        log.append([entry()])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with capture_logs() as lines:
            assert CheckpointAnchor(database, None, "sh -c 'cat > /dev/null'").push(seconds=30)
            assert not CheckpointAnchor(database, None, "sh -c 'echo lost >&2; exit 3'").push(seconds=30)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "exit status 3: lost" in lines[-1]["problem"]


def test_a_descendant_that_keeps_the_pipe_of_a_command_open_does_not_delay_the_anchor(
    database: Database, tmp_path: Path
) -> None:
    with open_test_log(database.engine.url.render_as_string(hide_password=False), tmp_path) as log:
        log.append([entry()])
    anchor = CheckpointAnchor(database, None, "sh -c 'setsid sleep 8 & exit 0'")
    start = time.monotonic()

    assert anchor.push(seconds=30)
    assert time.monotonic() - start < 7
