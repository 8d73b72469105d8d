"""A policy or a bundle tried on recorded decisions answers what SimulateCredit answers for each, and decides nothing."""

import asyncio
import datetime as dt
import json
import resource
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from grounds.audit.v1 import evidence_pb2
from grounds.credit.v1 import credit_pb2
from models.isolation.processes import GraphProcesses
from server.commands.cli import app
from server.decisions.policy import parse_policy
from server.maintenance.window_replay import Candidate, WindowReplayer
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.clock import utc_now
from server.stores.record_log.decision_index import DecisionIndex, DecisionQuery
from server.stores.tables import FEATURES, RECORDS
from tests.conftest import Serving
from tests.server.loading import load_file
from tests.server.record_logs import NOW, entry, open_test_log
from tests.server.requests import customer, euros, numbers, score_request
from tests.server.servers import activate_new_policy, copy_bundle, swap_model, wait_until
from tests.small import POLICY, SPEC, SmallFamily, made_customers, write_small_family

CANDIDATE = (
    POLICY.replace("test-1", "candidate")
    .replace("approve_max_pd = 0.20", "approve_max_pd = 0.30")
    .replace("approve_max_pd = 0.10", "approve_max_pd = 0.05")
    .replace("lgd = 0.45", "lgd = 0.40")
)
PURPOSE = "credit committee, May"
WIDER = (
    SPEC
    + """
[[features]]
name = "deliveries"
unit = "deliveries"
min = 0
group = "SIZE"
"""
)
CENT = Decimal("0.01")


def requests(count: int) -> list[credit_pb2.ScoreCreditRequest]:
    """Return requests of customers of both markets, with amounts below and above the limits."""
    return [
        score_request(
            customer=customer("DE" if number % 2 == 0 else "FR", f"C{number % 1500:05d}"),
            requested_amount=euros(1_000 + 7_919 * number % 60_000),
            features=numbers(turnover=1_000.0 + 997.0 * (number % 211)),
        )
        for number in range(count)
    ]


async def decide(
    serving: Serving, asked: Sequence[credit_pb2.ScoreCreditRequest]
) -> dict[str, credit_pb2.ScoreCreditRequest]:
    """Decide requests in batches; return the requests by decision_id."""
    by_request = {request.request_id: request for request in asked}
    found = {}
    for start in range(0, len(asked), 500):
        batch = credit_pb2.BatchScoreCreditRequest(requests=asked[start : start + 500])
        async for part in serving.credit.BatchScoreCredit(batch):
            for each in part.results:
                reference = each.credit_decision.record_ref
                found[reference.decision_id] = by_request[reference.request_id]
    assert len(found) == len(asked)
    return found


