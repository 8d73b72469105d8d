"""No call scans a large table, because a scan of millions of rows takes minutes."""

import datetime as dt
import re

from sqlalchemy import text

from grounds.audit.v1 import audit_pb2, sample_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from server.stores.clock import utc_now
from server.stores.database import Database
from server.stores.features import append_features
from server.stores.tables import FEATURES, RECORDS, RISK_CHUNKS, RISK_LEAVES, RISKS, TREE_BLOCKS, TREE_TWIGS
from tests.conftest import Serving
from tests.server.audits import (
    CHURN_CUSTOMER,
    churn_replay,
    first_run_id,
    read_churn_evidence,
    read_evidence,
    replay,
    score_customer,
)
from tests.server.churn_copies import pages
from tests.server.churn_runs import ChurnFamily
from tests.server.events import outcome_request, override_request
from tests.server.loading import load_file
from tests.server.query_plans import Sent, plans, sent_statements
from tests.server.requests import customer

LARGE = [table.name for table in (RECORDS, FEATURES, RISKS, RISK_CHUNKS, RISK_LEAVES, TREE_BLOCKS, TREE_TWIGS)]
SCAN = re.compile(rf"SCAN (?:{'|'.join(LARGE)})\b")


def scans(database: Database, statements: Sent) -> dict[str, list[str]]:
    """Return the statements that scan a large table, with their plan steps."""
    found = {name: [step for step in steps if SCAN.search(step)] for name, steps in plans(database, statements).items()}
    return {name: steps for name, steps in found.items() if steps}


def risk_steps(database: Database, statements: Sent) -> list[str]:
    """Return the plan steps that read the table of predictions."""
    return [step for steps in plans(database, statements).values() for step in steps if " risks " in step]


async def test_no_credit_or_audit_call_scans_a_table(serving: Serving) -> None:
    database = serving.application.database
    with sent_statements(database) as statements:
        first, _ = [await score_customer(serving, number) for number in range(2)]
        name = first.record_ref.decision_id
        await serving.credit.GetCreditDecision(credit_pb2.GetCreditDecisionRequest(decision_id=name))
        await serving.credit.RecordOverride(override_request(first))
        await serving.credit.RecordOutcome(outcome_request(first))
        of_customer = credit_pb2.ListCustomerDecisionsRequest(customer=first.customer)
        await serving.credit.ListCustomerDecisions(of_customer)
        await read_evidence(serving, name)
        await replay(serving, name)
        everything = sample_pb2.DecisionFilter(market="DE", decision=first.decision, grade="A", caller="local")
        for which in (sample_pb2.DecisionFilter(), everything):
            await serving.audit.ListDecisions(sample_pb2.ListDecisionsRequest(filter=which, page_size=1))
            wanted = sample_pb2.SampleDecisionsRequest(filter=which, seed="1", size=2)
            await serving.audit.SampleDecisions(wanted)
        await serving.audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(record_id=name))
        await serving.audit.GetConsistencyProof(audit_pb2.GetConsistencyProofRequest(old_size=1))
        await serving.audit.ListRecords(audit_pb2.ListRecordsRequest(start=0, end=4))
        await serving.audit.GetRangeProof(audit_pb2.GetRangeProofRequest(start=1, end=4, tree_size=5))

    assert len(statements) > 15
    assert scans(database, statements) == {}


async def test_the_decisions_about_a_customer_are_read_in_their_order_without_sorting(serving: Serving) -> None:
    database = serving.application.database
    first = await score_customer(serving, 0)
    with sent_statements(database) as statements:
        await serving.credit.ListCustomerDecisions(
            credit_pb2.ListCustomerDecisionsRequest(customer=first.customer, page_size=1)
        )

    found = plans(database, statements)
    (steps,) = (steps for name, steps in found.items() if "LIMIT" in name)
    assert [step for step in steps if "ix_records_customer_tag" in step] == steps


async def test_no_churn_call_scans_a_table(churn_serving: Serving, churn_family: ChurnFamily) -> None:
    serving, database = churn_serving, churn_serving.application.database
    with sent_statements(database) as statements:
        load_file(database, churn_family.second_run, utc_now())
        for order in (churn_pb2.CHURN_RISK_ORDER_PROBABILITY, churn_pb2.CHURN_RISK_ORDER_VALUE_AT_RISK):
            await serving.churn.ListChurnRisks(churn_pb2.ListChurnRisksRequest(market="FR", order=order, page_size=5))
        await serving.churn.GetChurnRisk(churn_pb2.GetChurnRiskRequest(customer=customer(*CHURN_CUSTOMER)))
        await serving.churn.BatchGetChurnRisks(
            churn_pb2.BatchGetChurnRisksRequest(customers=[customer(*CHURN_CUSTOMER)])
        )
        last = [page async for page in pages(serving)][-1]
        [page async for page in pages(serving, delta_token=last.delta_token)]
        [part async for part in serving.churn.ExportChurnRisks(churn_pb2.ExportChurnRisksRequest(market="FR"))]
        await read_churn_evidence(serving, first_run_id(serving), *CHURN_CUSTOMER)
        await churn_replay(serving, first_run_id(serving), *CHURN_CUSTOMER)

    assert len(statements) > 30
    assert scans(database, statements) == {}


async def test_lists_of_predictions_use_the_partial_indexes(churn_serving: Serving) -> None:
    serving, database = churn_serving, churn_serving.application.database
    unscored = churn_pb2.CHURN_STATUS_NOT_ENOUGH_HISTORY
    with sent_statements(database) as counted:
        await serving.churn.ListChurnRisks(churn_pb2.ListChurnRisksRequest(market="FR", page_size=1))
    with sent_statements(database) as listed:
        await serving.churn.ListChurnRisks(churn_pb2.ListChurnRisksRequest(market="FR", status=unscored, page_size=1))

    assert [step for step in risk_steps(database, counted) if "ix_risks_withheld" in step]
    assert [step for step in risk_steps(database, listed) if "ix_risks_unscored" in step]


def test_loading_features_uses_an_index(empty: Database) -> None:
    as_of = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    rows: list[dict[str, object]] = [
        {"market": market, "customer_id": str(number), "feature_set_digest": "0", "as_of": as_of, "row": b""}
        for market in ("DE", "FR")
        for number in range(3)
    ]

    with sent_statements(empty) as statements, empty.writing() as connection:
        append_features(connection, rows)

    assert scans(empty, statements) == {}


def test_a_scan_is_detected(empty: Database) -> None:
    with sent_statements(empty) as statements, empty.reading() as connection:
        connection.execute(text("SELECT header FROM records WHERE bundle_id = '1'"))

    assert list(scans(empty, statements).values()) == [["SCAN records"]]
