"""A key file is created once and is accessible only to its owner; an invalid file in its place is rejected."""

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


def test_the_first_call_creates_the_key_and_later_calls_read_it(tmp_path: Path) -> None:
    made = ensure_signing_key(tmp_path / "key", NAME)

    assert made == ensure_signing_key(tmp_path / "key", NAME) == read_signing_key(tmp_path / "key", NAME)
    assert made != ensure_signing_key(tmp_path / "other", NAME)
    assert (tmp_path / "key").read_text() == f"{made.text()}\n"


def test_a_secret_is_created_once_and_has_32_bytes(tmp_path: Path) -> None:
    made = ensure_secret(tmp_path / "master")

    assert made == ensure_secret(tmp_path / "master") == read_secret(tmp_path / "master")
    assert len(made) == 32
    assert made != ensure_secret(tmp_path / "other")


def test_a_key_file_has_mode_0600_under_any_umask_and_no_temporary_file_remains(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_signing_key(tmp_path / "key", NAME)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_processes_that_start_at_the_same_time_read_the_same_key(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from grounds_record.key_files import ensure_signing_key; input();"
    program += "print(ensure_signing_key(Path(sys.argv[1]), 'log').verifier().text())"
    command = [sys.executable, "-c", program, str(tmp_path / "key")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(STARTS)
    ]

    answers = {process.communicate("\n")[0] for process in started}

    assert answers == {read_signing_key(tmp_path / "key", "log").verifier().text() + "\n"}


def test_a_key_that_another_process_created_first_is_not_replaced(tmp_path: Path) -> None:
    first = ensure_signing_key(tmp_path / "key", NAME)

    _create_file(tmp_path / "key", SigningKey(NAME, bytes(32)).text())

    assert read_signing_key(tmp_path / "key", NAME) == first
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_reading_never_creates_a_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRejected, match="key cannot be read: No such file"):
        read_signing_key(tmp_path / "key", NAME)

    assert not list(tmp_path.iterdir())


def test_the_error_for_a_missing_folder_states_the_path(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRejected, match="none/key cannot be created: No such file"):
        ensure_signing_key(tmp_path / "none" / "key", NAME)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
@pytest.mark.parametrize("ensure", [ensure_secret, lambda path: ensure_signing_key(path, NAME)], ids=["secret", "key"])
def test_a_file_that_other_users_can_access_is_rejected(
    tmp_path: Path, mode: int, ensure: Callable[[Path], object]
) -> None:
    path = tmp_path / "key"
    ensure(path)
    path.chmod(mode)

    with pytest.raises(KeyFileRejected, match=f"key has mode {mode:04o}, so other users may have read the key"):
        ensure(path)


def mount_secret(folder: Path, key: SigningKey, version: str = "..2026_01_01") -> Path:
    """Mount a key as Kubernetes mounts a Secret that a group may read; return the path of the key."""
    data = folder / version
    data.mkdir(parents=True)
    (data / "key").write_text(f"{key.text()}\n")
    (data / "key").chmod(0o440)
    (folder / "..new").symlink_to(version)
    (folder / "..new").rename(folder / "..data")
    if not (folder / "key").is_symlink():
        (folder / "key").symlink_to("..data/key")
    return folder / "key"


def test_a_key_of_a_kubernetes_secret_is_read_and_a_replaced_secret_is_followed(tmp_path: Path) -> None:
    first, second = SigningKey(NAME, bytes(32)), SigningKey(NAME, bytes([1]) * 32)
    path = mount_secret(tmp_path, first)

    assert read_signing_key(path, NAME) == first

    mount_secret(tmp_path, second, "..2026_02_01")
    assert read_signing_key(path, NAME) == second


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_a_secret_whose_file_group_or_link_belongs_to_others_is_rejected(tmp_path: Path) -> None:
    path = mount_secret(tmp_path, SigningKey(NAME, bytes(32)))
    target = tmp_path / "..data" / "key"

    os.chown(target, 0, 54321)
    with pytest.raises(KeyFileRejected, match=r"mode 0440 for group 54321, in which this process is not.*fsGroup"):
        read_signing_key(path, NAME)
    os.chown(target, 54321, 0)
    with pytest.raises(KeyFileRejected, match=r"belongs to user 54321 and group 0 with mode 0440.*defaultMode: 0440"):
        read_signing_key(path, NAME)
    os.chown(target, 0, 0)
    os.chown(tmp_path / "..data", 54321, 0, follow_symlinks=False)
    with pytest.raises(
        KeyFileRejected, match=r"\.\.data is a link of user 54321, who can make it lead to a different key"
    ):
        read_signing_key(path, NAME)


def test_a_link_to_nothing_is_rejected_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "none")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(KeyFileRejected, match="broken cannot be read: No such file"):
        ensure_signing_key(tmp_path / "broken", NAME)
    with pytest.raises(KeyFileRejected, match="leads through more than 16 links"):
        ensure_signing_key(tmp_path / "loop", NAME)
    assert not (tmp_path / "none").exists()


def test_a_folder_or_a_pipe_is_rejected_without_blocking(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", mode=0o600)

    for name in ("folder", "pipe"):
        with pytest.raises(KeyFileRejected, match=f"{name} is not a regular file"):
            ensure_signing_key(tmp_path / name, NAME)


def test_a_file_of_a_different_owner_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ensure_signing_key(path, NAME)
    fields = list(path.stat())
    fields[stat.ST_UID] = os.geteuid() + 1

    with pytest.raises(
        KeyFileRejected, match=f"belongs to user {os.geteuid() + 1} .* but this process runs as user {os.geteuid()}"
    ):
        _check_private(path, os.stat_result(fields))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "must contain one line of ASCII"),
        (b"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", "must contain one line of ASCII"),
        (SigningKey(NAME, bytes(32)).text().encode(), "must contain one line of ASCII"),
        (b"\xff\n", "must contain one line of ASCII"),
        (b"x" * 5000 + b"\n", "must contain one line of ASCII"),
        (b"somebody's notes\n", "is not a signing key"),
        (SigningKey(NAME, bytes(32)).text()[:-4].encode() + b"\n", "is not a signing key"),
        (
            SigningKey("other", bytes(32)).text().encode() + b"\n",
            "key of the log 'other', expected the key of 'example.com/log'",
        ),
    ],
    ids=range(8),
)
def test_a_file_with_invalid_content_is_rejected_and_not_changed(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileRejected, match=problem):
        ensure_signing_key(path, NAME)
    with pytest.raises(KeyFileRejected):
        ensure_secret(path)

    assert path.read_bytes() == content


def test_no_error_message_contains_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = ensure_signing_key(path, NAME)

    with pytest.raises(KeyFileRejected) as refused:
        read_secret(path)

    assert key.text().split("+", 4)[4] not in str(refused.value)  # the base64 part, which may contain more plus signs
