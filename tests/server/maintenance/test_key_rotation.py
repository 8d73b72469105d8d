"""Keys are rotated while servers run. A rotation that is killed at any step loses nothing, and is continued."""

import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from grounds_record.checkpoint import open_checkpoint
from grounds_record.customer_keys import key_id, unwrap_key
from grounds_record.key_files import read_secret
from server.config import read_settings
from server.errors import KeyRotationRefused, LogRefused, RecordRemoved, StoreUnavailable
from server.maintenance.doctor import check_log
from server.maintenance.key_status import key_status
from server.maintenance.keys import rotate_master_key, rotate_signing_key
from server.stores.database import Database
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.keys.master_keys import MasterKeys
from server.stores.keys.places import FilePlace, MasterKey
from server.stores.record_log.entries import Record
from server.stores.record_log.key_store import WrappedKey
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.token_keys import DELAY, PageTokenKeys
from tests.conftest import key_settings
from tests.server.kills import Kill, Killed, at_every_step
from tests.server.record_logs import NOW, ORIGIN, entry, newest_checkpoint, open_test_log


@dataclass(frozen=True)
class PromotedDuringRead(FilePlace):
    """A key file that a rotation replaces by its successor while a process reads both.

    Attributes:
        before: Whether the rotation ends before this file is read; otherwise, after it was read.
    """

    before: bool

    def successor(self) -> FilePlace:
        """Return the successor, or move it away after its existence was seen."""
        found = FilePlace(self.path).successor()
        return PromotedBeforeRead(found.path, FilePlace(self.path)) if self.before else found

    def read_master(self) -> MasterKey:
        """Read the key, and then replace it."""
        key = super().read_master()
        if FilePlace(self.path).successor().exists():
            self.promote_successor()
        return key


@dataclass(frozen=True)
class PromotedBeforeRead(FilePlace):
    """A successor that is moved to its place just before it is read."""

    place: FilePlace

    def read_master(self) -> MasterKey:
        """Move the key, and then read it here."""
        self.place.promote_successor()
        return super().read_master()


@dataclass(frozen=True)
class KillablePlace(FilePlace):
    """A key file whose changes count as steps before which, and after which, the work can be killed."""

    kill: Kill

    def successor(self) -> "KillablePlace":
        """Return the successor, which can be killed too."""
        return KillablePlace(super().successor().path, self.kill)

    def create_signer(self, origin: str) -> None:
        """Create a signing key as one step."""
        self._step(lambda: FilePlace.create_signer(self, origin))

    def create_master(self) -> None:
        """Create a master key as one step."""
        self._step(lambda: FilePlace.create_master(self))

    def promote_successor(self) -> bool:
        """Move the key as one step."""
        self._step(lambda: FilePlace.promote_successor(self))
        return True

    def _step(self, work: Callable[[], object]) -> None:
        """Run the work between two steps."""
        self.kill.step()
        work()
        self.kill.step()


def append(log: RecordLog, customer: str = "C1") -> str:
    """Append a decision about a customer; return its id."""
    (record,) = log.append([entry(customer=("DE", customer))])
    assert isinstance(record, Record), record
    return record.header.record_id


