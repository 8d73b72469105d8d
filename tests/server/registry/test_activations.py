"""The record log alone states who let which bundle and policy serve which market when, on SQLite and on a real PostgreSQL."""

import asyncio
import datetime as dt
import os
import pwd
import random
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from grounds.audit.v1 import activation_pb2, audit_pb2
from grounds.audit.v1 import bodies_pb2 as bodies
from grounds_record.activations import CHANGE_KINDS, ActivationHistory
from grounds_record.header import parse_header
from models.bundle import Bundle
from models.catalog import _write_active, read_active
from server.commands.cli import app
from server.config import Settings, read_settings
from server.decisions.policy import parse_policy
from server.edges.audit.operation_history import OperationHistory
from server.edges.explanations import timestamp
from server.edges.identity.callers import LOCAL_CALLER
from server.edges.page_tokens import PageTokens
from server.edges.thread_pool import StoreThreads
from server.errors import ChangeRefused, PolicyRefused, StoreUnavailable
from server.maintenance.doctor import check_log, diagnose, read_verifier_key
from server.registry.bundle_activation import (
    ActivationJournal,
    ServedMarket,
    record_activation,
    record_deactivation,
    record_retirement,
)
from server.registry.bundle_signatures import BundleSignatures
from server.registry.change_origin import ChangeOrigin
from server.registry.model_registry import ModelRegistry
from server.registry.proposals import approve, propose_activation, propose_policy, propose_retirement
from server.stores.clock import utc_now
from server.stores.database import Database
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.server.audits import PURPOSE
from tests.server.record_logs import NOW, open_test_log
from tests.server.requests import call_error, score_request
from tests.server.servers import copy_bundle, serve, swap_model
from tests.small import POLICY, SmallFamily

MARKETS, OPERATORS = ("DE", "FR", "AT"), ("ana", "ben", "cem")
UNSIGNED = BundleSignatures(())
HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Known:
    """What a person wrote down about one market or about the policy, at the time of a change."""

    digest: str
    operator: str
    approver: str
    reason: str


class Logbook:
    """Makes changes, and writes down in a list what an auditor must find. It shares no code with the history."""

    def __init__(self, log: RecordLog, folder: Path, bundle: Bundle) -> None:
        self.log, self.folder, self.random = log, folder, random.Random(24)  # noqa: S311 - reproducible test data
        manifest = bundle.manifest.model_copy(update={"markets": MARKETS})
        self.known = [replace(bundle, bundle_id=f"{number:064x}", manifest=manifest) for number in range(1, 5)]
        self.policies = [
            parse_policy(POLICY.replace("test-1", f"test-{number}").encode(), "policy") for number in range(1, 5)
        ]
        self.now: dict[str, Known] = {}
        self.moments: list[tuple[dt.datetime, dict[str, Known]]] = []
        self.changes = 0

    def write_down(self, at: dt.datetime, changed: Mapping[str, Known]) -> None:
        """Remember what is in force from a time on."""
        self.changes += len(changed)
        self.now = {**self.now, **changed}
        self.moments.append((at, self.now))

    def change(self, at: dt.datetime) -> None:
        """Make a random change."""
        operator, approver = self.random.sample(OPERATORS, 2)
        reason = f"decision of {at:%d %B}"
        self.random.choice([self.activate, self.activate, self.deactivate, self.change_policy, self.change_policy])(
            at, operator, approver, reason
        )

    def activate(self, at: dt.datetime, operator: str, _approver: str, reason: str) -> None:
        """Activate a bundle in some markets."""
        bundle = self.random.choice(self.known)
        markets = self.random.sample(MARKETS, self.random.randint(1, 3))
        changed = [each for each in markets if self.now.get(each, Known("", "", "", "")).digest != bundle.bundle_id]
        record_activation(self.log, self.folder, bundle, markets, origin=ChangeOrigin(operator), reason=reason, at=at)
        self.write_down(at, {market: Known(bundle.bundle_id, operator, "", reason) for market in changed})

    def deactivate(self, at: dt.datetime, operator: str, _approver: str, reason: str) -> None:
        """Deactivate a market, if one is served."""
        served = [market for market in MARKETS if self.now.get(market, Known("", "", "", "")).digest]
        for market in served[:1]:
            record_deactivation(self.log, self.folder, "credit", [market], ChangeOrigin(operator), reason, at)
            self.write_down(at, {market: Known("", operator, "", reason)})

    def change_policy(self, at: dt.datetime, operator: str, approver: str, reason: str) -> None:
        """Propose a policy, which a second person approves half an hour later."""
        policy = self.random.choice([each for each in self.policies if each.sha256 != self.digest("policy")])
        proposal = proposal_of(propose_policy(self.log, policy, operator, reason, at))
        later = at + HOUR / 2
        approve(self.log, self.folder, UNSIGNED, proposal, approver, later)
        self.write_down(later, {"policy": Known(policy.sha256, operator, approver, reason)})

    def digest(self, name: str) -> str:
        """Return the digest that is in force."""
        return self.now[name].digest if name in self.now else ""

    def at(self, time: dt.datetime) -> dict[str, Known]:
        """Return what was in force at a time."""
        states = [state for at, state in self.moments if at <= time]
        return states[-1] if states else {}


