"""What serves and what is recorded agree: confirmations, repeated markets, files that contradict the log, approvals."""

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grounds.audit.v1 import activation_pb2
from grounds.audit.v1 import bodies_pb2 as bodies
from grounds_record.activations import ActivationHistory
from models.catalog import _write_active, check_activation, read_activations
from models.errors import ActivationRejected
from server.decisions.policy import Policy, parse_policy
from server.edges.identity.callers import LOCAL_CALLER
from server.errors import ChangeRefused, ErasureRefused, PolicyRefused
from server.maintenance.erasure import check_reason
from server.registry.bundle_activation import (
    ActivationJournal,
    ServedMarket,
    _activation_entry,
    record_activation,
    record_deactivation,
    record_retirement,
)
from server.registry.change_origin import ChangeOrigin
from server.registry.model_registry import ModelRegistry
from server.registry.policy_activation import PolicyChange, activate_policy, activate_policy_of_file, plan_activation
from server.registry.policy_registry import check_version
from server.registry.proposals import approve, propose_activation, propose_policy, propose_retirement
from server.stores.catalog.artifacts import activation_problems
from server.stores.catalog.policies import PolicyStore
from server.stores.record_log.activations import read_history
from server.stores.record_log.log import RecordLog
from tests.server.record_logs import NOW
from tests.server.registry.test_activations import UNSIGNED, open_history, proposal_of
from tests.server.servers import copy_bundle
from tests.small import POLICY, SmallFamily, complete_policy

ANA = ChangeOrigin("ana")
MINUTE = dt.timedelta(minutes=1)


def policy(version: str, **changes: str) -> Policy:
    """Return a policy with this version, and with a comment for each change, so that contents differ."""
    text = complete_policy(POLICY.replace("test-1", version))
    return parse_policy(("".join(f"# {each}\n" for each in changes.values()) + text).encode(), "policy")


def history_of(log: RecordLog) -> ActivationHistory:
    """Return the recorded history."""
    with log.database.reading() as connection:
        return read_history(connection)


def open_registry(log: RecordLog, bundles: Path, *, four_eyes: bool = False) -> ModelRegistry:
    """Return the registry of a server that has not started yet."""
    registry = ModelRegistry(bundles, check=lambda _bundle: None)
    registry.journal = ActivationJournal(log, bundles, lambda: NOW, four_eyes=four_eyes)
    return registry


def serving_of(registry: ModelRegistry) -> dict[ServedMarket, str]:
    """Reload the files; return the serving bundles."""
    return {key: model.bundle.bundle_id for key, model in registry.refresh().serving.items()}


async def list_changes(log: RecordLog) -> list[activation_pb2.Activation]:
    """Return all changes as ListActivations answers them, the oldest first."""
    answer = await open_history(log).list_activations(activation_pb2.ListActivationsRequest(), LOCAL_CALLER)
    return list(reversed(answer.activations))


async def test_an_operator_who_confirms_the_policy_of_the_file_makes_no_rollback(log: RecordLog) -> None:
    first, second = policy("test-1"), policy("test-2")
    store = PolicyStore(log.database)
    for each in (first, second):
        store.save(each.content)
    activate_policy_of_file(log, first, NOW, only_first=False)
    for number, each in enumerate((first, second, first), start=1):
        assert activate_policy(log, PolicyChange(None, each), "", NOW + number * MINUTE, origin=ANA)

    again, once = bodies.CHANGE_KIND_POLICY_ROLLBACK, bodies.CHANGE_KIND_POLICY_ACTIVATION
    assert [each.change for each in await list_changes(log)] == [once, once, once, again]


async def test_a_confirmed_bundle_is_no_rollback_and_a_bundle_that_returns_is_one(
    log: RecordLog, bundles: Path, small: SmallFamily
) -> None:
    def propose_and_approve(minute: int, *markets: str) -> None:
        at = NOW + minute * MINUTE
        proposal = proposal_of(propose_activation(log, bundles, small.bundle(), markets, "ana", "", at))
        approve(log, bundles, UNSIGNED, proposal, "ben", at)

    propose_and_approve(1, "DE")
    propose_and_approve(2, "DE", "FR")
    record_deactivation(log, bundles, "credit", ["DE"], ANA, "", NOW + 3 * MINUTE)
    propose_and_approve(4, "DE", "FR")

    made = [each for each in await list_changes(log) if each.change != bodies.CHANGE_KIND_PROPOSAL]
    assert [(each.change, *each.markets) for each in made] == [
        (bodies.CHANGE_KIND_ACTIVATION, "DE"),
        (bodies.CHANGE_KIND_ACTIVATION, "DE"),
        (bodies.CHANGE_KIND_ACTIVATION, "FR"),
        (bodies.CHANGE_KIND_DEACTIVATION, "DE"),
        (bodies.CHANGE_KIND_ROLLBACK, "DE"),
        (bodies.CHANGE_KIND_ACTIVATION, "FR"),
    ]


