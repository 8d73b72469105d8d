"""Forks: a log that contradicts a remembered checkpoint is refused, until an operator accepts the fork."""

import asyncio
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from typer.testing import CliRunner

from server.commands.cli import app
from server.config import Settings
from server.errors import ForkRefused, StoreUnavailable
from server.maintenance.doctor import check_log
from server.maintenance.forks import adopt_fork
from server.stores.database import Database
from server.stores.record_log.anchors import (
    CHECKED_ANCHORS,
    AnchorContradicted,
    CheckpointAnchor,
    read_anchor_folder,
    read_anchored_size,
    write_exclusively,
)
from server.stores.record_log.high_water_mark import HighWaterMark
from tests.conftest import Serving, key_settings
from tests.server.record_logs import NOW, ORIGIN, entry, newest_checkpoint, open_test_log
from tests.server.requests import score_request
from tests.server.servers import serve

Copy = Callable[[str], str]


@pytest.fixture
def copy_database(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """Return a function that copies an idle database, as a backup does, and returns the URL of the copy."""
    numbers = iter(range(100))

    def copy(url: str) -> str:
        name = f"copy{next(numbers)}"
        if url.startswith("sqlite"):
            return f"sqlite:///{shutil.copy(url.removeprefix('sqlite:///'), tmp_path / f'{name}.db')}"
        source = sqlalchemy.make_url(url)
        target = f"{source.database}_{name}"
        engine: sqlalchemy.Engine = request.getfixturevalue("postgres")
        with engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{target}" TEMPLATE "{source.database}"')
        return source.set(database=target).render_as_string(hide_password=False)

    return copy


def append(url: str, folder: Path, count: int) -> None:
    """Append records as a separate process does."""
    with open_test_log(url, folder) as log:
        for _ in range(count):
            log.append([entry()])


def refusal_of_append(url: str, folder: Path, **changes: Any) -> str:
    """Append to a log that refuses the append; return the reason from the application log."""
    with capture_logs() as lines, open_test_log(url, folder, **changes) as log, pytest.raises(StoreUnavailable):
        log.append([entry()])
    return "\n".join(str(line.get("problem", "")) for line in lines)


def test_a_database_restored_from_an_older_copy_is_refused_with_both_sizes_and_roots(
    database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    append(database_url, tmp_path, 3)
    older = copy_database(database_url)
    append(database_url, tmp_path, 2)
    with open_test_log(database_url, tmp_path) as log:
        newest = newest_checkpoint(log)

    problem = refusal_of_append(older, tmp_path)

    assert f"the log has 3 records with root {_root(older, tmp_path)}" in problem
    assert f"signing.mark has 5 with root {newest.root.hex()}" in problem
    assert "records 3 to 4 are missing" in problem


def _root(url: str, folder: Path) -> str:
    with open_test_log(url, folder) as log:
        return newest_checkpoint(log).root.hex()


def test_a_forked_database_is_refused_even_if_it_is_longer_than_the_lost_one(
    database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    append(database_url, tmp_path, 3)
    older = copy_database(database_url)
    append(database_url, tmp_path, 2)
    mark = (tmp_path / "signing.mark").read_bytes()
    (tmp_path / "signing.mark").unlink()  # a host without the high-water mark accepts the fork
    append(older, tmp_path, 9)
    (tmp_path / "signing.mark").write_bytes(mark)

    problem = refusal_of_append(older, tmp_path)

    assert "the log has 12 records and, at size 5, root" in problem
    assert "at least one of the first 5 records differs" in problem


def test_a_process_refuses_a_longer_log_that_contradicts_its_own_last_append(
    database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    append(database_url, tmp_path, 3)
    older = copy_database(database_url)
    (tmp_path / "other").mkdir()
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry()])
        remembered = log.last_frontier
    with open_test_log(older, tmp_path, mark=tmp_path / "other" / "mark") as log:
        for _ in range(5):
            log.append([entry()])
        log.last_frontier = remembered  # simulates a process whose database failed over to the other database

        with capture_logs() as lines, pytest.raises(StoreUnavailable):
            log.append([entry()])

    assert any("this process has 4 records with root" in str(line.get("problem")) for line in lines)


def test_appends_of_two_alternating_processes_are_not_a_fork(database_url: str, tmp_path: Path) -> None:
    with open_test_log(database_url, tmp_path) as one, open_test_log(database_url, tmp_path) as other:
        for _ in range(300):
            assert one.append([entry()])[0]
            assert other.append([entry(), entry()])[0]

        assert newest_checkpoint(one).size == 900


def test_a_log_that_is_longer_than_the_mark_is_accepted(database_url: str, tmp_path: Path) -> None:
    append(database_url, tmp_path, 3)
    mark = (tmp_path / "signing.mark").read_bytes()
    append(database_url, tmp_path, 7)
    (tmp_path / "signing.mark").write_bytes(mark)

    append(database_url, tmp_path, 1)

    with open_test_log(database_url, tmp_path) as log:
        assert newest_checkpoint(log).size == 11


def test_an_anchor_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1.txt"
    write_exclusively(path, "one")
    write_exclusively(path, "one")

    with pytest.raises(AnchorContradicted, match="a different checkpoint"):
        write_exclusively(path, "two")

    assert path.read_text() == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-1.txt"]


def test_a_fork_is_detected_by_an_anchor_alone_and_is_not_anchored(
    database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    folder = tmp_path / "anchors"
    folder.mkdir()
    append(database_url, tmp_path, 3)
    older = copy_database(database_url)
    append(database_url, tmp_path, 2)
    database = Database(database_url)
    CheckpointAnchor(database, folder, None).push()
    database.close()
    anchored = {path.name: path.read_text() for path in folder.iterdir()}
    (tmp_path / "signing.mark").unlink()
    append(older, tmp_path, 2)  # to the same size, by a process without configured anchors

    problem = refusal_of_append(older, tmp_path, anchor_folder=folder)
    database = Database(older)
    anchor = CheckpointAnchor(database, folder, None)
    with capture_logs() as lines:
        anchor.push()
    database.close()

    assert "checkpoint-00000000000000000005.txt has 5" in problem
    assert anchor.failures == 1
    assert "at least one of the first 5 records" in lines[-1]["problem"]
    assert {path.name: path.read_text() for path in folder.iterdir()} == anchored


@pytest.mark.parametrize("strange", ["damaged", "other content", "copies", "pipe", "endless", "no number"])
def test_files_that_are_no_anchors_do_not_hide_the_newest_anchor(
    strange: str, database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    folder = tmp_path / "anchors"
    folder.mkdir()
    append(database_url, tmp_path, 1)
    _push(database_url, folder)
    append(database_url, tmp_path, 2)
    older = copy_database(database_url)
    append(database_url, tmp_path, 2)
    _push(database_url, folder)
    (tmp_path / "signing.mark").unlink()
    append(older, tmp_path, 3)
    for number in range(7, 7 + CHECKED_ANCHORS):
        _write_strange_file(folder / f"checkpoint-{number:020d}.txt", strange, folder)

    problem = refusal_of_append(older, tmp_path, anchor_folder=folder)

    assert "checkpoint-00000000000000000005.txt has 5" in problem
    anchor, problem = _push(older, folder)
    assert (anchor.failures, anchor.pushed_size) == (1, 0)
    assert "at least one of the first 5 records" in problem
    database = Database(older)
    assert read_anchored_size(database, folder) == 5
    assert "" in read_anchor_folder(folder) or strange not in {"pipe", "endless"}
    database.close()


def _push(url: str, folder: Path) -> tuple[CheckpointAnchor, str]:
    """Anchor the newest checkpoint; return the anchor, and the problem in the application log."""
    database = Database(url)
    anchor = CheckpointAnchor(database, folder, None)
    with capture_logs() as lines:
        anchor.push()
    database.close()
    return anchor, str(lines[-1]["problem"]) if lines else ""


def _write_strange_file(path: Path, strange: str, folder: Path) -> None:
    """Write a strange file under the name of an anchor that is newer than all others, or under a similar name."""
    first = next(iter(sorted(folder.glob("checkpoint-*1.txt")))).read_bytes()
    if strange == "pipe":
        os.mkfifo(path)
    elif strange == "endless":
        path.symlink_to("/dev/zero")
    elif strange == "no number":
        path.with_name(f"checkpoint-x{path.stem}.txt").write_bytes(first)
    else:
        path.write_bytes({"damaged": first[:40], "other content": b"\xff\xfe", "copies": first}[strange])


async def _health(serving: Serving, service: str = "grounds.credit.v1.CreditService") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return (await health_pb2_grpc.HealthStub(serving.channel).Check(request)).status


async def test_a_server_with_an_older_copy_never_becomes_healthy_and_scores_no_request(
    small_settings: Settings, tmp_path: Path
) -> None:
    path = Path(small_settings.database.removeprefix("sqlite:///"))
    async with serve(small_settings) as serving:
        await serving.credit.ScoreCredit(score_request())
    older = shutil.copy(path, tmp_path / "older.db")
    requests = [score_request(), score_request()]
    async with serve(small_settings) as serving:
        answers = [await serving.credit.ScoreCredit(request) for request in requests]
    shutil.copy(older, path)

    with capture_logs() as lines:
        async with serve(small_settings) as serving:
            first = await _health(serving)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await serving.credit.ScoreCredit(requests[0])
            await asyncio.sleep(0.2)
            later = await _health(serving)

    assert (first, later) == (health_pb2.HealthCheckResponse.NOT_SERVING,) * 2
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert len(answers) == 2
    damage = [line for line in lines if line["event"] == "log damaged"]
    assert len(damage) == 1, "said once, not by every probe"
    assert "records 4 to 5 are missing" in damage[0]["problem"]


def test_doctor_reports_a_fork_until_an_operator_adopts_it(
    database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    folder = tmp_path / "anchors"
    folder.mkdir()
    append(database_url, tmp_path, 3)
    older = copy_database(database_url)
    append(database_url, tmp_path, 2)
    database = Database(database_url)
    CheckpointAnchor(database, folder, None).push()
    database.close()
    mark = HighWaterMark(tmp_path / "signing.mark")

    with open_test_log(older, tmp_path, anchor_folder=folder) as log:
        before = check_log(log.database, log.verifier, folder, mark)
        lost = adopt_fork(log, "restored the backup of Monday, ticket 7", NOW)
        after = check_log(log.database, log.verifier, folder, mark)
        log.append([entry()])
        head = newest_checkpoint(log)
    with open_test_log(older, tmp_path, anchor_folder=folder) as log:
        log.append([entry()])
        CheckpointAnchor(log.database, folder, None).push()
        ended = check_log(log.database, log.verifier, folder, mark)

    assert not before[0]
    assert any("records 3 to 4" in line for line in before[1])
    assert (lost.start, lost.stop) == (1, 6)
    assert after[0], after[1]
    assert any("given up by adopt-fork" in line for line in after[1])
    assert head.size == 5
    assert ended[0], ended[1]
    assert (folder / "checkpoint-00000000000000000006.txt").exists()


def test_a_second_restore_to_a_size_that_was_once_given_up_is_a_fork_again(
    database_url: str, copy_database: Copy, tmp_path: Path
) -> None:
    folder = tmp_path / "anchors"
    folder.mkdir()
    append(database_url, tmp_path, 1)
    first_copy = copy_database(database_url)
    append(database_url, tmp_path, 8)
    with open_test_log(first_copy, tmp_path, anchor_folder=folder) as log:
        adopt_fork(log, "the first restore", NOW)
    second_copy = copy_database(first_copy)
    with open_test_log(first_copy, tmp_path, anchor_folder=folder) as log:
        for _ in range(4):
            log.append([entry()])
        CheckpointAnchor(log.database, folder, None).push()
    mark = HighWaterMark(tmp_path / "signing.mark")

    problem = refusal_of_append(second_copy, tmp_path, anchor_folder=folder)
    with open_test_log(second_copy, tmp_path, anchor_folder=folder) as log:
        healthy, report = check_log(log.database, log.verifier, folder, mark)
        lost = adopt_fork(log, "the second restore", NOW)
        log.append([entry()])

    assert "the log has 2 records" in problem
    assert "records 2 to 5 are missing" in problem
    assert not healthy
    assert not any("given up" in line for line in report)
    assert (lost.start, lost.stop) == (1, 7)


def test_an_adoption_gives_up_every_anchor_that_the_database_contradicts(tmp_path: Path) -> None:
    """Doctor reads all anchors, and a running server only the newest 100."""
    url = f"sqlite:///{tmp_path / 'log.db'}"
    folder = tmp_path / "anchors"
    folder.mkdir()
    append(url, tmp_path, 1)
    older = shutil.copy(tmp_path / "log.db", tmp_path / "older.db")
    with open_test_log(url, tmp_path) as log:
        anchor = CheckpointAnchor(log.database, folder, None)
        for _ in range(450):  # more than one record can give up
            log.append([entry()])
            assert anchor.push()
    shutil.copy(older, tmp_path / "log.db")
    config = tmp_path / "config.toml"
    settings = {**key_settings(tmp_path), "database": url, "log_origin": ORIGIN, "anchor_folder": folder}
    config.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))
    words = ["adopt-fork", "--reason", "restored", "--apply", "--config", str(config)]

    assert CliRunner().invoke(app, words).exit_code == 0

    with open_test_log(url, tmp_path, anchor_folder=folder) as log:
        healthy, report = check_log(log.database, log.verifier, folder, HighWaterMark(tmp_path / "signing.mark"))
        log.append([entry()])
    assert healthy, report
    assert sum("given up" in line for line in report) == 450


def test_adopting_a_log_without_a_fork_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    append(url, tmp_path, 2)

    with open_test_log(url, tmp_path) as log, pytest.raises(ForkRefused, match="there is no fork to adopt"):
        adopt_fork(log, "no reason", NOW)


def test_the_mark_survives_one_damaged_slot_and_is_refused_without_a_valid_slot(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    append(url, tmp_path, 4)
    path = tmp_path / "signing.mark"
    content = path.read_bytes()
    with open_test_log(url, tmp_path) as log:
        key = log.verifier
    sizes = set()
    for start in (0, 4096):
        torn = bytearray(content)
        torn[start + 60 : start + 4096] = bytes(4036)
        path.write_bytes(torn)
        found = HighWaterMark(path).read(key)
        assert found is not None
        sizes.add(found.size)

    assert sizes == {3, 4}
    path.write_bytes(b"nonsense")
    assert "contains no checkpoint of this log" in refusal_of_append(url, tmp_path)


def test_the_mark_contains_the_signed_checkpoint_of_the_last_acknowledged_append(
    database_url: str, tmp_path: Path
) -> None:
    with open_test_log(database_url, tmp_path) as log:
        for size in range(1, 6):
            log.append([entry()])
            mark = HighWaterMark(tmp_path / "signing.mark").read(log.verifier)
            assert mark is not None
            assert (mark.size, mark.root) == (size, log.last_frontier.root())

    assert (tmp_path / "signing.mark").stat().st_mode & 0o777 == 0o600


def test_the_command_lists_the_lost_records_and_adopts_the_fork_only_with_apply(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    append(url, tmp_path, 3)
    older = shutil.copy(tmp_path / "log.db", tmp_path / "older.db")
    append(url, tmp_path, 2)
    Path(older).replace(tmp_path / "log.db")
    settings = {**key_settings(tmp_path), "database": url, "log_origin": ORIGIN}
    config = tmp_path / "config.toml"
    config.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))
    words = ["adopt-fork", "--reason", "restored, ticket 114", "--config", str(config)]
    hostile = CliRunner().invoke(app, ["adopt-fork", "--reason", "x\u202e\x1b[31m", "--apply", "--config", str(config)])

    shown = CliRunner().invoke(app, words)
    done = CliRunner().invoke(app, [*words, "--apply"])
    again = CliRunner().invoke(app, words)

    assert "must not contain control or invisible characters" in str(hostile.exception)
    assert "records 0 to 4 would be given up" in shown.output
    assert "lists no erasure. If customers were erased, the file is lost" in shown.output
    assert "add --apply" in shown.output
    assert "records 0 to 4 are given up" in done.output
    assert isinstance(again.exception, ForkRefused)
    append(url, tmp_path, 1)


def test_logs_that_start_together_share_one_new_mark(database_url: str, tmp_path: Path) -> None:
    def start(_number: int) -> None:
        with open_test_log(database_url, tmp_path) as log:
            log.append([entry()])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(24)))

    with open_test_log(database_url, tmp_path) as log:
        mark = HighWaterMark(tmp_path / "signing.mark").read(log.verifier)
    assert mark is not None
    assert mark.size == 24


def test_a_mark_that_another_process_is_creating_is_empty_and_no_fork(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path):
        pass
    (tmp_path / "signing.mark").touch(0o600)

    with open_test_log(url, tmp_path) as log:
        assert len(log.append([entry()])) == 1