def read_known(activations: list[activation_pb2.Activation]) -> dict[str, Known]:
    """Return an answer of ListActivations in the form of the logbook."""
    return {
        each.markets[0] if each.markets else "policy": Known(
            each.bundle_id or each.policy_sha256, each.author.operator, each.author.approver, each.reason
        )
        for each in activations
    }


def proposal_of(proposal_id: str | None) -> str:
    """Return the id of a proposal that was recorded."""
    assert proposal_id is not None
    return proposal_id


def open_history(log: RecordLog) -> OperationHistory:
    """Return the part of the server that answers ListActivations."""
    return OperationHistory(log, PageTokens(lambda: [bytes(32)], 7, lambda: NOW), StoreThreads(1))


async def test_an_auditor_reconstructs_who_let_what_serve_at_any_time_from_a_made_history_of_50_changes(
    log: RecordLog, bundles: Path, small: SmallFamily
) -> None:
    logbook, start = Logbook(log, bundles, small.bundle()), dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    days = 0
    while logbook.changes < 50:
        days += 1
        logbook.change(start + days * 24 * HOUR)
    history, never = open_history(log), start - HOUR

    times = [never, *(start + logbook.random.random() * (days + 1) * 24 * HOUR for _ in range(80))]
    for time in times:
        answer = await history.list_activations(
            activation_pb2.ListActivationsRequest(at_time=timestamp(time)), LOCAL_CALLER
        )
        assert read_known(list(answer.activations)) == logbook.at(time)
    pages, request = [], activation_pb2.ListActivationsRequest(page_size=7)
    while not pages or request.page_token:
        page = await history.list_activations(request, LOCAL_CALLER)
        pages.append(list(page.activations))
        request.page_token = page.next_page_token
    listed = [each for page in pages for each in page]
    assert [each.index for each in listed] == sorted((each.index for each in listed), reverse=True)
    effective = [each for each in listed if each.change != bodies.CHANGE_KIND_PROPOSAL]
    assert len(effective) == logbook.changes
    proposals = {each.activation_id for each in listed if each.change == bodies.CHANGE_KIND_PROPOSAL}
    assert {each.author.proposal_id for each in effective if each.policy_sha256} == proposals
    _check_predecessors(effective)
    sound, sentences = check_log(log.database, log.verifier, None)
    assert sound, sentences
    assert f"{len(listed)} changes of bundles and policies; 0 decisions" in " ".join(sentences)


def _check_predecessors(newest_first: list[activation_pb2.Activation]) -> None:
    """Check predecessors and rollbacks against the order of the changes alone."""
    last: dict[str, str] = {}
    seen: dict[str, set[str]] = {}
    for each in reversed(newest_first):
        name, digest = each.markets[0] if each.markets else "policy", each.bundle_id or each.policy_sha256
        assert each.previous_digest == last.get(name, "")
        is_rollback = bool(digest) and digest in seen.setdefault(name, set())
        rollbacks = (bodies.CHANGE_KIND_ROLLBACK, bodies.CHANGE_KIND_POLICY_ROLLBACK)
        assert (each.change in rollbacks) == is_rollback
        assert each.release_verdict.startswith("PASSED: ") == (bool(each.bundle_id))
        seen[name].add(digest)
        last[name] = digest


