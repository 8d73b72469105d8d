"""A witness cosigns only a checkpoint that extends its last one, and detects two servers that show different logs."""

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grounds.audit.v1 import audit_pb2
from grounds_client.commands.witness import SPLIT_VIEW_STATUS
from grounds_client.errors import WitnessRefused
from grounds_client.files import hold_lock
from grounds_client.witness import SplitView, Witness
from grounds_record.checkpoint import open_checkpoint
from grounds_record.cosignature import parse_witness_key, verify_cosignatures
from grounds_record.merkle import consistency_proof
from grounds_record.note import VerifierKey
from server.config import Settings
from server.maintenance.doctor import read_verifier_key
from tests.client.command_line import run_streams
from tests.conftest import START_RECORDS, Serving
from tests.record.logs import KEY, Log, honest_log
from tests.server.record_logs import entry, open_test_log
from tests.server.servers import serve

NAME = "audit.example.com/w1"
NOW = 1_800_000_000.0


class Server:
    """A server of a log in memory, whose checkpoint covers the first `size` records."""

    def __init__(self, log: Log, size: int) -> None:
        self.log, self.size = log, size

    def get_checkpoint(self) -> audit_pb2.GetCheckpointResponse:
        """Return the checkpoint of the first `size` records."""
        return audit_pb2.GetCheckpointResponse(checkpoint=self.log.checkpoint(self.size))

    def get_consistency_proof(self, old_size: int, *, new_size: int = 0) -> audit_pb2.GetConsistencyProofResponse:
        """Return the proof that the log of the new size extends the log of the old size."""
        hashes = consistency_proof(old_size, new_size, lambda nodes: {node: self.log.node(node) for node in nodes})
        return audit_pb2.GetConsistencyProofResponse(new_size=new_size, hashes=hashes)


def witness(folder: Path, time: float = NOW, key: VerifierKey | None = None) -> Witness:
    """Return a witness that keeps its state in a folder, and whose clock shows `time`."""
    return Witness(folder, NAME, key or KEY.verifier(), lambda: time)


def files(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_growing_log_is_cosigned_and_each_cosigned_checkpoint_verifies(tmp_path: Path) -> None:
    log, own = honest_log(40), witness(tmp_path / "w")

    for size, added in ((0, 0), (7, 7), (7, 0), (40, 33)):
        result = own.run_round(Server(log, size))
        note = own.cosigned_path.read_text()
        assert (result.checkpoint.size, result.added) == (size, added)
        assert open_checkpoint(note, KEY.verifier()) == result.checkpoint
        assert verify_cosignatures(note, [own.key]) == {NAME: int(NOW)}

    assert files(tmp_path / "w") == {"witness.key", "checkpoint.txt", "size.txt", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "w").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o700


@pytest.mark.parametrize("size", [12, 20, 30])
def test_a_rewritten_or_shorter_log_is_reported_and_never_cosigned(tmp_path: Path, size: int) -> None:
    log, own = honest_log(30), witness(tmp_path)
    other = log.rewritten([3])
    own.run_round(Server(log, 20))
    before = own.cosigned_path.read_bytes()

    for _ in range(2):
        with pytest.raises(SplitView) as caught:
            own.run_round(Server(other, size))

    kept = [path.read_text() for path in sorted(tmp_path.glob("contradiction-*"))]
    seen = {open_checkpoint(note, KEY.verifier()) for note in kept}
    roots = {
        open_checkpoint(log.checkpoint(20), KEY.verifier()),
        open_checkpoint(other.checkpoint(size), KEY.verifier()),
    }
    assert own.cosigned_path.read_bytes() == before
    assert len(kept) == 2
    assert seen == roots
    for checkpoint in roots:
        assert f"{checkpoint.size} records with root {checkpoint.root.hex()}" in str(caught.value)
    assert own.run_round(Server(log, 30)).added == 10, "the honest log is cosigned again"


def test_a_witness_refuses_a_changed_state_another_process_and_a_clock_that_is_behind(tmp_path: Path) -> None:
    server, own = Server(honest_log(9), 9), witness(tmp_path)
    own.run_round(server)

    with (
        hold_lock(own.folder / "lock", AssertionError("nobody holds the lock")),
        pytest.raises(WitnessRefused, match="another process uses this folder"),
    ):
        witness(tmp_path).run_round(server)
    with pytest.raises(WitnessRefused, match="10 seconds behind the last cosignature"):
        witness(tmp_path, NOW - 10).run_round(server)
    own.cosigned_path.write_text(server.log.checkpoint(9))
    with pytest.raises(WitnessRefused, match="was not cosigned by this witness"):
        own.run_round(server)
    own.cosigned_path.write_text("no checkpoint")
    with pytest.raises(WitnessRefused, match="is not a checkpoint of this log"):
        own.run_round(server)


def test_a_witness_whose_last_checkpoint_was_rolled_back_or_deleted_cosigns_no_other_history(tmp_path: Path) -> None:
    log, own = honest_log(30), witness(tmp_path)
    own.run_round(Server(log, 5))
    older = own.cosigned_path.read_bytes()
    own.run_round(Server(log, 20))
    newest = own.cosigned_path.read_bytes()
    other = log.rewritten([9])

    own.cosigned_path.write_bytes(older)
    with pytest.raises(WitnessRefused, match="has 5 records, but this witness has cosigned 20"):
        witness(tmp_path).run_round(Server(other, 30))
    own.cosigned_path.unlink()
    with pytest.raises(WitnessRefused, match="is missing, but this witness has cosigned 20 records"):
        witness(tmp_path).run_round(Server(other, 30))
    own.cosigned_path.write_bytes(newest)

    assert witness(tmp_path).run_round(Server(log, 30)).added == 10


@pytest.fixture
async def two_views(small_settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Serving, Serving]]:
    """Start two servers with the same signing key, whose logs share their first three records only."""
    database = Path(small_settings.database.removeprefix("sqlite:///"))
    origin = {"origin": small_settings.log_origin}
    with open_test_log(small_settings.database, tmp_path, **origin) as log:
        log.append([entry() for _ in range(3)])
    views = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        for path in (database, tmp_path / "keys.db", tmp_path / "master.key", tmp_path / "signing.key"):
            shutil.copy(path, folder / path.name)
        url = f"sqlite:///{folder / database.name}"
        with open_test_log(url, folder, **origin) as log:
            log.append([entry() for _ in range(4)])
        paths = {"master_key": folder / "master.key", "signing_key": folder / "signing.key"}
        views.append(
            small_settings.model_copy(update={"database": url, "keys": f"sqlite:///{folder / 'keys.db'}", **paths})
        )
    async with serve(views[0]) as one, serve(views[1]) as other:
        yield one, other


