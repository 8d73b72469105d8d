"""Typed client of a Grounds server: explained credit scores and churn predictions over gRPC.

    from decimal import Decimal
    from grounds_client import Amount, CallFailed, Client

    with Client("127.0.0.1:50051") as client:
        try:
            decision = client.score_credit("TW", "188", Amount(Decimal(120000), "TWD"))
        except CallFailed as error:
            print(error.reason, error.problems)
        else:
            for reason in decision.assessment.reasons.reasons:
                print(reason.text)

Importing this package needs grpc, protobuf and the generated gRPC code (`grounds`). The command line and
`grounds_client.pull` need the extra `cli`: `pip install "grounds-client[cli]"`.
"""

from grounds_client.channel import DEFAULT_ADDRESS, ClientCredentials
from grounds_client.client import Client, CreditRequest
from grounds_client.errors import CallFailed, FieldProblem
from grounds_client.money import Amount

__all__ = ["DEFAULT_ADDRESS", "Amount", "CallFailed", "Client", "ClientCredentials", "CreditRequest", "FieldProblem"]