class Servers:
    """Several servers of one log, without their gRPC part: each has its own connection and its own registry."""

    def __init__(self, stack: ExitStack, url: str, folder: Path, bundles: Path, count: int = 4) -> None:
        self.logs = [stack.enter_context(open_test_log(url, folder)) for _ in range(count)]
        self.registries = [ModelRegistry(bundles, check=lambda _bundle: None) for _ in self.logs]
        for registry, each in zip(self.registries, self.logs, strict=True):
            registry.journal = ActivationJournal(each, bundles, lambda: NOW)

    def refresh(self) -> list[dict[ServedMarket, tuple[str, str]]]:
        """Reload all registries at the same moment; return bundle and activation of each market, for each server."""
        barrier = threading.Barrier(len(self.registries))

        def reload(registry: ModelRegistry) -> dict[ServedMarket, tuple[str, str]]:
            barrier.wait()
            current = registry.refresh()
            return {key: (model.bundle.bundle_id, current.activations[key]) for key, model in current.serving.items()}

        with ThreadPoolExecutor(len(self.registries)) as pool:
            return list(pool.map(reload, self.registries))

    def changes(self) -> list[tuple[str, dict[str, str]]]:
        """Return kind and labels of every recorded change, read from the table."""
        wanted = select(RECORDS.c.header).where(RECORDS.c.kind.in_(CHANGE_KINDS)).order_by(RECORDS.c.record_index)
        with self.logs[0].database.reading() as connection:
            headers = [parse_header(bytes(row.header)) for row in connection.execute(wanted)]
        return [(header.kind, dict(header.labels)) for header in headers]


