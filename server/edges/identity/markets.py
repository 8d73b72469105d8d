"""Checks the market of a request. A table states, for each method, which field of the request contains the market.

A test compares the table with the services in the .proto files, so that no method is missing.
"""

from collections.abc import Iterable
from typing import Any, Final

from server.edges.identity.callers import Caller

# The request contains a decision_id instead of a market, so the servicer checks the market in the decision's record.
BY_RECORD: Final = "by record"
# The answer contains no readable data of customers, only policies, models, runs, encrypted records or proofs.
NO_MARKET: Final = "no market"
_CREDIT, _CHURN = "/grounds.credit.v1.CreditService/", "/grounds.churn.v1.ChurnService/"
_AUDIT, _MODEL = "/grounds.audit.v1.AuditService/", "/grounds.model.v1.ModelService/"

MARKET_FIELDS: dict[str, str] = {
    f"{_CREDIT}ScoreCredit": "customer.market",
    f"{_CREDIT}BatchScoreCredit": "requests.customer.market",
    f"{_CREDIT}SimulateCredit": "customer.market",
    f"{_CREDIT}GetCreditDecision": BY_RECORD,
    f"{_CREDIT}ListCustomerDecisions": "customer.market",
    f"{_CREDIT}RecordOverride": BY_RECORD,
    f"{_CREDIT}RecordOutcome": BY_RECORD,
    f"{_CREDIT}GetPolicy": NO_MARKET,
    f"{_CHURN}GetChurnRisk": "customer.market",
    f"{_CHURN}BatchGetChurnRisks": "customers.market",
    f"{_CHURN}ListChurnRisks": "market",
    f"{_CHURN}ListChurnRiskChanges": "market",
    f"{_CHURN}ExportChurnRisks": "market",
    f"{_CHURN}ListChurnRuns": NO_MARKET,
    f"{_CHURN}ListChurnBandCounts": "market",
    f"{_CHURN}RecordContact": "customer.market",
    f"{_CHURN}ListContacts": "customer.market",
    f"{_AUDIT}GetCheckpoint": NO_MARKET,
    f"{_AUDIT}GetInclusionProof": NO_MARKET,
    f"{_AUDIT}GetConsistencyProof": NO_MARKET,
    f"{_AUDIT}ListRecords": NO_MARKET,
    f"{_AUDIT}GetRangeProof": NO_MARKET,
    f"{_AUDIT}GetEvidence": BY_RECORD,
    f"{_AUDIT}ReplayDecision": BY_RECORD,
    f"{_AUDIT}GetChurnEvidence": "customer.market",
    f"{_AUDIT}ReplayChurnRisk": "customer.market",
    f"{_AUDIT}ListDecisions": "filter.market",
    f"{_AUDIT}SampleDecisions": "filter.market",
    f"{_AUDIT}CountRefusedCalls": NO_MARKET,
    f"{_AUDIT}ListActivations": "market",
    f"{_MODEL}ListModels": NO_MARKET,
    f"{_MODEL}GetModel": NO_MARKET,
    f"{_MODEL}GetModelReport": NO_MARKET,
}


def check_markets(method: str, request: Any, caller: Caller) -> None:
    """Check that the caller may ask about every market in the request. Call this before the request is validated.

    Raises:
        MarketNotAllowed: The caller may not ask about one of the markets.
    """
    if caller.markets is None:
        return
    path = MARKET_FIELDS[method]
    if path not in (BY_RECORD, NO_MARKET):
        for market in _field_values(request, path.split(".")):
            caller.require_market(market)


def _field_values(message: Any, path: list[str]) -> Iterable[str]:
    """Yield the values of a field. An element of the path may be a repeated field."""
    if not path:
        yield message
        return
    value = getattr(message, path[0])
    for each in value if path[1:] and not hasattr(value, "DESCRIPTOR") else [value]:
        yield from _field_values(each, path[1:])
