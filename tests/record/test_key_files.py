"""A key file is created once, for its owner alone; any other file in its place is rejected."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from grounds_record.errors import KeyFileRejected
from grounds_record.key_files import (
    _check_private,
    _create_file,
    ensure_secret,
    ensure_signing_key,
    read_secret,
    read_signing_key,
)
from grounds_record.note import SigningKey
from tests.conftest import ROOT

NAME = "example.com/log"
STARTS = 6


def test_the_first_start_creates_the_key_and_every_later_one_reads_it(tmp_path: Path) -> None:
    made = ensure_signing_key(tmp_path / "key", NAME)

    assert made == ensure_signing_key(tmp_path / "key", NAME) == read_signing_key(tmp_path / "key", NAME)
    assert made != ensure_signing_key(tmp_path / "other", NAME)
    assert (tmp_path / "key").read_text() == f"{made.text()}\n"


def test_a_secret_is_created_once_and_has_32_bytes(tmp_path: Path) -> None:
    made = ensure_secret(tmp_path / "master")

    assert made == ensure_secret(tmp_path / "master") == read_secret(tmp_path / "master")
    assert len(made) == 32
    assert made != ensure_secret(tmp_path / "other")


def test_a_key_is_its_owners_alone_under_any_umask_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_signing_key(tmp_path / "key", NAME)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_processes_that_start_at_once_all_get_the_same_key(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from grounds_record.key_files import ensure_signing_key; input();"
    program += "print(ensure_signing_key(Path(sys.argv[1]), 'log').verifier().text())"
    command = [sys.executable, "-c", program, str(tmp_path / "key")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(STARTS)
    ]

    answers = {process.communicate("\n")[0] for process in started}

    assert answers == {read_signing_key(tmp_path / "key", "log").verifier().text() + "\n"}


def test_a_key_that_another_process_made_in_between_stays(tmp_path: Path) -> None:
    first = ensure_signing_key(tmp_path / "key", NAME)

    _create_file(tmp_path / "key", SigningKey(NAME, bytes(32)).text())

    assert read_signing_key(tmp_path / "key", NAME) == first
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_reading_never_creates_a_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRejected, match="key cannot be read: No such file"):
        read_signing_key(tmp_path / "key", NAME)

    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRejected, match="none/key cannot be created: No such file"):
        ensure_signing_key(tmp_path / "none" / "key", NAME)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
@pytest.mark.parametrize("ensure", [ensure_secret, lambda path: ensure_signing_key(path, NAME)], ids=["secret", "key"])
def test_a_file_that_others_may_use_is_rejected(tmp_path: Path, mode: int, ensure: Callable[[Path], object]) -> None:
    path = tmp_path / "key"
    ensure(path)
    path.chmod(mode)

    with pytest.raises(KeyFileRejected, match=f"key has mode {mode:04o}: others may use the key"):
        ensure(path)


def test_a_link_is_rejected_also_where_it_leads_nowhere(tmp_path: Path) -> None:
    ensure_signing_key(tmp_path / "real", NAME)
    (tmp_path / "key").symlink_to(tmp_path / "real")
    (tmp_path / "broken").symlink_to(tmp_path / "none")

    for name in ("key", "broken"):
        with pytest.raises(KeyFileRejected, match=f"{name} is a link; configure the file itself"):
            ensure_signing_key(tmp_path / name, NAME)
    assert not (tmp_path / "none").exists()


def test_a_folder_or_a_pipe_is_rejected_and_does_not_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", mode=0o600)

    for name in ("folder", "pipe"):
        with pytest.raises(KeyFileRejected, match=f"{name} is not a regular file"):
            ensure_signing_key(tmp_path / name, NAME)


def test_a_file_of_another_owner_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ensure_signing_key(path, NAME)
    fields = list(path.stat())
    fields[stat.ST_UID] = os.geteuid() + 1

    with pytest.raises(KeyFileRejected, match=f"belongs to user {os.geteuid() + 1}, but user {os.geteuid()} reads it"):
        _check_private(path, os.stat_result(fields))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "must be one line of ASCII"),
        (b"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", "must be one line of ASCII"),
        (SigningKey(NAME, bytes(32)).text().encode(), "must be one line of ASCII"),
        (b"\xff\n", "must be one line of ASCII"),
        (b"x" * 5000 + b"\n", "must be one line of ASCII"),
        (b"somebody's notes\n", "is not a signing key"),
        (SigningKey(NAME, bytes(32)).text()[:-4].encode() + b"\n", "is not a signing key"),
        (SigningKey("other", bytes(32)).text().encode() + b"\n", "key of the log 'other', not of 'example.com/log'"),
    ],
    ids=range(8),
)
def test_a_file_with_something_else_in_it_is_rejected_and_left_as_it_is(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileRejected, match=problem):
        ensure_signing_key(path, NAME)
    with pytest.raises(KeyFileRejected):
        ensure_secret(path)

    assert path.read_bytes() == content


def test_no_refusal_shows_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = ensure_signing_key(path, NAME)

    with pytest.raises(KeyFileRejected) as refused:
        read_secret(path)

    assert key.text().split("+", 4)[4] not in str(refused.value)  # base64, in which there may be more of them
