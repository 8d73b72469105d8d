"""The graphs of untrusted bundles run in processes with limits. A bundle that exceeds a limit affects no other bundle."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.bundle import Bundle, read_bundle
from models.catalog import ACTIVE, activate
from models.errors import BundleInvalid, BundleNotRunnable
from models.isolation.frames import FrameKind, write_frame
from models.isolation.processes import GraphProcesses, ProcessLimits, _GraphProcess, _read_answer
from models.model import Model, open_model
from tests.models.changed_bundles import read_files, write_with_file
from tests.models.crafted_graphs import THRESHOLD, attack, fill_memory, use_time
from tests.small import SmallFamily

LIMITS = ProcessLimits(cpu_seconds=2, wall_seconds=120)
ORDINARY = np.array([[3.0, 5.0, 20_000.0, 7.0]])
HARMFUL = np.array([[3.0, 5.0, 2 * THRESHOLD, 7.0]])


@pytest.fixture
def processes() -> Iterator[GraphProcesses]:
    """Open graph processes with a low limit on processor time; end the processes after the test."""
    with GraphProcesses(LIMITS) as started:
        yield started


def crafted_bundle(
    small: SmallFamily, folder: Path, harm: Callable[[onnx.GraphProto], str], names: tuple[str, ...] = ("explain.onnx",)
) -> Bundle:
    """Write a copy of the small bundle in which the named graphs are harmful; return the copy."""
    parent, written = folder / "crafted", small.bundle_folder
    for name in names:
        written = write_with_file(written, parent, name, attack(read_files(written)[name], harm))
    return read_bundle(written)


def running(processes: GraphProcesses) -> list[_GraphProcess]:
    """Return the processes that are idle and alive."""
    return [process for process in processes._idle if process.is_alive()]


def test_the_results_equal_those_of_a_bundle_in_this_process_to_the_bit(
    small: SmallFamily, processes: GraphProcesses
) -> None:
    bundle = small.bundle()
    random = np.random.default_rng(5)
    rows = np.where(random.random((200, 4)) < 0.1, np.nan, random.exponential([20, 8, 50_000, 10], (200, 4)))
    here, there = open_model(bundle).scorer, processes.open_model(bundle).scorer

    assert there.margins(rows).tobytes() == here.margins(rows).tobytes()
    for mine, others in zip(here.explain(rows), there.explain(rows), strict=True):
        assert others.tobytes() == mine.tobytes()
    assert [there.explain_one(row[None]) for row in rows[:30]] == [here.explain_one(row[None]) for row in rows[:30]]


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="the test reads /proc")
def test_the_process_has_no_environment_no_other_files_and_an_empty_working_directory(
    small: SmallFamily, processes: GraphProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDS_DATABASE", "postgresql://user:secret@host/db")
    with (small.folder / "small.toml").open() as inherited:
        os.set_inheritable(inherited.fileno(), True)  # noqa: FBT003 - the function has no keyword
        processes.open_model(small.bundle())
        (process,) = running(processes)
        status = Path(f"/proc/{process._process.pid}")

        assert {path.name for path in (status / "fd").iterdir()} == {"0", "1", "2"}
    assert b"secret" not in (status / "environ").read_bytes()
    assert str((status / "cwd").readlink()).endswith("(deleted)")
    limits = {line[:25].strip(): line[26:46].strip() for line in (status / "limits").read_text().splitlines()}
    assert (limits["Max open files"], limits["Max processes"], limits["Max file size"]) == ("3", "0", "0")
    assert limits["Max core file size"] == "0"
    assert limits["Max address space"] == str(LIMITS.memory_bytes)
    assert limits["Max cpu time"] != "unlimited"


def test_a_graph_that_needs_too_much_memory_fails_and_the_next_request_is_answered(
    small: SmallFamily, processes: GraphProcesses, tmp_path: Path
) -> None:
    scorer = processes.open_model(crafted_bundle(small, tmp_path, fill_memory)).scorer

    with pytest.raises(BundleInvalid, match="bad_alloc"):
        scorer.explain(HARMFUL)

    assert scorer.explain(ORDINARY)[0] == open_model(small.bundle()).scorer.explain(ORDINARY)[0]


def test_a_graph_that_needs_too_much_time_is_killed_and_its_bundle_is_refused_for_a_while(
    small: SmallFamily, processes: GraphProcesses, tmp_path: Path
) -> None:
    scorer = processes.open_model(crafted_bundle(small, tmp_path, use_time)).scorer
    good = processes.open_model(small.bundle()).scorer

    with pytest.raises(BundleNotRunnable, match="more than 2 seconds of processor time"):
        scorer.explain(HARMFUL)
    for row in (ORDINARY, HARMFUL):
        with pytest.raises(BundleNotRunnable, match="more than 2 seconds of processor time"):
            scorer.explain(row)

    assert [process.bundle_id for process in running(processes)] == [small.bundle_folder.name]
    assert good.explain(ORDINARY)[0].shape == (1,)


def test_a_process_that_does_not_answer_is_killed(small: SmallFamily) -> None:
    with GraphProcesses(ProcessLimits(wall_seconds=1.0)) as processes:
        scorer = processes.open_model(small.bundle()).scorer
        (process,) = running(processes)
        os.kill(process._process.pid, signal.SIGSTOP)

        with pytest.raises(BundleNotRunnable, match="did not answer within 1 seconds"):
            scorer.explain(ORDINARY)

        assert not process.is_alive()


def test_a_process_that_was_killed_between_two_requests_is_replaced(
    small: SmallFamily, processes: GraphProcesses
) -> None:
    scorer = processes.open_model(small.bundle()).scorer
    before = scorer.explain_one(ORDINARY)
    (process,) = running(processes)
    process._process.kill()
    process._process.wait()

    assert scorer.explain_one(ORDINARY) == before
    assert running(processes) != [process]


def test_the_bundle_that_was_not_used_for_the_longest_time_gives_up_its_process(
    small: SmallFamily, tmp_path: Path
) -> None:
    bundles = [small.bundle()]
    bundles += [
        read_bundle(write_with_file(small.bundle_folder, tmp_path, "card.md", f"# {number}\n".encode()))
        for number in range(2)
    ]
    with GraphProcesses(ProcessLimits(processes=2)) as processes:
        models: list[Model] = [processes.open_model(bundle) for bundle in bundles]

        assert [process.bundle_id for process in running(processes)] == [bundle.bundle_id for bundle in bundles[1:]]
        answers = [model.scorer.explain_one(ORDINARY) for model in models]
        assert len(running(processes)) == 2

    assert answers[0] == answers[1] == answers[2]


def test_a_process_that_nobody_uses_ends(small: SmallFamily) -> None:
    with GraphProcesses(ProcessLimits(idle_seconds=0.05)) as processes:
        model = processes.open_model(small.bundle())
        deadline = time.monotonic() + 20
        while processes._idle and time.monotonic() < deadline:
            time.sleep(0.01)

        assert not processes._idle
        assert model.scorer.explain_one(ORDINARY)


def test_closing_ends_a_request_in_progress(small: SmallFamily, tmp_path: Path) -> None:
    problems: list[str] = []
    processes = GraphProcesses()
    scorer = processes.open_model(crafted_bundle(small, tmp_path, use_time)).scorer

    def request() -> None:
        try:
            scorer.explain(HARMFUL)
        except BundleNotRunnable as error:
            problems.append(str(error))

    thread = threading.Thread(target=request)
    thread.start()
    while not processes._busy:
        time.sleep(0.001)
    processes.close()
    thread.join(20)

    assert problems == ["the server stops; retry on a different server"]
    with pytest.raises(BundleNotRunnable, match="the server stops"):
        scorer.explain(ORDINARY)


def test_an_answer_of_another_form_is_refused() -> None:
    for kind, content in (
        (FrameKind.RESULT, bytes(8)),
        (FrameKind.RESULT, bytes(24)),
        (FrameKind.OPEN, bytes(16)),
        (FrameKind.FAILURE, bytes(5000)),
    ):
        stream = io.BytesIO()
        write_frame(stream, kind, content)
        stream.seek(0)
        with pytest.raises(ValueError, match="not an answer"):
            _read_answer(stream, 2)
    with pytest.raises(EOFError):
        _read_answer(io.BytesIO(bytes(4)), 2)


def test_a_bundle_that_exceeds_a_limit_is_not_activated(small: SmallFamily, tmp_path: Path) -> None:
    golden = read_files(small.bundle_folder)["explain.onnx"]
    explain = attack(golden, fill_memory, threshold=-1.0)  # this threshold makes the graph harmful for the golden rows
    folder = write_with_file(small.bundle_folder, tmp_path, "explain.onnx", explain)

    with pytest.raises(BundleInvalid, match="bad_alloc"):
        activate(tmp_path, folder.name)

    assert not (tmp_path / "credit" / ACTIVE).exists()
