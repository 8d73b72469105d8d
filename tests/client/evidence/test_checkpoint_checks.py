"""A checkpoint that was saved earlier proves that the log has only grown since, or shows that it was rewritten."""

from pathlib import Path

import pytest

from grounds.audit.v1 import audit_pb2
from grounds_client.evidence.checkpoint_checks import check_checkpoints
from grounds_record.note import SigningKey
from tests.client.command_line import run, run_streams
from tests.client.test_witness import Server
from tests.conftest import Serving
from tests.record.logs import KEY, Log, honest_log
from tests.server.audits import score_customer

OTHER = SigningKey("example.com/other", b"\x07" * 32)


def check(log: Log, size: int, saved: str) -> list[tuple[str, bool]]:
    """Return the claims about a log of this size and a saved checkpoint, and whether they hold."""
    server = Server(log, size)
    head = audit_pb2.GetCheckpointResponse(checkpoint=log.checkpoint(size))
    return [(each.claim, each.holds) for each in check_checkpoints(server, head, [saved], KEY.verifier(), given=True)]


@pytest.mark.parametrize("saved", [0, 1, 7, 29, 30])
def test_a_log_that_only_grew_extends_every_checkpoint_that_was_saved(saved: int) -> None:
    log = honest_log(30)

    assert check(log, 30, log.checkpoint(saved)) == [
        ("the newest checkpoint, of 30 records, is signed by the log's key", True),
        (f"the checkpoint that you saved, of {saved} records, is signed by the log's key", True),
        (f"the first {saved} records are the ones that you saved the checkpoint of", True),
    ]


@pytest.mark.parametrize("size", [12, 20, 30])
def test_a_rewritten_or_shorter_log_contradicts_the_checkpoint_that_was_saved(size: int) -> None:
    log = honest_log(30)

    claims = check(log.rewritten([3]), size, log.checkpoint(20))

    assert [holds for _, holds in claims] == [True, True, False]
    assert claims[2][0].startswith("the first 20 records are the ones that you saved the checkpoint of: ")


def test_a_saved_text_that_the_log_did_not_sign_proves_nothing() -> None:
    log = honest_log(30)
    changed = log.checkpoint(20).replace("20", "19", 1)

    for saved in ("", "no checkpoint", changed):
        assert [holds for _, holds in check(log, 30, saved)] == [True, False]


async def test_the_command_saves_a_checkpoint_and_compares_it_later(serving: Serving, tmp_path: Path) -> None:
    await score_customer(serving, 1)
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    log = serving.application.log
    assert log is not None
    key = log.verifier.text()

    saved = await run(serving, "checkpoint", "--save", str(first), "--key", key)
    await score_customer(serving, 2)
    compared = await run(serving, "checkpoint", "--save", str(second), "--key", key, "--checkpoint", str(first))
    status, printed, checks = await run_streams(serving, "checkpoint", "--checkpoint", str(second))

    size = int(first.read_text().split("\n")[1])
    assert (saved[0], compared[0], status) == (0, 0, 0), (saved, compared, checks)
    assert f"first.txt: the checkpoint of {size} records" in saved[1].replace("\n", "")
    assert f"holds  the first {size:,} records are the ones that you saved the checkpoint of" in compared[1]
    assert int(second.read_text().split("\n")[1]) == size + 1
    assert printed == second.read_text()  # nothing was recorded since, and a checkpoint of the same log is the same
    assert "the server agrees with itself" in " ".join(checks.split())


async def test_a_saved_checkpoint_is_never_replaced_and_never_written_unchecked(
    serving: Serving, tmp_path: Path
) -> None:
    kept, unchecked = tmp_path / "kept.txt", tmp_path / "unchecked.txt"
    kept.write_text("an old checkpoint")

    refused, _ = await run(serving, "checkpoint", "--save", str(kept))
    failed, printed = await run(
        serving, "checkpoint", "--save", str(unchecked), "--key", OTHER.verifier().text(), "--checkpoint", str(kept)
    )

    assert (refused, kept.read_text()) == (2, "an old checkpoint")
    assert (failed, unchecked.exists()) == (1, False)
    assert printed.count("FAILS") == 2
