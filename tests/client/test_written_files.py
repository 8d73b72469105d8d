"""Only the owner can read a file that a command writes, under every umask and even if it replaces another file."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from grounds_record.private_files import make_folder, replace_file
from models.atomic_files import write_file, write_folder
from server.maintenance.doctor import read_verifier_key
from tests.client.command_line import run
from tests.conftest import Serving
from tests.server.audits import PURPOSE, score_customer


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    """Set the umask to 0, so that everybody can write a new file unless the code restricts its mode."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Return the mode, by path, of each file and folder below `folder` that users other than the owner can access."""
    return {
        str(path.relative_to(folder)): f"{stat.S_IMODE(path.lstat().st_mode):o}"
        for path in folder.rglob("*")
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    }


async def test_the_files_of_an_auditor_are_private(serving: Serving, tmp_path: Path) -> None:
    decision = await score_customer(serving, 4)
    key = (await asyncio.to_thread(read_verifier_key, serving.settings)).text()
    written = tmp_path / "auditor"
    written.mkdir(0o700)
    (written / "page.html").write_text("an old page")
    (written / "page.html").chmod(0o644)

    for words in (
        ("evidence", decision.record_ref.decision_id, "--purpose", PURPOSE, "--html", str(written / "page.html")),
        ("export-log", str(written / "today.log")),
        ("checkpoint", "--save", str(written / "checkpoint.txt.saved")),
        ("witness", str(written / "new" / "state"), "--key", key, "--name", "example.com/w"),
    ):
        status, printed = await run(serving, *words)
        assert status == 0, printed

    names = {path.name for path in written.rglob("*")}
    assert names == {
        "page.html",
        "today.log",
        "checkpoint.txt.saved",
        "new",
        "state",
        "witness.key",
        "checkpoint.txt",
        "size.txt",
        "lock",
    }
    assert modes(written) == {}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_the_copy_of_a_market_and_all_files_beside_it_are_private(
    churn_serving: Serving, tmp_path: Path, kind: str
) -> None:
    written = tmp_path / "crm"
    words = (
        "churn",
        "pull",
        "DE",
        "--to",
        str(written / f"risks.{kind}"),
        "--state",
        str(written / "state" / "s.json"),
    )
    make_folder(written)

    status, printed = await run(churn_serving, *words)
    again, _ = await run(churn_serving, *words)

    assert (status, again) == (0, 0), printed
    assert {f"risks.{kind}", "s.json", "s.json.lock", "s.json.parts"} <= {path.name for path in written.rglob("*")}
    assert modes(written) == {}


def test_files_of_training_are_private(tmp_path: Path) -> None:
    write_folder(tmp_path / "bundles" / "credit" / "id", {"report.html": b"", "manifest.json": b"{}"})
    write_file(tmp_path / "bundles" / "ACTIVE.toml", b"")

    assert len(list(tmp_path.rglob("*"))) == 6
    assert modes(tmp_path) == {}


def test_the_mode_is_set_at_the_creation_and_a_stale_file_is_not_used(tmp_path: Path) -> None:
    stale = tmp_path / ".page.html.new"
    stale.write_text("left by a process that was killed")
    stale.chmod(0o666)

    with replace_file(tmp_path / "page.html") as temporary:
        assert temporary == stale
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        assert temporary.read_text() == ""
        temporary.write_text("new")

    assert (tmp_path / "page.html").read_text() == "new"
    assert modes(tmp_path) == {}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def write_half() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half")
            raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        write_half()

    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"
