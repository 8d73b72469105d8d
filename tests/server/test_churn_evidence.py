"""The evidence of one customer's churn risk: all that the run says, proved to the signed checkpoint, every reading recorded."""

import asyncio
import hashlib
import json
import math
import struct
from collections import Counter
from typing import Any

import grpc
import pytest
from sqlalchemy import delete, select, update

from grounds.audit.v1 import bodies_pb2, churn_evidence_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from record.checkpoint import open_checkpoint
from record.merkle import verify_inclusion
from record.note import parse_verifier_key
from server.app import now
from server.erase import erase
from server.stores.records import RecordLog
from server.stores.tables import RECORDS, RISK_LEAVES, RISKS, RUNS
from tests.conftest import Serving
from tests.server import loading
from tests.server.asking import customer, refusal
from tests.server.auditing import PURPOSE, churn_evidence, churn_replay, readings, row_of, set_columns
from tests.server.run_trees import OLD_ID, add_old_run, change_row, climbed, leaves_of, root_over
from tests.server.runs import FIRST, ChurnFamily, plain_rows, write_run

ME = ("FR", "C00701")


@pytest.fixture
def serving(churn_serving: Serving) -> Serving:
    """Serve a run."""
    return churn_serving


def log_of(serving: Serving) -> RecordLog:
    """Give the log of a server."""
    assert serving.application.log is not None
    return serving.application.log


def run_of(serving: Serving, market: str = "FR") -> str:
    """Give the first run of a market."""
    wanted = select(RUNS.c.run_id).where(RUNS.c.market == market).order_by(RUNS.c.run_number).limit(1)
    with serving.application.database.reading() as connection:
        return str(connection.execute(wanted).scalar_one())


def record_id_of(run_id: str) -> str:
    """Write a run's name as a UUID."""
    return "-".join((run_id[:8], run_id[8:12], run_id[12:16], run_id[16:20], run_id[20:]))


def data_of(serving: Serving, name: str) -> bytes:
    """Give what a record's leaf is made of."""
    row = row_of(serving, name)
    return len(row.header).to_bytes(4, "big") + row.header + row.ciphertext


async def verdicts(serving: Serving, *modes: str, of: tuple[str, str] = ME, run_id: str = "") -> dict[str, str | None]:
    """Replay; gives the verdicts' names."""
    found = await churn_replay(serving, run_id or run_of(serving, of[0]), *of, *modes)
    return {mode: result.WhichOneof("verdict") for mode, result in found.items()}


