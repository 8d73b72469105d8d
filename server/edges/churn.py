"""ChurnService: reads the newest run. Nothing is scored here."""

import json
import math
from typing import Any

from sqlalchemy import Row

from grounds.churn.v1 import churn_pb2 as pb
from grounds.churn.v1 import churn_pb2_grpc
from grounds.customer.v1 import customer_pb2
from grounds.explain.v1 import explain_pb2
from server.edges.context import Context
from server.edges.explanations import ContributionFacts, baseline_of, contribution, explanation, timestamp
from server.edges.money import money_of_minor
from server.edges.pages import PagePlace, PageTokens
from server.edges.threads import Threads
from server.errors import CustomerUnknown, NoRun, PageTokenInvalid
from server.stores.doubles import unpack
from server.stores.features import utc
from server.stores.risks import Order, Place, RiskStore, Run

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
ORDERS: dict[int, Order] = {
    pb.CHURN_RISK_ORDER_UNSPECIFIED: "PROBABILITY",
    pb.CHURN_RISK_ORDER_PROBABILITY: "PROBABILITY",
    pb.CHURN_RISK_ORDER_VALUE_AT_RISK: "VALUE_AT_RISK",
}


class ChurnServicer(churn_pb2_grpc.ChurnServiceServicer):
    """Answers the CRM."""

    def __init__(self, risks: RiskStore, tokens: PageTokens, threads: Threads) -> None:
        self.risks, self.tokens, self.threads = risks, tokens, threads

    async def GetChurnRisk(self, request: pb.GetChurnRiskRequest, _context: Context) -> pb.GetChurnRiskResponse:
        """Give one customer with the explanation."""
        run = await self.newest_run(request.customer.market)
        row = await self.threads.run(self.risks.risk, run, request.customer.customer_id)
        if row is None:
            raise CustomerUnknown(f"the newest run of {run.market} does not have this customer", market=run.market)
        risk = risk_message(run, row, request.locale)
        risk.explanation.CopyFrom(explanation_message(run, row))
        return pb.GetChurnRiskResponse(churn_risk=risk)

    async def ListChurnRisks(self, request: pb.ListChurnRisksRequest, _context: Context) -> pb.ListChurnRisksResponse:
        """Give one page; all pages of a listing are of one run."""
        order = ORDERS[request.order]
        run, after = await self.place_of(request, order)
        size = min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        rows = await self.threads.run(self.risks.page, run, order, after, size + 1)
        token = self.token_after(run, order, request.locale, rows[size - 1]) if len(rows) > size else ""
        return pb.ListChurnRisksResponse(
            churn_risks=[risk_message(run, row, request.locale) for row in rows[:size]],
            next_page_token=token,
            total_size=run.customer_count,
        )

    async def newest_run(self, market: str) -> Run:
        """Give the market's newest run."""
        run = await self.threads.run(self.risks.newest_run, market)
        if run is None:
            raise NoRun(f"no churn run is loaded for market {market}", market=market)
        return run

    async def place_of(self, request: pb.ListChurnRisksRequest, order: Order) -> tuple[Run, Place | None]:
        """Give the run to read and where the page begins."""
        if not request.page_token:
            return await self.newest_run(request.market), None
        place = self.tokens.read(request.page_token)
        if (place.market, place.order, place.locale) != (request.market, order, request.locale):
            raise PageTokenInvalid("page_token belongs to a list of another market, order or locale")
        run = await self.threads.run(self.risks.run, place.run_id, place.market)
        if run is None:
            raise PageTokenInvalid("page_token belongs to a run that is no longer kept; begin again")
        return run, Place(place.number, place.customer_id)

    def token_after(self, run: Run, order: Order, locale: str, row: Row[Any]) -> str:
        """Give the token of the page after this entry."""
        number = row.rank if order == "PROBABILITY" else row.value_at_risk_minor
        return self.tokens.write(PagePlace(run.run_id, run.market, order, locale, number, row.customer_id))


def risk_message(run: Run, row: Row[Any], locale: str) -> pb.ChurnRisk:
    """Write one customer."""
    return pb.ChurnRisk(
        customer=customer_pb2.Customer(market=row.market, customer_id=row.customer_id),
        run_id=row.run_id,
        as_of_time=timestamp(utc(run.as_of)),
        bundle_id=run.header["bundle_id"],
        log_odds=row.log_odds,
        churn_probability=row.pd,
        risk_band=f"RISK_BAND_{row.band}",
        rank=row.rank,
        value_at_risk=money_of_minor(row.value_at_risk_minor, run.header["currency"]),
        drivers=drivers_message(row.drivers, locale),
    )


def drivers_message(drivers: str, locale: str) -> explain_pb2.Reasons:
    """Write the drivers as the run tells them, in the locale asked for, else its language, else English."""
    told = json.loads(drivers)
    offered = set.intersection(*(set(driver["texts"]) for driver in told)) if told else {"en"}
    chosen = next((name for name in (locale, locale.split("-", maxsplit=1)[0]) if name in offered), "en")
    reasons = [
        explain_pb2.Reason(
            code=driver["code"],
            type=explain_pb2.REASON_TYPE_MODEL,
            text=driver["texts"][chosen],
            log_odds=driver["log_odds"],
            features=driver["features"],
        )
        for driver in told
    ]
    return explain_pb2.Reasons(locale=chosen, reasons=reasons)


def explanation_message(run: Run, row: Row[Any]) -> explain_pb2.Explanation:
    """Write the explanation that the run carries."""
    header = run.header
    values, contributions = unpack(row.features), unpack(row.contributions)
    lines = []
    for name, group, value, log_odds in zip(
        header["feature_names"], header["feature_groups"], values, contributions, strict=True
    ):
        known = None if math.isnan(value) else value
        lines.append(
            contribution(
                ContributionFacts(
                    name, group, known, None if known is None else "STORE", utc(run.as_of), log_odds, None
                )
            )
        )
    baseline = baseline_of(header["baseline_sha256"], header["baseline_rows"], header["baseline_definition"])
    residual = row.log_odds - math.fsum([header["base_value"], *contributions])
    return explanation(header["method"], baseline, header["base_value"], residual, lines)
