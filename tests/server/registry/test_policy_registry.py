"""Policies are saved before they come into force, on SQLite and on a real PostgreSQL."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, update

from server.decisions.policy import Policy, parse_policy, read_policy
from server.errors import PolicyRefused, RecordDamaged, StoreUnavailable
from server.registry.policy_registry import PolicyRegistry
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.tables import POLICIES
from tests.small import POLICY

CONTENT = POLICY.encode()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def policy_count(database: Database) -> int:
    """Return the number of saved policies."""
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(POLICIES)).scalar_one()


def test_a_policy_is_saved_once_and_found_by_digest_byte_for_byte(database: Database) -> None:
    store = PolicyStore(database)

    store.save(CONTENT)
    store.save(CONTENT)

    assert policy_count(database) == 1
    assert store.find(SHA256) == CONTENT
    assert store.find("0" * 64) is None


def test_two_processes_may_save_the_same_policy_at_once(database: Database, database_url: str) -> None:
    """The second process saves the policy between the lookup and the write of the first process."""
    other = Database(database_url)
    raced: list[str] = []

    def race(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("SELECT policies") and not raced:
            raced.append(statement)
            PolicyStore(other).save(CONTENT)

    event.listen(database.engine, "after_cursor_execute", race)
    PolicyStore(database).save(CONTENT)
    other.close()

    assert raced
    assert policy_count(database) == 1


def test_a_policy_that_was_changed_in_the_database_is_damaged(database: Database) -> None:
    store = PolicyStore(database)
    store.save(CONTENT)
    with database.writing() as connection:
        connection.execute(update(POLICIES).values(content=CONTENT + b"\n"))

    with pytest.raises(RecordDamaged):
        store.find(SHA256)


def test_a_policy_comes_into_force_only_after_it_was_saved(tmp_path: Path) -> None:
    path, kept, full = tmp_path / "policy.toml", [], []
    path.write_text(POLICY)

    def keep(policy: Policy) -> None:
        if full:
            raise StoreUnavailable("full")
        kept.append(policy.sha256)

    watch = PolicyRegistry(path)
    watch.start_saving(keep)
    path.write_text(POLICY.replace("test-1", "test-2"))
    full.append(True)

    assert watch.refresh().document.version == "test-1"
    full.clear()
    assert watch.refresh().document.version == "test-2"
    assert watch.refresh() is watch.current
    assert kept == [SHA256, watch.current.sha256]


def test_a_policy_reads_from_its_bytes_as_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(CONTENT)

    assert parse_policy(CONTENT, "kept") == read_policy(path)
    assert parse_policy(CONTENT, "kept").content == CONTENT
    with pytest.raises(PolicyRefused, match=r"kept:\n  line"):
        parse_policy(CONTENT.replace(b"lgd = 0.45", b"lgd = 2"), "kept")