async def test_two_servers_that_show_different_logs_are_found(
    two_views: tuple[Serving, Serving], tmp_path: Path
) -> None:
    one, other = two_views
    key = await asyncio.to_thread(read_verifier_key, one.settings)
    (tmp_path / "log.pub").write_text(key.text())
    words = ("witness", str(tmp_path / "w"), "--key", str(tmp_path / "log.pub"), "--name", NAME)

    first = await run_streams(one, *words)
    again = await run_streams(one, *words)
    status, _, errors = await run_streams(other, *words)

    assert (first[0], again[0]) == (0, 0), first
    size = START_RECORDS + 7
    assert f"cosigned {size} records, {size} of them new" in first[1]
    assert status == SPLIT_VIEW_STATUS
    assert "SPLIT VIEW of the log grounds.local/log: two checkpoints of the same size have different roots" in errors
    kept = [open_checkpoint(path.read_text(), key) for path in (tmp_path / "w").glob("contradiction-*")]
    assert [checkpoint.size for checkpoint in kept] == [size, size]
    assert len({checkpoint.root for checkpoint in kept}) == 2


async def test_an_export_verifies_with_the_cosigned_checkpoint_and_not_with_that_of_the_other_view(
    two_views: tuple[Serving, Serving], tmp_path: Path
) -> None:
    one, other = two_views
    key = (await asyncio.to_thread(read_verifier_key, one.settings)).text()
    _, printed, _ = await run_streams(one, "witness", str(tmp_path / "w"), "--key", key, "--name", NAME)
    public = printed.splitlines()[0].removeprefix("public key of this witness: ")
    cosigned = str(tmp_path / "w" / "checkpoint.txt")
    reports = []
    for view in (one, other):
        await run_streams(view, "export-log", str(tmp_path / "export"))
        words = ("verify", str(tmp_path / "export"), "--key", key, "--witness", public)
        reports += [await verify_offline(*words, "--checkpoint", cosigned), await verify_offline(*words)]

    assert parse_witness_key(public).name == NAME
    assert [status for status, _ in reports] == [0, 1, 1, 1]
    assert f"the checkpoint of {START_RECORDS + 7} records is cosigned by {NAME}" in reports[0][1]
    assert "no checkpoint that holds is cosigned by at least 1 of the witnesses" in reports[1][1]


async def verify_offline(*words: str) -> tuple[int, str]:
    """Run `grounds` with these words and without a server; return the exit status and the output."""
    from typer.testing import CliRunner

    from grounds_client.commands.app import app

    done = await asyncio.to_thread(CliRunner().invoke, app, [*words])
    return done.exit_code, done.stdout