def test_a_rotation_of_the_signing_key_killed_at_any_step_is_continued_and_servers_keep_recording(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "signing.key"
    with open_test_log(database_url, tmp_path) as server:
        first = server.verifier
        append(server)
        kept = [ProofReader(server.database).read_head().checkpoint]

        def rotate(step: int) -> bool:
            with open_test_log(database_url, tmp_path) as log:
                kill = Kill(step, log.database, log.key_store.database)
                try:
                    rotate_signing_key(log, KillablePlace(path, kill), "yearly", NOW)
                    ended = True
                except Killed:
                    ended = False
                kill.left = None
            append(server)
            with open_test_log(database_url, tmp_path) as started:
                append(started)
                rotate_signing_key(started, FilePlace(path), "yearly", NOW)
            append(server)
            kept.append(ProofReader(server.database).read_head().checkpoint)
            return ended

        steps = at_every_step(rotate)

        assert steps > 8
        assert len(server.keys.keys) > steps
        assert not FilePlace(path).successor().exists()
        assert FilePlace(path).read_signer(ORIGIN).verifier() == server.verifier != first
        assert [open_checkpoint(note, server.keys).size for note in kept] == sorted(
            open_checkpoint(note, server.keys).size for note in kept
        )
        sound, sentences = check_log(server.database, first, None, server.high_water_mark)
        assert sound, sentences


def test_a_server_that_cannot_find_the_new_signing_key_records_nothing_and_states_the_key(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "signing.key"
    with open_test_log(database_url, tmp_path) as server, open_test_log(database_url, tmp_path) as log:
        append(server)
        rotate_signing_key(log, FilePlace(path), "yearly", NOW)
        hidden = path.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailable):
            append(server)
        with pytest.raises(LogRefused, match="No such file"), open_test_log(database_url, tmp_path):
            pass
        hidden.rename(path)
        append(server)
        assert newest_checkpoint(server).size == 3


def test_a_planted_public_key_without_a_recorded_rotation_is_not_followed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path) as server:
        append(server)
        successor = FilePlace(tmp_path / "signing.key").successor()
        successor.create_signer(ORIGIN)
        planted = successor.read_signer(ORIGIN).verifier().text()
        with server.database.writing() as connection:
            connection.exec_driver_sql("UPDATE log_head SET verifier_key = ?", (planted,))

        with pytest.raises(StoreUnavailable):
            append(server)


def test_a_mounted_key_is_not_moved_and_servers_use_its_successor(tmp_path: Path) -> None:
    """A Kubernetes Secret is changed from outside: the operator adds the new key, rotates, and then moves it."""
    url, secret = f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "..data"
    with open_test_log(url, tmp_path) as log:
        append(log)
    secret.mkdir()
    for name in ("signing.key", "master.key"):
        (tmp_path / name).rename(secret / name)
        (tmp_path / name).symlink_to(f"..data/{name}")
    with open_test_log(url, tmp_path, mark=tmp_path / "signing.mark") as log:
        signing = rotate_signing_key(log, FilePlace(tmp_path / "signing.key"), "yearly", NOW)
        master = rotate_master_key(log)
        assert (signing.moved, master.moved) == (False, False)
    with open_test_log(url, tmp_path) as log:
        append(log)
        assert log.verifier.text() == signing.key
    for name in ("signing.key", "master.key"):
        (tmp_path / f"{name}.next").replace(secret / name)
    with open_test_log(url, tmp_path) as log:
        append(log)
        assert newest_checkpoint(log).size == 4


