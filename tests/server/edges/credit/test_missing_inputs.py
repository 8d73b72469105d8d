"""Missing inputs: a customer with too few known features gets the answer NOT_SCORABLE, not an error."""

import datetime as dt
import math
from pathlib import Path

import pytest

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1 import explain_pb2
from server.config import Settings
from server.stores.database import Database
from tests.conftest import Serving
from tests.server.loading import load_file
from tests.server.requests import customer, euros, numbers, score_request, simulate_request
from tests.small import SmallFamily
from training.scoring.feature_file import write_feature_file
from training.sources.table import read_table_samples
from training.spec import read_spec

LATER = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)
UNHEARD = customer("DE", "C00002")


@pytest.fixture
def small_settings(small: SmallFamily, small_settings: Settings, tmp_path: Path) -> Settings:
    """Load newer features of one customer, in which days_late is missing."""
    _, samples = read_table_samples(read_spec(small.spec), small.table)
    rows = samples.rows[samples.rows["customer_id"] == UNHEARD.customer_id].assign(as_of=LATER, days_late=math.nan)
    newer = tmp_path / "newer.parquet"
    write_feature_file(newer, "credit", small.bundle().schema, rows)
    database = Database(small_settings.database)
    load_file(database, newer, LATER)
    database.close()
    return small_settings


async def test_a_customer_without_a_mandatory_value_is_not_scorable_and_the_reason_has_the_feature(
    serving: Serving,
) -> None:
    answer = await serving.credit.ScoreCredit(score_request(customer=UNHEARD, locale="de"))

    decision = answer.credit_decision
    assert decision.decision == pb.DECISION_NOT_SCORABLE
    for absent in ("model_output", "explanation", "recommendation"):
        assert not decision.assessment.HasField(absent)
    reason = decision.assessment.reasons.reasons[0]
    assert len(decision.assessment.reasons.reasons) == 1
    assert (reason.code, reason.type) == ("MISSING_INPUT", explain_pb2.REASON_TYPE_INPUT)
    assert (reason.text, list(reason.features)) == ("Nicht bekannt: days_late", ["days_late"])
    assert not reason.HasField("log_odds")


async def test_a_decision_that_is_not_scorable_is_recorded(serving: Serving) -> None:
    first = (await serving.credit.ScoreCredit(score_request(customer=UNHEARD))).credit_decision
    request = pb.GetCreditDecisionRequest(decision_id=first.record_ref.decision_id)

    again = (await serving.credit.GetCreditDecision(request)).credit_decision

    assert again == first


async def test_a_decision_that_is_not_scorable_lists_the_failed_rule(serving: Serving) -> None:
    answer = await serving.credit.ScoreCredit(score_request(customer=UNHEARD, requested_amount=euros(10**9)))

    result = answer.credit_decision.assessment.policy_result
    assert result.decision == pb.DECISION_NOT_SCORABLE
    assert [(rule.code, rule.passed) for rule in result.rules] == [("MISSING_INPUT", False)]


async def test_a_missing_value_may_be_simulated(serving: Serving) -> None:
    answer = await serving.credit.SimulateCredit(simulate_request(customer=UNHEARD, features=numbers(days_late=0)))

    assert not answer.known.HasField("model_output")
    assert answer.simulated.HasField("model_output")
    line = answer.simulated.explanation.contributions[0]
    assert (line.feature, line.source) == ("days_late", explain_pb2.VALUE_SOURCE_CALLER)
    assert not line.HasField("as_of_time")


async def test_a_customer_is_scored_with_the_newest_features_that_are_loaded(serving: Serving) -> None:
    answer = await serving.credit.SimulateCredit(simulate_request(customer=UNHEARD, features=numbers(days_late=0)))

    lines = answer.simulated.explanation.contributions
    stored = [line.as_of_time.ToDatetime(dt.UTC) for line in lines if line.source == explain_pb2.VALUE_SOURCE_STORE]
    assert stored
    assert set(stored) == {LATER}


async def test_a_feature_whose_source_is_the_caller_is_not_read_from_the_store(serving: Serving) -> None:
    """The feature file contains a value of the feature, which must be ignored."""
    answer = await serving.credit.ScoreCredit(score_request(features=numbers(years=3)))

    lines = {line.feature: line for line in answer.credit_decision.assessment.explanation.contributions}
    assert lines["years"].source == explain_pb2.VALUE_SOURCE_CALLER
    assert not lines["turnover"].HasField("value")