async def test_the_evidence_says_what_the_crm_was_told_with_its_explanation_and_the_run(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    request = churn_pb2.GetChurnRiskRequest(customer=customer(*ME), locale="de")
    told = (await serving.churn.GetChurnRisk(request)).churn_risk
    (run,) = [each for each in (await runs(serving)) if each.market == "FR"]

    found = await churn_evidence(serving, told.run_id, *ME, locale="de")

    assert found.body_state == evidence_pb2.BODY_STATE_READABLE
    assert (found.churn_risk, found.run) == (told, run)
    explanation = found.churn_risk.explanation
    total = math.fsum([explanation.base_value, *(line.log_odds for line in explanation.contributions)])
    assert abs(total - told.log_odds) <= 1e-9
    fed = [(line.feature, None if math.isnan(line.number) else line.number) for line in found.features]
    assert fed == [
        (line.feature, line.value.number if line.HasField("value") else None) for line in explanation.contributions
    ]
    assert {value for _, value in fed} > {None}
    bundle = churn_family.model.bundle
    assert found.bundle.model.summary.bundle_id == bundle.bundle_id == found.record.bundle_id
    assert dict(found.bundle.files) == bundle.manifest.files


async def runs(serving: Serving) -> list[churn_pb2.ChurnRun]:
    """List the runs."""
    return list((await serving.churn.ListChurnRuns(churn_pb2.ListChurnRunsRequest())).runs)


async def test_the_row_says_what_the_risk_says_and_leads_to_the_signed_checkpoint_by_the_public_key_alone(
    serving: Serving,
) -> None:
    for market, customer_id in (("DE", "C00000"), ("DE", "B00309"), ME):
        found = await churn_evidence(serving, run_of(serving, market), market, customer_id)
        row, risk, proof = bodies_pb2.ChurnRiskRow.FromString(found.row), found.churn_risk, found.row_proof

        assert (row.customer_id, row.status) == (customer_id, "SCORED")
        assert (row.log_odds, row.pd, row.rank) == (risk.log_odds, risk.churn_probability, risk.rank)
        assert f"RISK_BAND_{row.band}" == churn_pb2.RiskBand.Name(risk.risk_band)
        assert [each["code"] for each in json.loads(row.drivers)] == [each.code for each in risk.drivers.reasons]
        parts = struct.unpack(f"<{len(row.contributions) // 8}d", row.contributions)
        assert list(parts) == [line.log_odds for line in risk.explanation.contributions]
        assert len(row.salt) == 16

        leaf = hashlib.sha256(b"\x00" + found.row).digest()
        leaves = leaves_of(log_of(serving), market)
        root = climbed(proof.index, proof.size, leaf, proof.hashes)
        assert leaf == proof.leaf_hash == leaves[proof.index]
        assert (root, proof.size) == (root_over(leaves), len(leaves))
        assert root in {each.rows_root for each in found.record.markets if each.market == market}
        header = json.loads(found.proof.record.header)
        assert header["labels"][f"rows_{market.lower()}"] == f"{proof.size}:{root.hex()}"
        checkpoint = open_checkpoint(found.proof.checkpoint, parse_verifier_key(found.verifier_key))
        name = record_id_of(found.run_id)
        assert header["record_id"] == name
        of_record = hashlib.sha256(b"\x00" + data_of(serving, name)).digest()
        verify_inclusion(
            found.proof.record.index, checkpoint.size, of_record, tuple(found.proof.hashes), checkpoint.root
        )


async def test_every_customer_of_the_run_scores_and_explains_to_the_bit_and_verifies(serving: Serving) -> None:
    with serving.application.database.reading() as connection:
        wanted = select(RUNS.c.run_id, RUNS.c.market, RISKS.c.customer_id).join_from(RISKS, RUNS)
        everybody = connection.execute(wanted).all()
    room = asyncio.Semaphore(64)

    async def one(run_id: str, market: str, customer_id: str) -> tuple[str | None, ...]:
        modes = ("SCORE", "EXPLANATION", "VERIFY")[: 3 if market == "FR" else 2]
        async with room:
            found = await verdicts(serving, *modes, of=(market, customer_id), run_id=run_id)
        assert tuple(found) == modes
        return market, *found.values()

    found = Counter(await asyncio.gather(*(one(*each) for each in everybody)))

    assert found == {("DE", "match", "match"): 1010, ("FR", "match", "match", "match"): 30}


async def test_a_band_that_was_held_replays_and_one_that_was_not_does_not(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    """In the second run twenty customers are twice as late; some stay in their band within the margin only."""
    loading.load_file(serving.application.database, churn_family.second_run, now())
    with serving.application.database.reading() as connection:
        run_id = connection.execute(select(RUNS.c.run_id).where(RUNS.c.as_of != FIRST).limit(1)).scalar_one()
        wanted = select(RISKS.c.customer_id, RISKS.c.band, RISKS.c.band_since, RISKS.c.pd).join_from(RISKS, RUNS)
        rows = connection.execute(wanted.where(RUNS.c.run_id == run_id)).all()

    found = {row.customer_id: await verdicts(serving, of=("DE", row.customer_id), run_id=run_id) for row in rows}

    assert {verdict for each in found.values() for verdict in each.values()} == {"match"}
    stayed = next(row for row in rows if row.band_since == round(FIRST.timestamp() * 10**6))
    change_row(log_of(serving), stayed.customer_id, band="LOW" if stayed.pd > 0.5 else "CRITICAL")
    result = (await churn_replay(serving, run_id, "DE", stayed.customer_id, "SCORE"))["SCORE"]
    assert result.mismatch.field == "band"
    assert result.mismatch.recomputed == stayed.band


@pytest.mark.parametrize("column", ["pd", "log_odds", "rank", "drivers", "features", "contributions", "previous_band"])
async def test_a_value_that_was_changed_is_found_and_is_no_evidence(serving: Serving, column: str) -> None:
    with serving.application.database.reading() as connection:
        value = connection.execute(select(RISKS.c[column]).where(RISKS.c.customer_id == ME[1])).scalar_one()
    others = {
        "rank": 4000,
        "previous_band": "CRITICAL",
        "drivers": "[]",
        "contributions": b"",
        "features": b"\x01" * 32,
    }
    other = others[column] if column in others else math.nextafter(value, 9.0)
    assert other != value
    change_row(log_of(serving), ME[1], **{column: other})

    result = (await churn_replay(serving, run_of(serving), *ME, "VERIFY"))["VERIFY"]
    neighbour = await verdicts(serving, "VERIFY", of=("FR", "C00702"))
    told = await refusal(asked(serving))

    assert (result.mismatch.field, result.mismatch.stored) == ("row", "")
    assert (told.code, told.reason) == (grpc.StatusCode.DATA_LOSS, "RECORD_DAMAGED")
    assert neighbour == {"VERIFY": "match"}


async def test_a_value_that_was_changed_does_not_replay_either(serving: Serving) -> None:
    change_row(log_of(serving), ME[1], pd=0.25, drivers="[]")

    found = await churn_replay(serving, run_of(serving), *ME)

    score, explanation = found["SCORE"].mismatch, found["EXPLANATION"].mismatch
    assert (score.field, score.stored) == ("pd", "0.25")
    assert float(score.recomputed) != 0.25
    assert explanation.field.startswith("drivers")


def asked(serving: Serving, run_id: str = "", of: tuple[str, str] = ME) -> Any:
    """Ask for evidence, not yet answered."""
    request = churn_evidence_pb2.GetChurnEvidenceRequest(
        run_id=run_id or run_of(serving, of[0]), customer=customer(*of), purpose=PURPOSE
    )
    return serving.audit.GetChurnEvidence(request)


async def test_a_row_of_another_run_is_not_in_the_root(serving: Serving, churn_family: ChurnFamily) -> None:
    """The very same numbers under another run have another leaf."""
    add_old_run(log_of(serving), "FR")
    database, first = serving.application.database, run_of(serving)
    path = write_run(
        serving.settings.bundles.parent / "third.parquet",
        churn_family.model,
        plain_rows(churn_family.model, {ME[1]: 0.5, "C00702": 0.25}, FIRST.replace(month=4), "FR"),
    )
    loading.load_file(database, path, now())
    with database.writing() as connection:
        third = connection.execute(select(RUNS).order_by(RUNS.c.run_number.desc())).mappings().first()
        assert third is not None
        row = connection.execute(select(RISKS).where(RISKS.c.run_number == third["run_number"])).mappings().first()
        assert row is not None
        number = select(RUNS.c.run_number).where(RUNS.c.run_id == first, RUNS.c.market == "FR").scalar_subquery()
        mine = (RISKS.c.run_number == number) & (RISKS.c.customer_id == row["customer_id"])
        values = {name: value for name, value in row.items() if name not in {"run_number", "chunk"}}
        connection.execute(update(RISKS).where(mine).values(**values))

    result = (await churn_replay(serving, first, "FR", row["customer_id"], "VERIFY"))["VERIFY"]

    assert result.mismatch.field == "row"
    assert await verdicts(serving, "VERIFY", of=("FR", row["customer_id"]), run_id=third["run_id"]) == {
        "VERIFY": "match"
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (delete(RISK_LEAVES), "leaves[0]"),
        (update(RISK_LEAVES).values(root=bytes(32)), "rows_root"),
        (update(RISK_LEAVES).values(hashes=b"\x01" * 32 * 30), "leaves[0]"),
        (update(RUNS).values(header=RUNS.c.header + " "), "manifest"),
        (update(RUNS).values(as_of=FIRST.replace(hour=1)), "run.as_of_time"),
    ],
    ids=["no-block", "root", "block", "manifest", "cut"],
)
async def test_leaves_a_root_a_manifest_or_a_cut_that_were_changed_are_named(
    serving: Serving, change: Any, field: str
) -> None:
    with serving.application.database.writing() as connection:
        connection.execute(change)

    result = (await churn_replay(serving, run_of(serving), *ME, "VERIFY"))["VERIFY"]

    assert result.mismatch.field == field
    assert result.mismatch.stored != result.mismatch.recomputed


async def test_a_record_of_the_run_that_was_changed_is_found(serving: Serving) -> None:
    run_id = run_of(serving)
    name = record_id_of(run_id)
    header = row_of(serving, name).header
    other = header.replace(b'"rows_fr":"30:', b'"rows_fr":"31:')
    assert other != header
    set_columns(serving, name, header=other)

    result = (await churn_replay(serving, run_id, *ME, "VERIFY"))["VERIFY"]

    assert result.mismatch.field == "HEADER_ALTERED" or result.WhichOneof("verdict") == "mismatch"


async def test_after_an_erasure_the_others_still_verify_and_of_the_erased_one_the_proofs_are_left(
    serving: Serving,
) -> None:
    before = await churn_evidence(serving, run_of(serving), *ME)
    erase(log_of(serving), ME, "request 7", now())

    found = await churn_evidence(serving, run_of(serving), *ME)
    replayed = await churn_replay(serving, run_of(serving), *ME, "VERIFY", "SCORE", "EXPLANATION", "FEATURES")

    assert found.body_state == evidence_pb2.BODY_STATE_ERASED
    assert not any((found.HasField("churn_risk"), found.row, found.features))
    assert found.row_proof == before.row_proof
    assert found.proof.record == before.proof.record
    assert replayed["VERIFY"].WhichOneof("verdict") == "match"
    for mode in ("SCORE", "EXPLANATION", "FEATURES"):
        assert replayed[mode].unavailable.why == evidence_pb2.UNAVAILABLE_REASON_INPUT_ERASED
    assert await verdicts(serving, of=("FR", "C00702")) == {"VERIFY": "match", "SCORE": "match", "EXPLANATION": "match"}


async def test_of_a_run_of_an_earlier_release_the_row_is_given_without_a_proof(serving: Serving) -> None:
    add_old_run(log_of(serving), "FR")

    found = await churn_evidence(serving, OLD_ID, *ME)
    replayed = await churn_replay(serving, OLD_ID, *ME)
    await asyncio.to_thread(erase, log_of(serving), ME, "request 7", now())
    erased = await churn_evidence(serving, OLD_ID, *ME)

    assert bodies_pb2.ChurnRiskRow.FromString(found.row).customer_id == ME[1]
    assert not found.HasField("row_proof")
    assert found.record.markets[0].rows_sha256
    told = replayed["VERIFY"].unavailable
    assert told.why == evidence_pb2.UNAVAILABLE_REASON_PROOF_MISSING
    assert "earlier release" in told.detail
    assert (replayed["SCORE"].WhichOneof("verdict"), erased.body_state) == ("match", evidence_pb2.BODY_STATE_ERASED)


async def test_features_say_where_they_can_be_made_again_and_a_customer_without_a_score_that_there_is_none(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    path = serving.settings.bundles.parent / "next.parquet"
    rows = plain_rows(churn_family.model, {"C1": 0.5, "C2": None}, FIRST.replace(month=5), "FR")
    loading.load_file(serving.application.database, write_run(path, churn_family.model, rows), now())
    run_id = next(each.run_id for each in await runs(serving) if each.market == "FR")

    features = (await churn_replay(serving, run_id, "FR", "C1", "FEATURES"))["FEATURES"].unavailable
    unscored = await churn_replay(serving, run_id, "FR", "C2")
    found = await churn_evidence(serving, run_id, "FR", "C2")

    assert features.why == evidence_pb2.UNAVAILABLE_REASON_TRANSACTIONS_ELSEWHERE
    assert "training score SPEC.toml --at 2026-05-01" in features.detail
    assert run_id in features.detail
    assert unscored["VERIFY"].WhichOneof("verdict") == "match"
    assert unscored["SCORE"].unavailable.why == evidence_pb2.UNAVAILABLE_REASON_NOT_SCORED
    assert found.churn_risk.status == churn_pb2.CHURN_STATUS_NOT_ENOUGH_HISTORY
    assert not found.features


async def test_what_if_asks_another_bundle_and_says_that_it_is_no_evidence(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    bundle_id = churn_family.model.bundle.bundle_id
    told = (await churn_evidence(serving, run_of(serving), *ME)).churn_risk

    found = await churn_replay(serving, run_of(serving), *ME, "WHAT_IF", bundle_id=bundle_id)

    what_if = found["WHAT_IF"].what_if
    assert what_if.notice.startswith("NOT EVIDENCE")
    assert (what_if.bundle_id, what_if.churn.log_odds) == (bundle_id, told.log_odds)
    assert what_if.churn.explanation.contributions == told.explanation.contributions
    request = churn_evidence_pb2.ReplayChurnRiskRequest(
        run_id=run_of(serving),
        customer=customer(*ME),
        purpose="x",
        modes=[evidence_pb2.REPLAY_MODE_WHAT_IF],
        bundle_id="0" * 64,
    )
    absent = await refusal(serving.audit.ReplayChurnRisk(request))
    request.bundle_id = ""
    without = await refusal(serving.audit.ReplayChurnRisk(request))
    assert (absent.code, absent.reason) == (grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN")
    assert without.reason == "REQUEST_INVALID"


async def test_every_reading_is_a_record_with_its_purpose_and_the_customer_as_a_tag(serving: Serving) -> None:
    run_id = run_of(serving)
    found = await churn_evidence(serving, run_id, *ME)
    await churn_replay(serving, run_id, *ME, "VERIFY")

    told = [(each.run_id, each.market, each.method, each.purpose, each.decision_id) for each in readings(serving)]
    row = row_of(serving, found.reading.record_id)
    header = json.loads(row.header)

    assert told == [(run_id, "FR", method, PURPOSE, "") for method in ("GetChurnEvidence", "ReplayChurnRisk")]
    assert header["labels"] == {"about": record_id_of(run_id), "method": "GetChurnEvidence"}
    assert header["customer_tag"] == log_of(serving).tag_of(*ME)
    assert ME[1].encode() not in row.header
    erase(log_of(serving), ME, "request 7", now())
    assert len(readings(serving)) == 2, "a reading outlasts the customer"


async def test_without_a_record_of_the_reading_nothing_is_given(serving: Serving) -> None:
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )

    told = await refusal(asked(serving))

    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_who_is_in_no_run_or_a_run_that_is_not_there_is_unknown_and_no_reading(serving: Serving) -> None:
    nowhere = await refusal(asked(serving, "f" * 32))
    elsewhere = await refusal(asked(serving, run_of(serving), ("AT", "C1")))
    nobody = await refusal(asked(serving, of=("FR", "NOBODY")))

    assert (nowhere.code, nowhere.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_UNKNOWN")
    assert nowhere.metadata["record_id"] == record_id_of("f" * 32)
    assert (elsewhere.reason, nobody.reason) == ("RUN_UNKNOWN", "CUSTOMER_UNKNOWN")
    assert readings(serving) == []
    with serving.application.database.reading() as connection:
        assert connection.execute(select(RECORDS.c.kind)).scalars().all() == ["CHURN_RUN"]
