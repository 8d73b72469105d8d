"""The high-water mark covers every acknowledged record, and a probe finds that the mark cannot be written."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grounds_record.checkpoint import Checkpoint, sign_checkpoint
from grounds_record.key_history import LogKeys
from grounds_record.note import SigningKey
from server.errors import StoreUnavailable
from server.maintenance.keys import rotate_signing_key
from server.stores.keys.places import FilePlace
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.log import RecordLog
from tests.server.record_logs import NOW, entry, open_test_log

SLOT_BYTES = 4096  # the file consists of two slots of this size


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a log on a database of each kind."""
    with open_test_log(database_url, tmp_path) as opened:
        yield opened


def make_unwritable(path: Path) -> None:
    """Replace a file by one with the same content that the operating system lets nobody change, not even root."""
    descriptor = os.memfd_create("mark", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, path.read_bytes())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    path.rename(path.with_suffix(".aside"))
    path.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")


def mend(path: Path) -> None:
    """Restore the file that `make_unwritable` replaced."""
    os.close(int(path.readlink().name))
    path.with_suffix(".aside").replace(path)


def marked_size(log: RecordLog) -> int:
    """Return the number of records that the mark covers."""
    checkpoint = HighWaterMark(log.high_water_mark.path).read(log.verifier)
    return checkpoint.size if checkpoint else 0


def test_a_probe_of_a_log_that_has_not_grown_finds_that_the_mark_cannot_be_written(log: RecordLog) -> None:
    for _ in range(3):
        log.append([entry()])
    log.probe()
    make_unwritable(log.high_water_mark.path)

    with pytest.raises(StoreUnavailable, match="high-water mark of the log cannot be written"):
        log.probe()
    unwritable = marked_size(log)
    mend(log.high_water_mark.path)
    log.probe()

    assert (unwritable, marked_size(log)) == (3, 3)


def test_a_retry_gets_its_record_only_when_the_mark_covers_the_record(log: RecordLog) -> None:
    log.append([entry()])
    retried = entry()
    make_unwritable(log.high_water_mark.path)
    with pytest.raises(StoreUnavailable):  # the record is committed, and only the mark is missing
        log.append([retried])

    with pytest.raises(StoreUnavailable):
        log.append([retried])
    with pytest.raises(StoreUnavailable):
        log.find_by_request(retried.caller, retried.request_id, retried.content)
    assert marked_size(log) == 1
    mend(log.high_water_mark.path)
    found = log.find_by_request(retried.caller, retried.request_id, retried.content)
    sizes = [marked_size(log)]
    results = log.append([retried])

    assert found is not None
    assert found.index == 1
    assert results == [found]
    assert [*sizes, marked_size(log)] == [2, 2]


