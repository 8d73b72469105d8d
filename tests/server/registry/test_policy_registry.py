"""A policy comes into force by its activation only, complete and stored, on SQLite and on a real PostgreSQL."""

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from sqlalchemy import event, func, select, update
from structlog.testing import capture_logs

from grounds.audit.v1 import bodies_pb2
from grounds.credit.v1 import credit_pb2, credit_pb2_grpc
from server.application import Application
from server.config import Settings
from server.decisions.policy import parse_policy, parse_policy_file, read_policy
from server.decisions.policy_differences import policy_differences
from server.errors import PolicyRefused, RecordDamaged
from server.registry.policy_activation import activate_policy, activate_policy_of_file, plan_activation
from server.registry.policy_registry import PolicyRegistry, find_policy_in_force
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Database
from server.stores.record_log.log import RecordLog
from server.stores.record_log.opening import open_log
from server.stores.tables import POLICIES, RECORDS
from tests.conftest import key_places
from tests.server.servers import TEST_OPERATOR
from tests.small import POLICY, POLICY_END

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


OTHER = POLICY.replace("test-1", "test-2").replace("approve_max_pd = 0.20", "approve_max_pd = 0.01")


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a record log on a database of each kind."""
    opened = open_log(database, key_places(tmp_path))
    yield opened
    opened.close()


def write_policy(folder: Path, text: str = POLICY, name: str = "policy.toml") -> Path:
    """Write a policy file; return its path."""
    path = folder / name
    path.write_text(text)
    return path


def start_registry(database: Database, path: Path) -> PolicyRegistry:
    """Return the registry of a server that starts now."""
    registry = PolicyRegistry(path, PolicyStore(database))
    registry.start()
    return registry


def activate_file(log: RecordLog, wanted: Path | str, configured: Path, reason: str = "") -> bool:
    """Activate a policy as the command does; return whether anything was changed."""
    change = plan_activation(PolicyStore(log.database), str(wanted), configured)
    return activate_policy(log, change, reason, dt.datetime.now(dt.UTC), origin=TEST_OPERATOR)


def test_a_server_stores_the_policy_file_when_it_starts(database: Database, tmp_path: Path) -> None:
    registry = start_registry(database, write_policy(tmp_path))

    assert registry.current.sha256 == SHA256
    assert PolicyStore(database).find(SHA256) == CONTENT


def test_a_policy_file_that_changes_while_the_server_runs_is_reported_once_and_changes_nothing(
    empty: Database, tmp_path: Path
) -> None:
    registry = start_registry(empty, write_policy(tmp_path))
    with capture_logs() as lines:
        for text in (OTHER, OTHER, POLICY.replace("0.20", "0.21"), "version = ", "version = ", POLICY, OTHER):
            write_policy(tmp_path, text)
            assert registry.refresh().sha256 == SHA256

    problems = [line["problem"] for line in lines if line["event"] == "policy refused"]
    words = ("activate-policy", "version test-1 belongs to", "the last line", "activate-policy")
    assert len(problems) == len(words)
    for word, problem in zip(words, problems, strict=True):
        assert word in problem
    assert registry.problem == problems[-1]


def test_no_prefix_of_the_shipped_policy_is_accepted_at_a_start_or_by_an_activation(
    empty: Database, tmp_path: Path
) -> None:
    """Some prefixes of the file are valid TOML and valid policies, for example a prefix without the last texts."""
    content = Settings.model_fields["policy"].default.read_bytes()
    configured, part = write_policy(tmp_path), tmp_path / "part.toml"
    store, whole = PolicyStore(empty), parse_policy(content, "whole")
    accepted, different = [], []
    for length in range(len(content)):
        with suppress(PolicyRefused):
            accepted.append(parse_policy_file(content[:length], "part").document)
        if length > len(content) - 90:  # parsing all prefixes would take too long
            with suppress(PolicyRefused):
                if parse_policy(content[:length], "part").document == whole.document:
                    continue
                different.append(length)
                part.write_bytes(content[:length])
                with pytest.raises(PolicyRefused, match="the last line must be"):
                    find_policy_in_force(store, part)
                with pytest.raises(PolicyRefused, match="the last line must be"):
                    plan_activation(store, str(part), configured)

    assert different, "the check is needed, because some prefixes are different policies"
    assert accepted == [whole.document]  # only the last newline is missing


def test_an_activated_policy_is_in_force_in_every_process_and_after_a_restart_even_if_the_file_changes(
    log: RecordLog, tmp_path: Path
) -> None:
    configured, file = write_policy(tmp_path), write_policy(tmp_path, OTHER, "other.toml")
    running = start_registry(log.database, configured)

    assert activate_file(log, file, configured, "committee")
    file.write_text("half a po")
    configured.write_text("half a po")

    assert running.refresh().content == OTHER.encode()
    assert start_registry(log.database, configured).current.content == OTHER.encode()
    assert running.problem == ""


def test_an_activation_is_a_record_with_digest_version_and_reason(log: RecordLog, tmp_path: Path) -> None:
    configured, file = write_policy(tmp_path), write_policy(tmp_path, OTHER, "other.toml")
    start_registry(log.database, configured)

    assert activate_file(log, configured, configured)
    assert activate_file(log, file, configured, "committee of 3 March")
    assert not activate_file(log, file, configured)

    with log.database.reading() as connection:
        wanted = (
            select(RECORDS.c.record_id).where(RECORDS.c.kind == "POLICY_ACTIVATED").order_by(RECORDS.c.record_index)
        )
        names = connection.execute(wanted).scalars().all()
    first, second = (log.find_by_id(name) for name in names)
    assert first is not None
    assert second is not None
    body = bodies_pb2.PolicyActivationRecord.FromString(second.body)
    assert second.header.labels == {"policy": hashlib.sha256(OTHER.encode()).hexdigest(), "previous": SHA256}
    assert (body.policy_version, body.policy_sha256) == ("test-2", second.header.labels["policy"])
    assert (body.previous_policy_sha256, body.reason) == (SHA256, "committee of 3 March")
    assert second.header.caller == "operator"


def test_the_previous_policy_is_activated_again_by_its_digest(log: RecordLog, tmp_path: Path) -> None:
    configured, file = write_policy(tmp_path), write_policy(tmp_path, OTHER, "other.toml")
    running = start_registry(log.database, configured)
    activate_file(log, file, configured)
    running.refresh()
    configured.unlink()

    assert activate_file(log, SHA256[:8], configured)

    assert running.refresh().sha256 == SHA256
    for unknown in (SHA256[:7], "0" * 64, "nowhere.toml"):
        with pytest.raises(PolicyRefused, match="no such file"):
            activate_file(log, unknown, configured)


def test_different_content_under_a_version_that_was_in_force_is_refused(log: RecordLog, tmp_path: Path) -> None:
    configured = write_policy(tmp_path)
    changed = write_policy(tmp_path, POLICY.replace("approve_max_pd = 0.20", "approve_max_pd = 0.21"), "changed.toml")

    with pytest.raises(PolicyRefused, match="version test-1 is in force with different content"):
        activate_file(log, changed, configured)  # no server has stored the policy file yet
    start_registry(log.database, configured)
    with pytest.raises(PolicyRefused, match="version test-1 belongs to a policy with different content"):
        activate_file(log, changed, configured)
    with pytest.raises(PolicyRefused, match="version test-1 belongs to a policy with different content"):
        start_registry(log.database, changed)

    assert policy_count(log.database) == 1


def test_of_two_operators_with_different_contents_of_one_version_the_later_is_refused(
    log: RecordLog, tmp_path: Path
) -> None:
    configured = write_policy(tmp_path)
    other = write_policy(tmp_path, OTHER, "other.toml")
    changed = write_policy(tmp_path, OTHER.replace("0.01", "0.02"), "changed.toml")
    start_registry(log.database, configured)
    store, at = PolicyStore(log.database), dt.datetime.now(dt.UTC)
    first, second = (plan_activation(store, str(path), configured) for path in (other, changed))

    assert activate_policy(log, first, "", at, origin=TEST_OPERATOR)
    with pytest.raises(PolicyRefused, match="version test-2 belongs to a policy with different content"):
        activate_policy(log, second, "", at, origin=TEST_OPERATOR)

    assert store.find(second.after.sha256) is None, "a refused policy does not count as one that was in force"
    assert activate_file(log, other, configured) is False


def test_of_two_servers_that_start_with_different_contents_of_one_version_the_later_is_refused(
    log: RecordLog, tmp_path: Path
) -> None:
    changed = POLICY.replace("approve_max_pd = 0.20", "approve_max_pd = 0.21")
    paths = write_policy(tmp_path), write_policy(tmp_path, changed, "changed.toml")
    store, at = PolicyStore(log.database), dt.datetime.now(dt.UTC)
    first, second = (find_policy_in_force(store, path) for path in paths)
    for each in (first, second):
        store.save(each.content)

    activate_policy_of_file(log, first, at, only_first=False)
    with pytest.raises(PolicyRefused, match="version test-1 belongs to a policy with different content"):
        activate_policy_of_file(log, second, at, only_first=False)


def test_a_file_without_the_last_line_that_was_in_force_before_still_starts(empty: Database, tmp_path: Path) -> None:
    old = POLICY.replace(POLICY_END, "")
    path = write_policy(tmp_path, old)
    with pytest.raises(PolicyRefused, match="the last line must be"):
        start_registry(empty, path)
    PolicyStore(empty).save(old.encode())

    assert start_registry(empty, path).current.content == old.encode()


def test_a_damaged_copy_of_the_activated_policy_leaves_the_previous_policy_in_force(
    log: RecordLog, tmp_path: Path
) -> None:
    configured, file = write_policy(tmp_path), write_policy(tmp_path, OTHER, "other.toml")
    running = start_registry(log.database, configured)
    activate_file(log, file, configured)
    with log.database.writing() as connection:
        connection.execute(update(POLICIES).where(POLICIES.c.sha256 != SHA256).values(content=b"forged"))

    assert running.refresh().sha256 == SHA256
    assert "does not match its SHA-256" in running.problem
    with pytest.raises(RecordDamaged):
        start_registry(log.database, configured)


def test_the_differences_of_two_policies_name_every_limit_rule_and_text() -> None:
    rule = """
