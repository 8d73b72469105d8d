"""Category features end to end: table, store, request and answer contain levels by name."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import lightgbm
import numpy as np
import pytest

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from models.catalog import activate
from server.application import Application
from server.config import read_settings
from server.stores.database import Database
from tests.conftest import LOAD_TIME, Serving, key_settings
from tests.oracles import margins
from tests.server.edges.credit.test_decisions import GENEROUS, move_section_last
from tests.server.loading import load_file
from tests.server.requests import call_error, customer, euros
from tests.small import SPEC, SmallFamily, made_customers, write_small_family

LEVELS = ("bakery", "bar", "hotel", "kiosk", "school")
CATEGORY = """
[[features]]
name = "sector"
kind = "category"
source = "EITHER"
group = "SECTOR"

[[groups]]
code = "SECTOR"
[groups.texts]
en = "Sector {sector} (typical: {sector.typical})"
de = "Branche {sector} (üblich: {sector.typical})"
"""


@pytest.fixture(scope="module")
def trades(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Train the small family with the customer's sector, which is missing for a tenth of the customers."""
    table = made_customers()
    random = np.random.default_rng(5)
    sector = random.choice(LEVELS, len(table)).astype(object)
    table["bad"] = np.where((sector == "bar") & (random.random(len(table)) < 0.5), 1, table["bad"])
    sector[random.random(len(table)) < 0.1] = None
    folder = tmp_path_factory.mktemp("trades")
    return write_small_family(folder, SPEC + CATEGORY, table.assign(sector=sector))


@pytest.fixture
async def trading(trades: SmallFamily, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve the family with sectors."""
    async with serve_trades(trades, tmp_path, trades.policy) as serving:
        yield serving


@asynccontextmanager
async def serve_trades(trades: SmallFamily, tmp_path: Path, policy: Path) -> AsyncIterator[Serving]:
    """Serve the family with sectors under a policy."""
    url = f"sqlite:///{tmp_path / 'grounds.db'}"
    database = Database(url)
    database.migrate()
    load_file(database, trades.features, LOAD_TIME)
    database.close()
    activate(trades.bundles, trades.bundle_folder.name)
    settings = read_settings(
        port=0,
        bundles=trades.bundles,
        policy=policy,
        database=url,
        drain_seconds_max=0,
        **key_settings(tmp_path),
    )
    application = Application(settings)
    await application.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
        yield Serving(application, settings, channel)
    await application.stop()


def category_request(**features: FeatureValue) -> pb.ScoreCreditRequest:
    """Build a request for a customer with stored features."""
    return pb.ScoreCreditRequest(
        request_id=str(uuid.uuid4()),
        customer=customer(),
        requested_amount=euros(500),
        features={"turnover": FeatureValue(number=50_000), **features},
    )


async def assess(trading: Serving, request: pb.ScoreCreditRequest) -> pb.CreditAssessment:
    """Return the assessment of a customer."""
    return (await trading.credit.ScoreCredit(request)).credit_decision.assessment


def lightgbm_margin(trades: SmallFamily, assessment: pb.CreditAssessment) -> float:
    """Return the margin that LightGBM computes for the inputs in an answer, with levels encoded by the schema."""
    levels = next(feature.levels for feature in trades.bundle().schema.features if feature.name == "sector")
    row = []
    for line in assessment.explanation.contributions:
        kind = line.value.WhichOneof("kind") if line.HasField("value") else None
        if kind == "level":
            row.append(float(levels.index(line.value.level)) if line.value.level in levels else -1.0)
        else:
            row.append(line.value.number if kind else float("nan"))
    booster = lightgbm.Booster(model_str=(trades.bundle_folder / "model.txt").read_text())
    return float(margins(booster, np.array([row]))[0])


@pytest.mark.parametrize("level", [*LEVELS, "space port"])
async def test_a_level_has_the_score_that_lightgbm_computes_and_contributions_add_up(
    trades: SmallFamily, trading: Serving, level: str
) -> None:
    assessment = await assess(trading, category_request(sector=FeatureValue(level=level)))

    card, explanation = trades.bundle().scorecard, assessment.explanation
    line = next(line for line in explanation.contributions if line.feature == "sector")
    assert line.value.level == level
    assert assessment.model_output.log_odds == card.slope * lightgbm_margin(trades, assessment) + card.intercept
    assert assessment.model_output.score == explanation.base_points + sum(p.points for p in explanation.contributions)


async def test_a_level_that_training_did_not_see_gets_a_recorded_warning(trading: Serving) -> None:
    answer = await trading.credit.ScoreCredit(category_request(sector=FeatureValue(level="space port")))
    known = await assess(trading, category_request(sector=FeatureValue(level="bar")))
    read_back = await trading.credit.GetCreditDecision(
        pb.GetCreditDecisionRequest(decision_id=answer.credit_decision.record_ref.decision_id)
    )

    warnings = answer.credit_decision.assessment.warnings
    assert [(warning.code, warning.feature) for warning in warnings] == [("UNSEEN_LEVEL", "sector")]
    assert read_back.credit_decision.SerializeToString(deterministic=True) == answer.credit_decision.SerializeToString(
        deterministic=True
    )
    assert not known.warnings


async def test_a_number_for_a_category_is_rejected(trading: Serving) -> None:
    refused = await call_error(trading.credit.ScoreCredit(category_request(sector=FeatureValue(number=2))))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert any("sector" in field for field in refused.problems)


async def test_a_stored_level_is_returned_by_name(trades: SmallFamily, trading: Serving) -> None:
    assessment = await assess(trading, category_request())

    line = next(line for line in assessment.explanation.contributions if line.feature == "sector")
    assert line.value.level in LEVELS
    assert not assessment.warnings
    assert lightgbm_margin(trades, assessment) == pytest.approx(
        (assessment.model_output.log_odds - trades.bundle().scorecard.intercept) / trades.bundle().scorecard.slope
    )


async def test_a_policy_refers_a_decision_about_a_level_that_training_did_not_see(
    trades: SmallFamily, tmp_path: Path
) -> None:
    rule = '[[sections.input_rules]]\ncode = "SECTOR_UNKNOWN"\nwhen = "unseen_level"\n\n'
    texts = '[texts.SECTOR_UNKNOWN]\nen = "The model does not know: {features}"\n\n'
    policy = tmp_path / "policy.toml"
    policy.write_text(move_section_last(GENEROUS, "DE").replace("[texts.", rule + texts + "[texts.", 1))
    async with serve_trades(trades, tmp_path, policy) as trading:
        found = [
            (await trading.credit.ScoreCredit(category_request(sector=FeatureValue(level=level)))).credit_decision
            for level in ("space port", *LEVELS)
        ]

    unknown, *known = found
    assert unknown.decision == pb.DECISION_REFER
    reason = unknown.assessment.reasons.reasons[0]
    assert (reason.code, list(reason.features), reason.text) == (
        "SECTOR_UNKNOWN",
        ["sector"],
        "The model does not know: sector",
    )
    for each in known:
        assert each.decision == pb.DECISION_APPROVE
        assert next(rule for rule in each.assessment.policy_result.rules if rule.code == "SECTOR_UNKNOWN").passed