def test_a_market_that_is_named_twice_is_changed_once(log: RecordLog, bundles: Path, small: SmallFamily) -> None:
    assert check_activation(bundles, small.bundle_folder.name, ("DE", "FR", "DE"))[1] == ("DE", "FR")
    changed = record_activation(log, bundles, small.bundle(), ["DE", "DE"], origin=ANA, reason="", at=NOW)
    proposal = proposal_of(propose_activation(log, bundles, small.bundle(), ["FR", "FR"], "ana", "", NOW))
    assert approve(log, bundles, UNSIGNED, proposal, "ben", NOW).markets == ("FR",)
    record_deactivation(log, bundles, "credit", ["DE", "DE"], ANA, "", NOW)

    assert changed == ["DE"]
    assert [change.market for change in history_of(log).changes] == ["DE", "", "FR", "DE"]


def test_a_server_that_starts_with_an_unapproved_bundle_in_its_file_serves_the_recorded_one(
    log: RecordLog, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    first, second = small.bundle_folder.name, copy_bundle(other.bundle_folder, bundles).name
    proposal = proposal_of(propose_activation(log, bundles, small.bundle(), ["DE"], "ana", "", NOW))
    approve(log, bundles, UNSIGNED, proposal, "ben", NOW)
    _write_active(bundles, "credit", {"DE": second, "FR": second})  # by hand

    registry = open_registry(log, bundles, four_eyes=True)
    for _ in range(3):
        assert serving_of(registry) == {("credit", "DE"): first}
    assert registry.current.activations == {("credit", "DE"): history_of(log).serving["credit", "DE"].record_id}
    assert f"bundle {first} continues to serve" in registry.problems["credit/DE"]
    assert "no bundle serves the market" in registry.problems["credit/FR"]
    found = " ".join(activation_problems(log.database, bundles, four_eyes=True))
    assert "servers keep the recorded bundle" in found
    assert "without an operator" not in found
    assert "without an operator" in " ".join(activation_problems(log.database, bundles))


def test_a_bundle_that_waits_for_its_approval_is_opened_once_until_its_files_change(
    log: RecordLog, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    opened: list[str] = []
    registry = ModelRegistry(bundles, check=lambda bundle: opened.append(bundle.bundle_id))
    registry.journal = ActivationJournal(log, bundles, lambda: NOW, four_eyes=True)
    approve(
        log,
        bundles,
        UNSIGNED,
        proposal_of(propose_activation(log, bundles, small.bundle(), ["DE"], "ana", "", NOW)),
        "ben",
        NOW,
    )
    assert len(serving_of(registry)) == 1
    second = copy_bundle(other.bundle_folder, bundles)

    _write_active(bundles, "credit", {"DE": second.name})  # by hand
    for _ in range(5):
        assert serving_of(registry) == {("credit", "DE"): small.bundle_folder.name}
    assert opened == [second.name]

    report = second / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    for _ in range(3):
        assert serving_of(registry) == {("credit", "DE"): small.bundle_folder.name}
    assert "is invalid" in registry.problems["credit/DE"], "a bundle whose files changed is read again"
    report.write_bytes(report.read_bytes()[:-1])
    serving_of(registry)
    assert opened == [second.name, second.name]

    approve(
        log,
        bundles,
        UNSIGNED,
        proposal_of(propose_activation(log, bundles, other.bundle(), ["DE"], "ana", "", NOW)),
        "ben",
        NOW,
    )
    assert serving_of(registry) == {("credit", "DE"): second.name}
    assert opened == [second.name, second.name], "the approved model is the one that waited"


def test_a_market_whose_line_is_missing_at_the_start_is_reported_and_can_be_stopped(
    log: RecordLog, bundles: Path, small: SmallFamily
) -> None:
    record_activation(log, bundles, small.bundle(), ["DE", "FR"], origin=ANA, reason="", at=NOW)
    _write_active(bundles, "credit", {"DE": small.bundle_folder.name})
    registry = open_registry(log, bundles)
    registry.refresh()
    registry.refresh()

    assert "this server serves none" in registry.problems["credit/FR"]
    assert "credit/DE" not in registry.problems
    assert "serves FR, but the file has no line for it" in " ".join(activation_problems(log.database, bundles))
    with pytest.raises(ActivationRejected, match="no credit bundle is active for AT; active markets: DE, FR"):
        record_deactivation(log, bundles, "credit", ["AT"], ANA, "", NOW)
    record_deactivation(log, bundles, "credit", ["FR"], ANA, "no demand", NOW)
    registry.refresh()
    assert not registry.problems
    assert not list(activation_problems(log.database, bundles))
    assert read_activations(bundles, "credit")["FR"] == ""


def test_a_family_whose_folder_vanished_is_reported(log: RecordLog, bundles: Path, small: SmallFamily) -> None:
    record_activation(log, bundles, small.bundle(), ["DE"], origin=ANA, reason="", at=NOW)
    (bundles / "credit").rename(bundles.parent / "moved")

    assert "serves DE, but the file has no line for it" in " ".join(activation_problems(log.database, bundles))


def test_a_proposed_policy_that_nobody_approved_was_never_in_force(log: RecordLog, tmp_path: Path) -> None:
    store, draft, mended = PolicyStore(log.database), policy("test-2", why="draft"), policy("test-2", why="mended")
    proposal = proposal_of(propose_policy(log, draft, "ana", "", NOW))
    file = tmp_path / "mended.toml"
    file.write_bytes(mended.content)

    assert store.find_versions() == {}
    with pytest.raises(PolicyRefused, match="0 policies that were in force"):
        plan_activation(store, draft.sha256[:12], tmp_path / "none.toml")
    assert plan_activation(store, str(file), file).after.sha256 == mended.sha256
    assert activate_policy(log, PolicyChange(None, mended), "", NOW, origin=ANA)
    assert store.find_versions() == {mended.sha256: "test-2"}
    with pytest.raises(PolicyRefused, match="version test-2 belongs to a policy with different content"):
        check_version(store.find_versions(), draft)
    with pytest.raises(ChangeRefused, match="since the proposal"):
        approve(log, tmp_path, UNSIGNED, proposal, "ben", NOW)
    late = proposal_of(propose_policy(log, draft, "ana", "", NOW))  # as if proposed at the same time as the other one
    with pytest.raises(PolicyRefused, match="version test-2 belongs to a policy with different content"):
        approve(log, tmp_path, UNSIGNED, late, "ben", NOW)


def test_an_invalid_file_or_line_blocks_no_other_family_and_no_other_market(
    log: RecordLog, bundles: Path, small: SmallFamily
) -> None:
    bundle_id = small.bundle_folder.name
    (bundles / "broken").mkdir()
    (bundles / "broken" / "ACTIVE.toml").write_text("[markets")
    (bundles / "credit" / "ACTIVE.toml").write_text(
        f'[markets]\nDE = "{bundle_id}"\n"all of it" = "{bundle_id}"\nfr = "{bundle_id}"\n'
    )
    registry = open_registry(log, bundles)
    assert serving_of(registry) == {("credit", "DE"): bundle_id}
    assert "must be two uppercase letters" in registry.problems["credit/all of it"]
    assert "must be two uppercase letters" in registry.problems["credit/fr"]
    assert "broken" in registry.problems

    journal = ActivationJournal(log, bundles, lambda: NOW)
    _write_active(bundles, "credit", {"DE": bundle_id, "FR": bundle_id})
    history = journal.take_over({("broken", "DE"): small.bundle(), ("credit", "FR"): small.bundle()})
    assert set(history.serving) == {("credit", "DE"), ("credit", "FR")}


def test_an_approval_that_changes_nothing_closes_its_proposal(
    log: RecordLog, bundles: Path, other: SmallFamily
) -> None:
    second = copy_bundle(other.bundle_folder, bundles).name
    in_force = policy("test-1")
    PolicyStore(log.database).save(in_force.content)
    activate_policy_of_file(log, in_force, NOW, only_first=False)
    proposals = [
        proposal_of(propose_policy(log, in_force, "ana", "", NOW)),  # so that a person answers for it
        *(proposal_of(propose_retirement(log, "credit", second, name, "", NOW)) for name in ("ana", "eve")),
    ]
    for proposal in proposals:
        approve(log, bundles, UNSIGNED, proposal, "ben", NOW)
        with pytest.raises(ChangeRefused, match="was approved already"):
            approve(log, bundles, UNSIGNED, proposal, "cem", NOW)

    assert history_of(log).approved == set(proposals)


def test_what_is_in_use_everywhere_it_is_wanted_is_not_proposed_and_a_missing_line_is_restored(
    log: RecordLog, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    second, bundle_id = copy_bundle(other.bundle_folder, bundles).name, small.bundle_folder.name
    in_force = policy("test-1")
    record_activation(log, bundles, small.bundle(), ["DE", "FR"], origin=ANA, reason="", at=NOW)
    assert activate_policy(log, PolicyChange(None, in_force), "", NOW, origin=ANA)
    record_retirement(log, bundles, "credit", second, ANA, "", NOW)
    _write_active(bundles, "credit", {"DE": bundle_id})
    size = len(history_of(log).changes)

    for _ in range(2):
        assert propose_activation(log, bundles, small.bundle(), ["FR", "DE"], "ana", "weekly", NOW) is None
        assert propose_policy(log, in_force, "ana", "weekly", NOW) is None
        assert propose_retirement(log, "credit", second, "ana", "weekly", NOW) is None
    assert len(history_of(log).changes) == size
    assert read_activations(bundles, "credit") == {"DE": bundle_id, "FR": bundle_id}

    record_deactivation(log, bundles, "credit", ["FR"], ANA, "", NOW)
    proposal = proposal_of(propose_activation(log, bundles, small.bundle(), ["FR", "DE"], "ana", "weekly", NOW))
    assert propose_activation(log, bundles, small.bundle(), ["DE"], "ana", "weekly", NOW) is None
    assert approve(log, bundles, UNSIGNED, proposal, "ben", NOW).markets == ("DE", "FR")
    assert propose_activation(log, bundles, small.bundle(), ["FR", "DE"], "ana", "weekly", NOW) is None


def test_a_bundle_that_begins_to_serve_while_its_proposal_waits_for_the_log_is_not_proposed(
    log: RecordLog, bundles: Path, small: SmallFamily
) -> None:
    with ThreadPoolExecutor(1) as threads:
        with log.database.writing() as connection:
            log.lock_head(connection)
            waiting = threads.submit(propose_activation, log, bundles, small.bundle(), ["DE"], "ana", "", NOW)
            time.sleep(0.3)  # long enough to read the history, if the log were not locked first
            entry = _activation_entry(history_of(log), ("credit", "DE"), small.bundle(), ANA, "", NOW)
            log.append_or_raise(connection, [entry])
        assert waiting.result(30) is None

    assert [change.market for change in history_of(log).changes] == ["DE"]


def test_a_proposal_that_was_approved_meanwhile_is_refused_under_the_lock(
    log: RecordLog, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    """Two people approve at the same time: both have found the proposal open before either of them locks the log."""
    second = copy_bundle(other.bundle_folder, bundles).name
    for proposal in (
        proposal_of(propose_activation(log, bundles, small.bundle(), ["DE"], "ana", "", NOW)),
        proposal_of(propose_policy(log, policy("test-1"), "ana", "", NOW)),
        proposal_of(propose_retirement(log, "credit", second, "ana", "", NOW)),
    ):
        approve(log, bundles, UNSIGNED, proposal, "ben", NOW)
        late, size = ChangeOrigin("ana", "cem", proposal), len(history_of(log).changes)
        for change in (
            lambda: record_activation(log, bundles, small.bundle(), ["DE"], origin=late, reason="", at=NOW),  # noqa: B023 - called in the loop
            lambda: activate_policy(log, PolicyChange(None, policy("test-1")), "", NOW, origin=late),  # noqa: B023
            lambda: record_retirement(log, bundles, "credit", second, late, "", NOW),  # noqa: B023
        ):
            with pytest.raises(ChangeRefused, match="was approved already"):
                change()
        assert len(history_of(log).changes) == size


async def test_a_page_of_activations_opens_only_the_records_that_it_shows(
    log: RecordLog, bundles: Path, small: SmallFamily
) -> None:
    for minute in range(30):
        market = ("DE", "FR")[minute % 2]
        at = NOW + minute * MINUTE
        if minute % 4 < 2:
            record_activation(log, bundles, small.bundle(), [market], origin=ANA, reason="", at=at)
        else:
            record_deactivation(log, bundles, "credit", [market], ANA, "", at)
    history = open_history(log)
    page = await history.list_activations(activation_pb2.ListActivationsRequest(market="FR", page_size=3), LOCAL_CALLER)

    assert [each.markets[:] for each in page.activations] == [["FR"]] * 3
    assert history._read_body.cache_info().misses == 3


def test_a_refused_reason_names_the_option_that_contains_it() -> None:
    with pytest.raises(ErasureRefused, match=r"^--purpose must contain 1 to"):
        check_reason(" ", None, "--purpose")
    with pytest.raises(ErasureRefused, match=r"^--purpose must not contain control"):
        check_reason("a\x1b[0m", None, "--purpose")
    with pytest.raises(ErasureRefused, match=r"^--reason must not contain the customer number"):
        check_reason("case of C1", ("DE", "C1"))