def test_a_rotation_of_the_master_key_killed_at_any_step_is_continued_and_servers_keep_recording(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "master.key"
    first = read_master_after_start(database_url, tmp_path)
    with open_test_log(database_url, tmp_path) as server:
        records = [append(server, f"first {number}") for number in range(3)]

        def rotate(step: int) -> bool:
            with open_test_log(database_url, tmp_path) as log:
                kill = Kill(step, log.database, log.key_store.database)
                log.key_store.masters.place = KillablePlace(path, kill)
                try:
                    rotate_master_key(log)
                    ended = True
                except Killed:
                    ended = False
                kill.left = None
            records.append(append(server, f"during {step}"))
            with open_test_log(database_url, tmp_path) as started:
                records.append(append(started, f"after {step}"))
                rotate_master_key(started)
            return ended

        steps = at_every_step(rotate)

        assert steps > 8
        found = [server.find_by_id(record) for record in records]
        assert [record.body for record in found if record] == [b"body"] * len(records)
        assert not FilePlace(path).successor().exists()
        newest = read_secret(path)
        assert newest != first
        with server.key_store.database.reading() as connection:
            for row in connection.execute(select(WRAPPED_KEYS)):
                unwrap_key(bytes(row.wrapped), row.key_id, newest)


def read_master_after_start(url: str, folder: Path) -> bytes:
    """Start a log for the first time, and return its master key."""
    with open_test_log(url, folder):
        return read_secret(folder / "master.key")


def test_keys_that_servers_create_during_a_rotation_of_the_master_key_are_not_left_out(
    database_url: str, tmp_path: Path
) -> None:
    with open_test_log(database_url, tmp_path) as server, open_test_log(database_url, tmp_path) as log:
        stop, records = threading.Event(), []

        def record() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                records.append(append(server, f"customer {number}"))

        thread = threading.Thread(target=record)
        thread.start()
        try:
            for _ in range(5):
                rotate_master_key(log)
        finally:
            stop.set()
            thread.join()
        assert records
        assert log.key_store.count_not_wrapped_by(log.key_store.masters.main.key_id) == 0 or (
            log.key_store.count_not_wrapped_by(str(log.key_store.read_master_id())) == 0
        )
        assert all(server.find_by_id(each) for each in records)


@pytest.mark.parametrize("before", [True, False])
def test_a_rotation_that_ends_while_a_server_reads_the_keys_does_not_hide_the_new_key(
    tmp_path: Path, *, before: bool
) -> None:
    place = FilePlace(tmp_path / "master.key")
    place.create_master()
    known = MasterKeys(PromotedDuringRead(place.path, before))
    place.successor().create_master()
    new = place.successor().read_master()

    wrapped = known.wrap(bytes(32), new.key_id)

    assert unwrap_key(wrapped, key_id(bytes(32)), new.cipher) == bytes(32)
    assert not place.successor().exists()


def test_a_key_that_is_destroyed_during_a_rotation_of_the_master_key_stays_destroyed(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        record = append(log)
        found = log.find_by_id(record)
        assert found is not None
        read_after = log.key_store._read_after

        def read_and_destroy(name: str) -> list[WrappedKey]:
            rows = read_after(name)
            log.key_store.destroy({found.header.key_id})
            return rows

        log.key_store._read_after = read_and_destroy  # type: ignore[method-assign]
        rotate_master_key(log)

        assert found.header.key_id not in log.key_store.read_ids()
        with pytest.raises(RecordRemoved):
            log.find_by_id(record)


def test_a_successor_that_the_operator_copied_is_removed_before_the_next_rotation(tmp_path: Path) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        for name in ("signing.key", "master.key"):
            (tmp_path / f"{name}.next").write_text((tmp_path / name).read_text())
            (tmp_path / f"{name}.next").chmod(0o600)
        before = log.verifier

        rotate_signing_key(log, FilePlace(tmp_path / "signing.key"), "yearly", NOW)
        rotate_master_key(log)

        assert log.verifier != before
        linked = FilePlace(tmp_path / "signing.key")
        (tmp_path / "signing.key.next").symlink_to("signing.key")
        with pytest.raises(KeyRotationRefused, match="contains the key that is in use already; remove it"):
            rotate_signing_key(log, linked, "yearly", NOW)


def test_page_tokens_of_the_previous_key_stay_valid_and_a_new_key_signs_when_every_server_knows_it(
    database: Database,
) -> None:
    now = [NOW]
    ours, theirs = PageTokenKeys(database, lambda: now[0]), PageTokenKeys(database, lambda: now[0])
    old = ours.usable()[0]

    ours.rotate(7, revoke=False)

    assert ours.usable()[0] == old  # another server may not have read the new key yet
    theirs.refresh()
    now[0] += DELAY
    assert ours.usable() == theirs.usable()
    assert ours.usable()[1] == old != ours.usable()[0]
    now[0] += dt.timedelta(days=8)
    ours.rotate(7, revoke=False)
    assert old not in ours.usable()
    revoked = ours.usable()
    ours.rotate(7, revoke=True)
    assert not set(revoked) & set(ours.usable())


def test_the_status_states_every_key_and_an_unfinished_rotation(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    settings = read_settings(database=url, log_origin=ORIGIN, **key_settings(tmp_path))
    with open_test_log(url, tmp_path) as log:
        before = log.verifier.text()
        rotate_signing_key(log, FilePlace(tmp_path / "signing.key"), "yearly", NOW)
        FilePlace(tmp_path / "master.key").successor().create_master()
        text = "\n".join(key_status(log, settings))

    assert f"earlier signing key {before}: valid for checkpoints of at most 0 records" in text
    assert f"{log.verifier.text()} signs new checkpoints" in text
    assert "customers' keys that a different master key encrypts: 0" in text
    assert "master.key.next exists: a rotation is not finished" in text
    assert "page-token key since 1970-01-01 00:00 UTC: in use" in text


def test_a_log_of_an_older_release_gets_the_id_of_its_master_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(url, tmp_path) as log, log.key_store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM current_keys")
    with open_test_log(url, tmp_path) as log:
        assert log.key_store.read_master_id() == FilePlace(tmp_path / "master.key").read_master().key_id
