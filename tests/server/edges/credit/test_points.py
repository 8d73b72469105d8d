"""Points add up to the score for ten thousand real applicants, scored through the server."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from server.config import read_settings
from tests.conftest import Released, Serving
from tests.server.servers import serve

APPLICANTS = 10_000
BATCH = 500


@pytest.fixture
async def desk(released: Released, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve the released models."""
    settings = read_settings(port=0, drain_seconds_max=0, **released.copy_stores(tmp_path))
    async with serve(settings) as serving:
        yield serving


async def check_points(desk: Serving, customer_ids: list[str]) -> int:
    """Score applicants as a batch, check that points add up to the score, and return the number of answers."""
    requests = [
        pb.ScoreCreditRequest(
            request_id=str(uuid.uuid4()),
            customer=Customer(market="TW", customer_id=customer_id),
            requested_amount=Money(units=100_000, currency_code="TWD"),
        )
        for customer_id in customer_ids
    ]
    count = 0
    async for part in desk.credit.BatchScoreCredit(pb.BatchScoreCreditRequest(requests=requests)):
        for each in part.results:
            assessment = each.credit_decision.assessment
            total = assessment.explanation.base_points
            for line in assessment.explanation.contributions:
                total += line.points
                assert line.points == 0 or line.log_odds != 0.0
            assert total == assessment.model_output.score
            count += assessment.HasField("model_output")
    return count


async def test_base_points_and_points_add_up_to_the_score_of_ten_thousand_applicants(
    released: Released, desk: Serving
) -> None:
    table = pq.read_table(released.files / "credit.features.parquet", columns=["customer_id"])
    ids = table["customer_id"].to_pylist()[:APPLICANTS]

    counts = [await check_points(desk, ids[first : first + BATCH]) for first in range(0, APPLICANTS, BATCH)]

    assert sum(counts) == APPLICANTS
