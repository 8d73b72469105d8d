"""A caller's copies of a market's predictions, synchronized as the .proto files describe, and random runs to load."""

import datetime as dt
import random
from collections.abc import AsyncIterator
from typing import Any

import server.maintenance.erasure
from grounds.churn.v1 import churn_pb2 as pb
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.churn_runs import ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file

Copy = dict[str, pb.ChurnRisk]


def request(**asked: Any) -> pb.ListChurnRiskChangesRequest:
    """Return a request for a page of a synchronization."""
    return pb.ListChurnRiskChangesRequest(**{"market": "DE", "page_size": 7, "include_withheld": True, **asked})


async def pages(serving: Serving, **asked: Any) -> AsyncIterator[pb.ListChurnRiskChangesResponse]:
    """Yield all pages of a synchronization."""
    while True:
        page = await serving.churn.ListChurnRiskChanges(request(**asked))
        yield page
        if page.WhichOneof("next") == "delta_token":
            return
        asked = {**asked, "page_token": page.next_page_token}
        asked.pop("delta_token", None)


async def synchronize(serving: Serving, copy: Copy, **asked: Any) -> str:
    """Update the caller's copy as the .proto files describe; return the delta token."""
    async for page in pages(serving, **asked):
        for risk in page.churn_risks:
            copy[risk.customer.customer_id] = risk
        for gone in page.removed_customers:
            copy.pop(gone.customer_id, None)
    for risk in copy.values():
        for name, value in (("run_id", page.run.run_id), ("bundle_id", page.run.bundle_id)):
            setattr(risk, name, value)
        risk.as_of_time.CopyFrom(page.run.as_of_time)
        risk.valid_until_time.CopyFrom(page.run.valid_until_time)
        risk.ClearField("rank")
    return page.delta_token


async def load_customers(
    serving: Serving, churn: ChurnFamily, log_odds: dict[str, float | None], as_of: dt.datetime
) -> None:
    """Load a run with these log-odds by customer_id."""
    folder = churn.folder / f"runs-{random.getrandbits(60):x}"
    folder.mkdir()
    path = write_run(folder / "run.parquet", churn.model, plain_rows(churn.model, log_odds, as_of))
    load_file(serving.application.database, path, utc_now())


def random_customers(seed: int, count: int = 60) -> dict[str, float | None]:
    """Return random log-odds by customer_id.

    The log-odds of a third of the customers depend on the seed, a third is only in some runs, and a third is the same
    in all runs.
    """
    chance = random.Random(seed)  # noqa: S311 - generated test data
    found: dict[str, float | None] = {}
    for number in range(count):
        if number % 3 == 0:
            found[f"C{number:03d}"] = chance.choice([None, -3.0, -1.0, 0.5, 3.0])
        elif number % 3 == 1 and chance.random() < 0.5:
            found[f"C{number:03d}"] = 1.0
        elif number % 3 == 2:
            found[f"C{number:03d}"] = -2.0
    return found


def erase(serving: Serving, customer_id: str) -> int:
    """Erase a customer; return the number of runs with a row of the customer."""
    assert serving.application.log is not None
    return len(
        server.maintenance.erasure.erase_customer(
            serving.application.log, ("DE", customer_id), "request 7", utc_now()
        ).run_rows
    )