def raise_size(path: Path, digits: str) -> None:
    """Replace the size in the newest checkpoint of the file with other digits, as a faulty disk or an attacker could."""
    content = bytearray(path.read_bytes())
    slots = [bytes(content[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES)]
    newest = max(slots, key=lambda slot: int(slot.split(b"\n")[1]))
    name, _, rest = newest.split(b"\n", 2)
    start = slots.index(newest) * SLOT_BYTES
    content[start : start + SLOT_BYTES] = b"\n".join((name, digits.encode(), rest))[:SLOT_BYTES].ljust(
        SLOT_BYTES, b"\0"
    )
    path.write_bytes(content)


@pytest.mark.parametrize("digits", ["9", "9223372036854775807", "9" * 3000, "٩٩٩"])
def test_a_wrong_digit_in_the_mark_neither_stops_it_nor_destroys_its_other_checkpoint(
    log: RecordLog, digits: str
) -> None:
    for _ in range(3):
        log.append([entry()])
    raise_size(log.high_water_mark.path, digits)

    log.append([entry()])
    appended = marked_size(log)
    raise_size(log.high_water_mark.path, digits)
    log.probe()
    probed = marked_size(log)
    log.probe()

    assert (appended, probed, marked_size(log)) == (4, 4, 4)


def test_a_retry_does_not_trust_a_size_that_the_log_has_not_signed(log: RecordLog) -> None:
    log.append([entry()])
    retried = entry()
    make_unwritable(log.high_water_mark.path)
    with pytest.raises(StoreUnavailable):
        log.append([retried])
    mend(log.high_water_mark.path)
    log.high_water_mark.path.write_bytes(
        f"{log.keys.name}\n999\nAAAA\n\nnothing signed".encode().ljust(SLOT_BYTES, b"\0")
    )

    log.find_by_request(retried.caller, retried.request_id, retried.content)

    assert marked_size(log) == 2


def test_the_mark_of_another_log_is_not_taken_for_the_own(log: RecordLog, tmp_path: Path) -> None:
    log.append([entry()])
    (tmp_path / "other").mkdir()
    with open_test_log(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other") as other:
        for _ in range(5):
            other.append([entry()])
        log.high_water_mark.path.write_bytes(other.high_water_mark.path.read_bytes())

    log.append([entry()])

    assert marked_size(log) == 2


def test_a_mark_that_was_moved_away_is_written_at_its_path_again(log: RecordLog) -> None:
    log.append([entry()])
    log.high_water_mark.path.rename(log.high_water_mark.path.with_suffix(".moved"))

    log.append([entry()])

    assert marked_size(log) == 2


class _LateMark(HighWaterMark):
    """A mark in front of whose update something else happens once, as if the process had been stopped there."""

    def __init__(self, path: Path, happen: Callable[[], None]) -> None:
        super().__init__(path)
        self._happenings = [happen]

    def advance(self, *values: Any, **named: Any) -> None:
        while self._happenings:
            self._happenings.pop()()
        super().advance(*values, **named)


@pytest.mark.parametrize("further", [0, 1, 2])
def test_a_process_that_has_not_seen_a_rotation_does_not_push_the_mark_back(
    log: RecordLog, tmp_path: Path, further: int
) -> None:
    """Another process rotates the signing key and appends while this one is between its commit and its mark."""
    url = log.database.engine.url.render_as_string(hide_password=False)
    with open_test_log(url, tmp_path) as other:

        def overtake() -> None:
            rotate_signing_key(other, FilePlace(tmp_path / "signing.key"), "yearly", NOW)
            for _ in range(further):
                other.append([entry()])

        log.append([entry()])
        log.high_water_mark = _LateMark(log.high_water_mark.path, overtake)
        log.append([entry()])

        assert marked_size(other) == 3 + further
        log.append([entry()])
        assert marked_size(other) == 4 + further
        assert log.keys == other.keys


class _CountingMark(HighWaterMark):
    """A mark that counts how often it locks its file, and before whose next verification something else may happen."""

    locks = 0
    happenings: list[Callable[[], None]]

    @contextmanager
    def _lock(self) -> Iterator[int]:
        self.locks += 1
        with super()._lock() as descriptor:
            yield descriptor

    def _verified_sizes(self, notes: Sequence[str], key: LogKeys) -> list[int]:
        while self.happenings:
            self.happenings.pop()()
        return super()._verified_sizes(notes, key)


def test_a_commit_locks_the_file_once_unless_another_process_has_written_it(tmp_path: Path) -> None:
    path, name = tmp_path / "counted.mark", "example.com/log"
    signer = SigningKey(name, b"k" * 32)
    key = signer.verifier()

    def note(size: int) -> str:
        return sign_checkpoint(Checkpoint(name, size, bytes(32)), signer)

    def advance(mark: HighWaterMark, size: int) -> None:
        mark.advance(size, note(size), key, lambda: key)

    def size_of_file() -> int:
        found = HighWaterMark(path).read(key)
        return found.size if found else 0

    mark, other = _CountingMark(path), HighWaterMark(path)
    mark.happenings = []
    for size in (1, 2, 3):
        advance(mark, size)
    assert (mark.locks, size_of_file()) == (3, 3)

    advance(other, 5)
    mark.happenings = [lambda: advance(other, 7)]  # the file changes once more, while it is verified
    advance(mark, 6)
    assert (mark.locks, size_of_file()) == (5, 7)
    advance(mark, 8)
    assert (mark.locks, size_of_file()) == (6, 8)


def test_a_checkpoint_by_a_key_that_no_record_names_is_overwritten(log: RecordLog) -> None:
    log.append([entry()])
    stranger = SigningKey(log.keys.name, b"s" * 32)
    note = sign_checkpoint(Checkpoint(log.keys.name, 999, bytes(32)), stranger)
    path = log.high_water_mark.path
    path.write_bytes(note.encode().ljust(SLOT_BYTES, b"\0") + path.read_bytes()[:SLOT_BYTES])

    log.append([entry()])

    assert marked_size(log) == 2
    assert b"999" not in path.read_bytes()