async def replay_window(serving: Serving, folder: Path, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the command for the year around now; return its document, and the answers by decision_id."""
    settings, config, lines = serving.settings, folder / "config.toml", folder / "decisions.jsonl"
    names = ("bundles", "database", "keys", "master_key", "signing_key")
    config.write_text("\n".join(f'{name} = "{getattr(settings, name)}"' for name in names))
    year = dt.datetime.now(dt.UTC).year
    words = ("--from", f"{year}-01-01", "--to", f"{year + 1}-01-02", "--purpose", PURPOSE, "--decisions", str(lines))
    done = await asyncio.to_thread(
        CliRunner().invoke, app, ["replay-window", *words, "--config", str(config), "--json", *options]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout), {
        each["decision_id"]: each for each in map(json.loads, lines.read_text().splitlines())
    }


async def simulate(serving: Serving, request: credit_pb2.ScoreCreditRequest) -> dict[str, Any]:
    """Return what SimulateCredit answers, in the form of the command's lines. Amounts are computed here once more."""
    question = credit_pb2.SimulateCreditRequest(
        customer=request.customer, requested_amount=request.requested_amount, features=request.features
    )
    assessment = (await serving.credit.SimulateCredit(question)).simulated
    result, requested = assessment.policy_result, Decimal(request.requested_amount.units)
    outcome = credit_pb2.Decision.Name(result.decision).removeprefix("DECISION_")
    approvable = Decimal(result.approvable_amount.units)
    granted = {"APPROVE": requested, "APPROVE_REDUCED": approvable}.get(outcome, Decimal(0))
    pd = assessment.model_output.pd if assessment.HasField("model_output") else None
    loss = (Decimal(pd or 0) * Decimal(str(result.lgd)) * granted).quantize(CENT)
    return {
        "outcome": outcome,
        "grade": assessment.model_output.grade,
        "pd": pd,
        "granted": str(granted),
        "expected_loss": str(loss),
        "reasons": [reason.code for reason in assessment.reasons.reasons],
    }


async def put_candidate_in_force(serving: Serving) -> None:
    """Activate the candidate policy, and wait until the server uses it."""
    activate_new_policy(serving, CANDIDATE)

    async def is_in_force() -> bool:
        return (await serving.credit.GetPolicy(credit_pb2.GetPolicyRequest())).policy_version == "candidate"

    await wait_until(is_in_force)


def count_records(serving: Serving, kind: str) -> int:
    """Return the number of records of a kind."""
    with serving.application.database.reading() as connection:
        counted = select(func.count()).where(RECORDS.c.kind == kind)
        return connection.execute(counted).scalar_one()


def check_sums(document: dict[str, Any], lines: dict[str, Any]) -> None:
    """Compare the tables of the document with sums over the lines."""
    for side in ("before", "after"):
        for each in document["markets"]:
            own = [one for one in lines.values() if one["market"] == each["market"]]
            approved = [one for one in own if one[side]["outcome"].startswith("APPROVE")]
            totals = each[side]
            assert (totals["decisions"], totals["approved"]) == (len(own), len(approved))
            assert totals["approval_rate"] == len(approved) / len(own)
            for name in ("granted", "expected_loss"):
                assert Decimal(totals[name]) == sum(Decimal(one[side][name]) for one in own)
            assert totals["outcomes"] == Counter(one[side]["outcome"] for one in own)
        counted = Counter((one["market"], one[side]["grade"]) for one in lines.values())
        shown = {(each["market"], each["grade"]): each[side]["decisions"] for each in document["grades"]}
        assert {key: count for key, count in shown.items() if count} == counted
        codes = Counter((one["market"], code) for one in lines.values() for code in set(one[side]["reasons"]))
        assert {(each["market"], each["code"]): each[side] for each in document["reasons"] if each[side]} == codes
    moved = [one for one in lines.values() if one["before"]["outcome"] != one["after"]["outcome"]]
    swaps = Counter((one["market"], one["before"]["outcome"], one["after"]["outcome"]) for one in moved)
    shown = {(each["market"], each["before"], each["after"]): each["decisions"] for each in document["swap_set"]}
    assert shown == swaps
    for name, side in (("granted_before", "before"), ("granted_after", "after")):
        assert sum(Decimal(each[name]) for each in document["swap_set"]) == sum(
            Decimal(one[side]["granted"]) for one in moved
        )


async def test_a_candidate_policy_gets_the_answers_that_single_what_ifs_get_and_nothing_is_decided(
    serving: Serving, tmp_path: Path
) -> None:
    candidate, page = tmp_path / "candidate.toml", tmp_path / "page.html"
    candidate.write_text(CANDIDATE)
    asked = await decide(serving, requests(60))

    document, lines = await replay_window(serving, tmp_path, "--policy", str(candidate), "--html", str(page))

    assert (document["decisions"], document["replayed"], document["left_out"]) == (60, 60, [])
    assert document["swap_set"], "the candidate changes outcomes"
    check_sums(document, lines)
    assert count_records(serving, "CREDIT_DECISION") == 60
    assert count_records(serving, "EVIDENCE_READING") == 1
    assert "policy candidate" in page.read_text()
    assert "<script" not in page.read_text()
    await put_candidate_in_force(serving)
    for decision_id, request in asked.items():
        assert lines[decision_id]["after"] == await simulate(serving, request)


async def test_a_candidate_bundle_gets_the_answers_that_single_what_ifs_get(
    serving: Serving, other: SmallFamily, tmp_path: Path
) -> None:
    asked = await decide(serving, requests(20))
    copy_bundle(other.bundle_folder, serving.settings.bundles)

    document, lines = await replay_window(serving, tmp_path, "--bundle", other.bundle_folder.name, "--market", "DE")

    assert document["decisions"] == 10
    check_sums(document, lines)
    (serving.settings.bundles / "credit" / other.bundle_folder.name).rename(tmp_path / "moved")
    await swap_model(serving, other.bundle_folder)
    for decision_id, each in lines.items():
        assert each["after"] == await simulate(serving, asked[decision_id])


@pytest.fixture(scope="module")
def wider(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Train a family with one more feature, which the store provides."""
    customers = made_customers()
    deliveries = np.random.default_rng(1).poisson(5 + 2 * customers["bad"])
    return write_small_family(tmp_path_factory.mktemp("wider"), WIDER, customers.assign(deliveries=deliveries))


async def test_a_feature_that_was_not_recorded_is_read_from_the_store_as_of_the_decision(
    serving: Serving, wider: SmallFamily, tmp_path: Path
) -> None:
    asked = await decide(serving, requests(6))
    copy_bundle(wider.bundle_folder, serving.settings.bundles)
    name = wider.bundle_folder.name

    without, nothing = await replay_window(serving, tmp_path, "--bundle", name)
    load_file(serving.application.database, wider.features, utc_now())
    document, lines = await replay_window(serving, tmp_path, "--bundle", name)

    assert (without["replayed"], nothing) == (0, {})
    reason = "features of the bundle were neither recorded nor stored at the time: deliveries"
    assert without["left_out"] == [{"reason": reason, "decisions": 6}]
    assert (document["replayed"], document["left_out"]) == (6, [])
    (serving.settings.bundles / "credit" / name).rename(tmp_path / "moved")
    await swap_model(serving, wider.bundle_folder)
    for decision_id, each in lines.items():
        assert each["after"] == await simulate(serving, asked[decision_id])


async def test_features_of_a_later_day_are_not_used(serving: Serving, wider: SmallFamily, tmp_path: Path) -> None:
    await decide(serving, requests(6))
    copy_bundle(wider.bundle_folder, serving.settings.bundles)
    database = serving.application.database
    load_file(database, wider.features, utc_now())
    with database.writing() as connection:
        digest = wider.bundle().schema.feature_set_digest
        of_wider = FEATURES.c.feature_set_digest == digest
        connection.execute(FEATURES.update().where(of_wider).values(as_of=utc_now() + dt.timedelta(days=1)))

    document, _ = await replay_window(serving, tmp_path, "--bundle", wider.bundle_folder.name)

    assert (document["decisions"], document["replayed"]) == (6, 0)


async def test_a_feature_that_only_callers_state_cannot_be_read_from_the_store(
    serving: Serving, tmp_path: Path
) -> None:
    customers = made_customers()
    (tmp_path / "stated").mkdir()
    stated = write_small_family(
        tmp_path / "stated", WIDER + 'source = "CALLER"\n', customers.assign(deliveries=customers["orders"])
    )
    await decide(serving, requests(6))
    copy_bundle(stated.bundle_folder, serving.settings.bundles)
    load_file(serving.application.database, stated.features, utc_now())

    document, _ = await replay_window(serving, tmp_path, "--bundle", stated.bundle_folder.name)

    (left_out,) = document["left_out"]
    assert left_out["reason"].endswith("neither recorded nor stored at the time: deliveries")


async def test_a_what_if_names_the_features_that_were_not_recorded(
    serving: Serving, wider: SmallFamily, small: SmallFamily
) -> None:
    (decision_id,) = await decide(serving, requests(1))
    copy_bundle(wider.bundle_folder, serving.settings.bundles)
    left_out = {}
    for name in (wider.bundle_folder.name, small.bundle_folder.name):
        asked = evidence_pb2.ReplayDecisionRequest(
            decision_id=decision_id, purpose=PURPOSE, modes=[evidence_pb2.REPLAY_MODE_WHAT_IF], bundle_id=name
        )
        (result,) = (await serving.audit.ReplayDecision(asked)).results
        left_out[name] = result.left_out

    assert left_out == {
        wider.bundle_folder.name: "not recorded, so counted as missing: deliveries",
        small.bundle_folder.name: "",
    }


async def test_a_recorded_bundle_that_can_no_longer_be_run_is_counted_and_the_rest_is_replayed(
    serving: Serving, other: SmallFamily
) -> None:
    """The process that runs the graphs of one bundle ends after the bundle was opened."""
    first = serving.settings.bundles / "credit"
    await decide(serving, requests(6))
    await swap_model(serving, other.bundle_folder)
    await decide(serving, requests(4))
    log, year = serving.application.log, dt.datetime.now(dt.UTC).year
    assert log is not None
    ended, working = GraphProcesses(), GraphProcesses()
    query = DecisionQuery(start=dt.datetime(year, 1, 1, tzinfo=dt.UTC), end=dt.datetime(year + 1, 1, 2, tzinfo=dt.UTC))

    def replay(candidate: Candidate) -> tuple[int, WindowReplayer]:
        cache = BundleCache(first.parent, "credit", working)
        failing = BundleCache(first.parent, "credit", ended).open_model(other.bundle_folder.name)
        cache._models[other.bundle_folder.name] = failing
        ended.close()
        replayer = WindowReplayer(log, cache, candidate)
        return len(list(replayer.replay(query, PURPOSE, "ana", dt.datetime.now(dt.UTC)))), replayer

    with working:
        count, replayer = await asyncio.to_thread(
            replay, Candidate(policy=parse_policy(CANDIDATE.encode(), "candidate"))
        )

    assert count == replayer.counts.replayed == 6
    assert dict(replayer.counts.left_out) == {"the recorded bundle is missing or invalid": 4}


async def test_erased_customers_are_counted_and_the_reading_is_recorded_with_its_purpose(
    serving: Serving, tmp_path: Path
) -> None:
    candidate, log = tmp_path / "candidate.toml", serving.application.log
    candidate.write_text(CANDIDATE.replace('market = "FR"', 'market = "AT"'))
    asked = await decide(serving, requests(6))
    again = score_request(customer=customer("DE", "C00000"), request_id=str(uuid.uuid4()))
    again.features["turnover"].number = 5_000.0
    await decide(serving, [again])
    assert log is not None
    log.key_store.destroy({log.key_store.find_by_owner({log.customer_tag("DE", "C00000")}).popitem()[1].key_id})

    document, lines = await replay_window(serving, tmp_path, "--policy", str(candidate))

    assert (document["decisions"], document["replayed"], document["erased_customers"]) == (7, 2, 1)
    assert {each["reason"]: each["decisions"] for each in document["left_out"]} == {
        "customer erased": 2,
        "the policy has no section for market, product and day": 3,
    }
    assert len(lines) == 2 < len(asked)
    with serving.application.database.reading() as connection:
        wanted = select(RECORDS.c.record_id).where(RECORDS.c.kind == "EVIDENCE_READING")
        record = log.find_by_id(connection.execute(wanted).scalar_one())
    assert record is not None
    body = evidence_pb2.EvidenceReadingRecord.FromString(record.body)
    assert (body.purpose, body.method, body.decision_count) == (PURPOSE, "replay-window", 7)
    assert body.policy_sha256 == document["candidate"]["policy_sha256"]
    assert body.operator
    assert body.end_time.seconds > body.start_time.seconds > 0


def test_the_decisions_of_a_window_are_found_on_both_databases(database_url: str, tmp_path: Path) -> None:
    hour = dt.timedelta(hours=1)
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry(f"{number}".encode(), time=NOW + number * hour) for number in range(6)])
        query = DecisionQuery(start=NOW + hour, end=NOW + 4 * hour, market="DE")

        indexes = DecisionIndex(log.database).read_indexes(query)
        bodies = [record.body for _, record in log.reader.open_each(indexes) if not isinstance(record, str)]

    assert indexes == [1, 2, 3]
    assert bodies == [b"1", b"2", b"3"]


@pytest.mark.long
async def test_20_000_decisions_are_replayed_in_less_than_60_seconds_and_equal_20_000_what_ifs(
    serving: Serving, tmp_path: Path
) -> None:
    candidate = tmp_path / "candidate.toml"
    candidate.write_text(CANDIDATE)
    asked = await decide(serving, requests(20_000))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()

    document, lines = await replay_window(serving, tmp_path, "--policy", str(candidate))

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = children.ru_utime + children.ru_stime - before.ru_utime - before.ru_stime + time.process_time() - start
    assert document["replayed"] == len(asked) == 20_000
    assert processor < 60, f"{processor:.1f} seconds of processor time"
    check_sums(document, lines)
    await put_candidate_in_force(serving)
    for decision_id, request in asked.items():
        assert lines[decision_id]["after"] == await simulate(serving, request)