def test_a_changed_file_is_recorded_exactly_once_by_the_servers_that_take_it_over(
    database_url: str, tmp_path: Path, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    first, second = small.bundle_folder.name, copy_bundle(other.bundle_folder, bundles).name
    with ExitStack() as stack:
        servers = Servers(stack, database_url, tmp_path, bundles)
        _write_active(bundles, "credit", {"DE": first, "FR": first})
        started = servers.refresh()
        _write_active(bundles, "credit", {"DE": second, "FR": first})  # by hand
        edited = servers.refresh()
        origin = ChangeOrigin("ana")
        record_activation(servers.logs[0], bundles, small.bundle(), ["DE"], origin=origin, reason="too slow", at=NOW)
        rolled_back = servers.refresh()
        _write_active(bundles, "credit", {"DE": first, "FR": ""})  # by hand
        stopped = servers.refresh()
        again = servers.refresh()
        found = servers.changes()

    for state in (started, edited, rolled_back, stopped):
        assert all(each == state[0] for each in state)
    assert again == stopped
    assert [(kind, labels["market"], labels.get("bundle", ""), labels.get("source", "")) for kind, labels in found] == [
        ("BUNDLE_ACTIVATED", "DE", first, "SERVER"),
        ("BUNDLE_ACTIVATED", "FR", first, "SERVER"),
        ("BUNDLE_ACTIVATED", "DE", second, "SERVER"),
        ("BUNDLE_ACTIVATED", "DE", first, ""),
        ("BUNDLE_DEACTIVATED", "FR", "", "SERVER"),
    ]
    assert started[0]["credit", "DE"][1] != rolled_back[0]["credit", "DE"][1]
    assert set(stopped[0]) == {("credit", "DE")}


class BrokenJournal(ActivationJournal):
    """A journal that cannot record while `is_broken`."""

    is_broken = True

    def take_over(self, wanted: Mapping[ServedMarket, Bundle | None]) -> ActivationHistory:
        """Fail like a database that does not answer."""
        if self.is_broken:
            raise StoreUnavailable("the database does not answer; try again")
        return super().take_over(wanted)


def test_a_bundle_whose_activation_cannot_be_recorded_does_not_serve_but_a_market_can_be_stopped(
    log: RecordLog, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    first, second = small.bundle_folder.name, copy_bundle(other.bundle_folder, bundles).name
    registry = ModelRegistry(bundles, check=lambda _bundle: None)
    journal = registry.journal = BrokenJournal(log, bundles, lambda: NOW)

    def serving_bundles() -> dict[str, str]:
        return {market: model.bundle.bundle_id for (_, market), model in registry.refresh().serving.items()}

    _write_active(bundles, "credit", {"DE": first, "FR": first})
    assert serving_bundles() == {}
    assert "its activation cannot be recorded" in registry.problems["credit/DE"]
    journal.is_broken = False
    assert serving_bundles() == {"DE": first, "FR": first}
    assert not registry.problems
    journal.is_broken = True
    _write_active(bundles, "credit", {"DE": second, "FR": ""})
    assert serving_bundles() == {"DE": first}
    assert f"bundle {first} continues to serve" in registry.problems["credit/DE"]
    journal.is_broken = False
    assert serving_bundles() == {"DE": second}
    newest = {key: change.bundle_id for key, change in journal.read().serving.items()}
    assert newest == {("credit", "DE"): second, ("credit", "FR"): ""}


def test_two_servers_with_different_files_report_it_and_record_no_change_without_end(
    database_url: str, tmp_path: Path, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    first, second = small.bundle_folder.name, copy_bundle(other.bundle_folder, bundles).name
    elsewhere = shutil.copytree(bundles, tmp_path / "elsewhere")
    _write_active(bundles, "credit", {"DE": first})
    _write_active(elsewhere, "credit", {"DE": second})
    with ExitStack() as stack:
        one = Servers(stack, database_url, tmp_path, bundles, count=1)
        two = Servers(stack, database_url, tmp_path, elsewhere, count=1)
        for _ in range(4):
            one.refresh()
            two.refresh()
        found = [labels["bundle"] for _, labels in one.changes()]

    assert found == [first, second]
    assert "give all servers of the log the same ACTIVE.toml" in one.registries[0].problems["credit/DE"]
    assert not two.registries[0].problems


def test_a_proposal_has_no_effect_until_a_different_person_approves_it_once(
    log: RecordLog, bundles: Path, small: SmallFamily, other: SmallFamily
) -> None:
    second = copy_bundle(other.bundle_folder, bundles).name
    registry = ModelRegistry(bundles, check=lambda _bundle: None)
    registry.journal = ActivationJournal(log, bundles, lambda: NOW, four_eyes=True)
    proposal = proposal_of(propose_activation(log, bundles, small.bundle(), ["DE"], "ana", "new model", NOW))

    _write_active(bundles, "credit", {"DE": small.bundle_folder.name})  # a person tries to go around the approval
    assert not registry.refresh().serving
    assert "four_eyes requires an approved proposal" in registry.problems["credit/DE"]
    with pytest.raises(ChangeRefused, match="ana has proposed this change"):
        approve(log, bundles, UNSIGNED, proposal, "ana", NOW)
    stale = proposal_of(propose_activation(log, bundles, other.bundle(), ["DE"], "ana", "newer model", NOW))
    approve(log, bundles, UNSIGNED, proposal, "ben", NOW)
    assert set(registry.refresh().serving) == {("credit", "DE")}
    with pytest.raises(ChangeRefused, match="was approved already"):
        approve(log, bundles, UNSIGNED, proposal, "ben", NOW)
    with pytest.raises(ChangeRefused, match="since the proposal, credit DE has changed from no bundle"):
        approve(log, bundles, UNSIGNED, stale, "ben", NOW)
    with pytest.raises(ChangeRefused, match="serves DE; activate a different bundle"):
        record_retirement(log, bundles, "credit", small.bundle_folder.name, ChangeOrigin("ana"), "", NOW)
    approve(log, bundles, UNSIGNED, proposal_of(propose_retirement(log, "credit", second, "ben", "", NOW)), "ana", NOW)
    with pytest.raises(ChangeRefused, match="was retired"):
        record_activation(log, bundles, other.bundle(), ["DE"], origin=ChangeOrigin("ana"), reason="", at=NOW)


async def test_with_four_eyes_a_server_starts_only_under_an_approved_policy(small_settings: Settings) -> None:
    settings = small_settings.model_copy(update={"four_eyes": True})
    with pytest.raises(PolicyRefused, match="four_eyes requires an approval"):
        async with serve(settings):
            pass


async def test_every_decision_names_the_activations_under_which_it_was_made_and_doctor_checks_them(
    serving: Serving, other: SmallFamily
) -> None:
    application = serving.application
    assert application.log is not None

    async def decide() -> tuple[audit_pb2.DecisionRecord, Mapping[str, str]]:
        answer = await serving.credit.ScoreCredit(score_request())
        decision_id = answer.credit_decision.record_ref.decision_id
        request = audit_pb2.GetEvidenceRequest(decision_id=decision_id, purpose=PURPOSE)
        record = application.log.find_by_id(decision_id) if application.log else None
        assert record is not None
        return (await serving.audit.GetEvidence(request)).evidence.record, record.header.labels

    before = await decide()
    await swap_model(serving, other.bundle_folder)
    after = await decide()
    listed = (await serving.audit.ListActivations(activation_pb2.ListActivationsRequest(market="DE"))).activations

    by_id = {each.activation_id: each for each in listed}
    for record, labels in (before, after):
        assert by_id[record.activation_id].bundle_id == record.bundle_id
        assert by_id[record.policy_activation_id].policy_sha256 == record.policy_sha256
        assert (labels["activation"], labels["policy_activation"]) == (
            record.activation_id,
            record.policy_activation_id,
        )
    assert before[0].activation_id != after[0].activation_id
    database = Database(serving.settings.database)
    sentences = await asyncio.to_thread(lambda: diagnose(database, serving.settings).sentences)
    database.close()
    assert [text for text in sentences if "2 decisions were made under a recorded activation" in text]


def test_the_commands_record_the_account_and_only_propose_if_four_eyes_is_set(
    tmp_path: Path, small_settings: Settings, small: SmallFamily
) -> None:
    config, bundle_id = tmp_path / "config.toml", small.bundle_folder.name
    names = ("bundles", "database", "keys", "master_key", "signing_key")
    lines = [f'{name} = "{getattr(small_settings, name)}"' for name in names]
    config.write_text("\n".join(lines))

    def run(*words: str, reason: str = "") -> str:
        options = ["--reason", reason] if reason else []
        done = CliRunner().invoke(app, [*words, *options, "--config", str(config)])
        return done.output + (f"{type(done.exception).__name__}: {done.exception}" if done.exception else "")

    def history() -> list[tuple[str, str, str]]:
        with open_test_log(small_settings.database, tmp_path, origin=read_settings().log_origin) as log:
            records = [
                log.find_by_id(change.record_id) for change in ActivationJournal(log, tmp_path, utc_now).read().changes
            ]
        bodies_read = [bodies.BundleActivationRecord.FromString(each.body) for each in records if each]
        return [(each.market, each.author.operator, each.reason) for each in bodies_read]

    assert f"credit {bundle_id[:12]} serves DE, FR" in run("activate", bundle_id[:8], reason="first release")
    assert "credit serves FR no longer" in run("deactivate", "FR", reason="no demand")
    account = pwd.getpwuid(os.getuid()).pw_name
    recorded = [("DE", account, "first release"), ("FR", account, "first release"), ("FR", account, "no demand")]
    assert history() == recorded
    again = f"credit {bundle_id[:12]} serves DE already; nothing was recorded\n"
    assert run("activate", bundle_id, "--market", "DE") == again
    config.write_text("\n".join([*lines, "four_eyes = true"]))
    assert run("activate", bundle_id, "--market", "DE") == again
    assert history() == recorded
    asked = run("activate", bundle_id, "--market", "FR")
    assert "nothing has changed yet" in asked
    refused = run("approve", re.findall(r"approve ([0-9a-f-]{36})", asked)[0])
    assert f"ChangeRefused: {account} has proposed this change" in refused
    assert read_active(small_settings.bundles, "credit") == {"DE": bundle_id}


def test_doctor_reports_a_file_that_differs_from_the_log(
    tmp_path: Path, small_settings: Settings, small: SmallFamily
) -> None:
    bundle_id = small.bundle_folder.name
    database = Database(small_settings.database)
    problems: Callable[[], str] = lambda: " ".join(diagnose(database, small_settings).sentences)  # noqa: E731 - read twice
    with open_test_log(small_settings.database, tmp_path, origin=read_settings().log_origin) as log:
        origin = ChangeOrigin("ana")
        record_activation(
            log,
            small_settings.bundles,
            small.bundle(),
            ["DE", "FR"],
            origin=origin,
            reason="",
            at=dt.datetime.now(dt.UTC),
        )
        assert "the record log states" not in problems()
        _write_active(small_settings.bundles, "credit", {"DE": "", "FR": bundle_id})
        assert f"the record log states that bundle {bundle_id[:12]} serves DE" in problems()
    database.close()
    assert read_verifier_key(small_settings)


async def test_nothing_is_decided_under_a_policy_whose_activation_is_not_recorded(small_settings: Settings) -> None:
    async with serve(small_settings.model_copy(update={"reload_seconds": 3600})) as serving:
        application = serving.application
        policies, log = application._policies, application.log
        assert policies is not None
        assert log is not None
        policies.current = replace(policies.current, activation_id="")

        refused = await call_error(serving.credit.ScoreCredit(score_request()))
        application._put_policy_in_force(policies, log)
        answer = await serving.credit.ScoreCredit(score_request())

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert answer.credit_decision.record_ref.decision_id
