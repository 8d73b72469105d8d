"""The process that draws the next sample has read its libraries before anybody asks, draws once, and never outlives its server."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from server.application import Application
from server.config import Settings
from server.stores.record_log.decision_index import Condition
from server.stores.record_log.sampling import Question, Samples, Strata
from tests.conftest import ROOT
from tests.server.record_logs import entry, opened
from tests.server.servers import until

QUESTION = Question(Condition(), tree_size=9, keys=("market",), seed="tulip", size=9)
WAIT_SECONDS = 30


@pytest.fixture
def samples(tmp_path: Path) -> Iterator[Samples]:
    """Draw from a log of nine decisions, with nothing ready yet."""
    with opened(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry(record_id=f"00000000-0000-7000-8000-00000000000{number}") for number in range(9)])
        with closing(Samples(log.database)) as found:
            yield found


def names_of(drawn: Strata) -> set[str]:
    """Give the last digits of what was drawn."""
    ((_, names),) = drawn.values()
    return {name[-1] for name in names}


def test_the_process_that_waits_draws_and_another_one_waits_then(samples: Samples) -> None:
    samples.prepare()
    first = samples.spare
    samples.prepare()
    assert first is not None
    assert samples.spare is first, "one is enough"
    assert psutil.Process(first.pid).nice() == 10, "behind the server"

    assert names_of(samples.draw(QUESTION)) == set("012345678")

    assert first.returncode == 0
    assert samples.spare is not first


def test_one_that_was_killed_while_it_waited_is_replaced(samples: Samples) -> None:
    samples.prepare()
    assert samples.spare is not None
    samples.spare.kill()
    samples.spare.wait()

    assert names_of(samples.draw(QUESTION)) == set("012345678")


def test_closed_nothing_waits(samples: Samples) -> None:
    samples.prepare()
    waiting = samples.spare
    assert waiting is not None

    samples.close()

    assert (waiting.returncode, samples.spare) == (-signal.SIGKILL, None)
    samples.prepare()
    assert samples.spare is None


class Prepared(Application):
    """A server that waits for no caller before it has a process ready."""

    spare_seconds = 0.0


async def test_a_server_has_one_ready_and_ends_it_when_it_stops(small_settings: Settings) -> None:
    application = Prepared(small_settings)

    async def is_ready() -> bool:
        return application.samples.spare is not None

    await application.start()
    try:
        await until(is_ready)
        waiting = application.samples.spare
    finally:
        await application.stop()

    assert waiting is not None
    assert (waiting.poll(), application.samples.spare) == (-signal.SIGKILL, None)


def test_it_ends_where_its_server_is_killed() -> None:
    code = (
        "import time; from server.stores.database import Database; from server.stores.record_log.sampling import Samples\n"
        "samples = Samples(Database('sqlite://')); samples.prepare(); print(samples.spare.pid, flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        waiting = psutil.Process(int(server.stdout.readline()))
        server.send_signal(signal.SIGKILL)
        server.wait()
        gone, alive = psutil.wait_procs([waiting], timeout=WAIT_SECONDS)

    assert (len(gone), alive) == (1, [])
