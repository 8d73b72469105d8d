"""A replay of churn predictions returns results that are equal bit for bit, and finds every planted fault."""

import asyncio
import math
from collections import Counter
from typing import Any

import grpc
import pytest
from sqlalchemy import delete, select, update

from grounds.audit.v1 import churn_evidence_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from server.stores.clock import utc_now
from server.stores.tables import RISK_LEAVES, RISKS, RUNS
from tests.conftest import Serving
from tests.server import loading
from tests.server.audits import (
    CHURN_CUSTOMER,
    churn_replay,
    evidence_call,
    first_run_id,
    list_runs,
    read_churn_evidence,
    read_row,
    record_log,
    replay_verdicts,
    run_record_id,
    set_columns,
)
from tests.server.churn_runs import FIRST, ChurnFamily, plain_rows, write_run
from tests.server.requests import call_error, customer
from tests.server.run_trees import add_old_run, change_row


@pytest.fixture
def serving(churn_serving: Serving) -> Serving:
    """Serve a scoring run."""
    return churn_serving


async def test_every_prediction_of_the_run_matches_to_the_bit(serving: Serving) -> None:
    with serving.application.database.reading() as connection:
        wanted = select(RUNS.c.run_id, RUNS.c.market, RISKS.c.customer_id).join_from(RISKS, RUNS)
        everybody = connection.execute(wanted).all()
    room = asyncio.Semaphore(serving.settings.audit_requests_in_flight_max // 2)  # a call ends after its answer

    async def one(run_id: str, market: str, customer_id: str) -> tuple[str | None, ...]:
        modes = ("SCORE", "EXPLANATION", "VERIFY")[: 3 if market == "FR" else 2]
        async with room:
            found = await replay_verdicts(serving, *modes, of=(market, customer_id), run_id=run_id)
        assert tuple(found) == modes
        return market, *found.values()

    found = Counter(await asyncio.gather(*(one(*each) for each in everybody)))

    assert found == {("DE", "match", "match"): 1010, ("FR", "match", "match", "match"): 30}


async def test_a_band_kept_by_hysteresis_matches_and_a_changed_band_is_a_mismatch(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    """In the second run twenty customers pay twice as late; hysteresis keeps some of them in their band."""
    loading.load_file(serving.application.database, churn_family.second_run, utc_now())
    with serving.application.database.reading() as connection:
        run_id = connection.execute(select(RUNS.c.run_id).where(RUNS.c.as_of != FIRST).limit(1)).scalar_one()
        wanted = select(RISKS.c.customer_id, RISKS.c.band, RISKS.c.band_since, RISKS.c.pd).join_from(RISKS, RUNS)
        rows = connection.execute(wanted.where(RUNS.c.run_id == run_id)).all()

    found = {row.customer_id: await replay_verdicts(serving, of=("DE", row.customer_id), run_id=run_id) for row in rows}

    assert {verdict for each in found.values() for verdict in each.values()} == {"match"}
    stayed = next(row for row in rows if row.band_since == round(FIRST.timestamp() * 10**6))
    change_row(record_log(serving), stayed.customer_id, band="LOW" if stayed.pd > 0.5 else "CRITICAL")
    result = (await churn_replay(serving, run_id, "DE", stayed.customer_id, "SCORE"))["SCORE"]
    assert result.mismatch.field == "band"
    assert result.mismatch.recomputed == stayed.band


async def test_a_changed_value_is_a_mismatch(serving: Serving) -> None:
    change_row(record_log(serving), CHURN_CUSTOMER[1], pd=0.25, drivers="[]")

    found = await churn_replay(serving, first_run_id(serving), *CHURN_CUSTOMER)

    score, explanation = found["SCORE"].mismatch, found["EXPLANATION"].mismatch
    assert (score.field, score.stored) == ("pd", "0.25")
    assert float(score.recomputed) != 0.25
    assert explanation.field.startswith("drivers")


async def test_a_row_from_a_different_run_is_not_in_the_root(serving: Serving, churn_family: ChurnFamily) -> None:
    """The leaf hash depends on the run, so a row with equal values has a different leaf hash in a different run."""
    add_old_run(record_log(serving), "FR")
    database, first = serving.application.database, first_run_id(serving)
    path = write_run(
        serving.settings.bundles.parent / "third.parquet",
        churn_family.model,
        plain_rows(churn_family.model, {CHURN_CUSTOMER[1]: 0.5, "C00702": 0.25}, FIRST.replace(month=4), "FR"),
    )
    loading.load_file(database, path, utc_now())
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
    assert await replay_verdicts(serving, "VERIFY", of=("FR", row["customer_id"]), run_id=third["run_id"]) == {
        "VERIFY": "match"
    }


@pytest.mark.parametrize("column", ["pd", "log_odds", "rank", "drivers", "features", "contributions", "previous_band"])
async def test_a_changed_value_is_found_and_no_evidence_is_returned(serving: Serving, column: str) -> None:
    with serving.application.database.reading() as connection:
        value = connection.execute(select(RISKS.c[column]).where(RISKS.c.customer_id == CHURN_CUSTOMER[1])).scalar_one()
    others = {
        "rank": 4000,
        "previous_band": "CRITICAL",
        "drivers": "[]",
        "contributions": b"",
        "features": b"\x01" * 32,
    }
    other = others[column] if column in others else math.nextafter(value, 9.0)
    assert other != value
    change_row(record_log(serving), CHURN_CUSTOMER[1], **{column: other})

    result = (await churn_replay(serving, first_run_id(serving), *CHURN_CUSTOMER, "VERIFY"))["VERIFY"]
    neighbour = await replay_verdicts(serving, "VERIFY", of=("FR", "C00702"))
    error = await call_error(evidence_call(serving))

    assert (result.mismatch.field, result.mismatch.stored) == ("row", "")
    assert (error.code, error.reason) == (grpc.StatusCode.DATA_LOSS, "RECORD_DAMAGED")
    assert neighbour == {"VERIFY": "match"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (delete(RISK_LEAVES), "leaves[0]"),
        (update(RISK_LEAVES).values(root=bytes(32)), "rows_root"),
        (update(RISK_LEAVES).values(hashes=b"\x01" * 32 * 30), "leaves[0]"),
        (update(RUNS).values(header=RUNS.c.header + " "), "manifest"),
        (update(RUNS).values(as_of=FIRST.replace(hour=1)), "run.as_of_time"),
    ],
    ids=["no-leaves", "root", "leaves", "manifest", "as-of-time"],
)
async def test_the_replay_reports_a_changed_leaf_root_manifest_or_time(
    serving: Serving, change: Any, field: str
) -> None:
    with serving.application.database.writing() as connection:
        connection.execute(change)

    result = (await churn_replay(serving, first_run_id(serving), *CHURN_CUSTOMER, "VERIFY"))["VERIFY"]

    assert result.mismatch.field == field
    assert result.mismatch.stored != result.mismatch.recomputed


async def test_a_changed_record_of_the_run_is_found(serving: Serving) -> None:
    run_id = first_run_id(serving)
    name = run_record_id(run_id)
    header = read_row(serving, name).header
    other = header.replace(b'"rows_fr":"30:', b'"rows_fr":"31:')
    assert other != header
    set_columns(serving, name, header=other)

    result = (await churn_replay(serving, run_id, *CHURN_CUSTOMER, "VERIFY"))["VERIFY"]

    assert (result.mismatch.field, result.mismatch.stored) == ("RECORD_ALTERED", "")


async def test_features_are_unavailable_with_instructions_and_a_customer_without_a_score_is_unavailable(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    path = serving.settings.bundles.parent / "next.parquet"
    rows = plain_rows(churn_family.model, {"C1": 0.5, "C2": None}, FIRST.replace(month=5), "FR")
    loading.load_file(serving.application.database, write_run(path, churn_family.model, rows), utc_now())
    run_id = next(each.run_id for each in await list_runs(serving) if each.market == "FR")

    features = (await churn_replay(serving, run_id, "FR", "C1", "FEATURES"))["FEATURES"].unavailable
    unscored = await churn_replay(serving, run_id, "FR", "C2")
    found = await read_churn_evidence(serving, run_id, "FR", "C2")

    assert features.why == evidence_pb2.UNAVAILABLE_REASON_TRANSACTIONS_ELSEWHERE
    assert "training score SPEC.toml --at 2026-05-01" in features.detail
    assert run_id in features.detail
    assert unscored["VERIFY"].WhichOneof("verdict") == "match"
    assert unscored["SCORE"].unavailable.why == evidence_pb2.UNAVAILABLE_REASON_NOT_SCORED
    assert found.churn_risk.status == churn_pb2.CHURN_STATUS_NOT_ENOUGH_HISTORY
    assert not found.features


async def test_a_what_if_uses_a_different_bundle_and_is_marked_as_not_evidence(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    bundle_id = churn_family.model.bundle.bundle_id
    risk = (await read_churn_evidence(serving, first_run_id(serving), *CHURN_CUSTOMER)).churn_risk

    found = await churn_replay(serving, first_run_id(serving), *CHURN_CUSTOMER, "WHAT_IF", bundle_id=bundle_id)

    what_if = found["WHAT_IF"].what_if
    assert what_if.notice.startswith("NOT EVIDENCE")
    assert (what_if.bundle_id, what_if.churn.log_odds) == (bundle_id, risk.log_odds)
    assert what_if.churn.explanation.contributions == risk.explanation.contributions
    request = churn_evidence_pb2.ReplayChurnRiskRequest(
        run_id=first_run_id(serving),
        customer=customer(*CHURN_CUSTOMER),
        purpose="x",
        modes=[evidence_pb2.REPLAY_MODE_WHAT_IF],
        bundle_id="0" * 64,
    )
    absent = await call_error(serving.audit.ReplayChurnRisk(request))
    request.bundle_id = ""
    without = await call_error(serving.audit.ReplayChurnRisk(request))
    assert (absent.code, absent.reason) == (grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN")
    assert without.reason == "REQUEST_INVALID"