[[sections.rules]]
code = "MANY_DAYS_LATE"
fact = "days_late"
above = 300
decision = "DECLINE"
"""
    changed = OTHER.replace("[texts.LARGEST", rule + '[texts.MANY_DAYS_LATE]\nen = "Late"\n\n[texts.LARGEST', 1)
    before, after = (parse_policy(text.encode(), "policy").document for text in (POLICY, changed))

    found = {(each.subject, each.setting): (each.before, each.after) for each in policy_differences(before, after)}

    french = "FR STANDARD 2020-01-01"
    assert found["DE STANDARD 2020-01-01", "approve_max_pd"] == ("0.2", "0.01")
    assert found[french, "rules.MANY_DAYS_LATE.above"] == ("-", "300.0")
    assert found[french, "rules.MANY_DAYS_LATE"] == ("-", "rule 1")
    assert found["texts", "MANY_DAYS_LATE.en"] == ("-", "Late")
    assert {subject for subject, _ in found} == {"DE STANDARD 2020-01-01", french, "texts"}
    assert policy_differences(before, before) == []


class LonePeers:
    """The other workers of a server that has a single worker."""

    def report(self, *, serving: bool) -> None:
        """Ignore the report."""

    def leave(self) -> None:
        """Ignore the end of the worker."""

    def all_serving(self) -> bool:
        """Return True."""
        return True


async def test_a_worker_that_is_replaced_later_uses_the_policy_of_the_first_start(
    small_settings: Settings, tmp_path: Path
) -> None:
    settings = small_settings.model_copy(update={"policy": write_policy(tmp_path)})
    versions = []
    for text in (POLICY, OTHER):
        write_policy(tmp_path, text)
        worker = Application(settings, LonePeers())
        await worker.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.port}") as channel:
            answer = await credit_pb2_grpc.CreditServiceStub(channel).GetPolicy(credit_pb2.GetPolicyRequest())
        versions.append(answer.policy_version)
        await worker.stop()

    assert versions == ["test-1", "test-1"]


def test_a_policy_reads_from_its_bytes_as_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(CONTENT)

    assert parse_policy(CONTENT, "kept") == read_policy(path)
    assert parse_policy(CONTENT, "kept").content == CONTENT
    with pytest.raises(PolicyRefused, match=r"kept:\n  line"):
        parse_policy(CONTENT.replace(b"lgd = 0.45", b"lgd = 2"), "kept")
