"""A score is the sum of its points."""

import uuid

from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from tests.conftest import Serving


async def test_a_score_is_its_base_points_plus_the_points_of_every_feature(serving: Serving) -> None:
    request = pb.ScoreCreditRequest(
        request_id=str(uuid.uuid4()),
        customer=Customer(market="DE", customer_id="C00000"),
        requested_amount=Money(units=500, currency_code="EUR"),
    )

    assessment = (await serving.credit.ScoreCredit(request)).credit_decision.assessment

    explanation = assessment.explanation
    assert (
        explanation.base_points + sum(line.points for line in explanation.contributions)
        == assessment.model_output.score
    )
