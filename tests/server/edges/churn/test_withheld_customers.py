"""Lists, synchronizations and exports leave withheld customers out, unless the caller asks for them."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.stores.clock import utc_now
from tests.conftest import Serving
from tests.server.churn_copies import Copy, synchronize
from tests.server.churn_runs import FIRST, SECOND, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file
from tests.server.requests import call_error

# Customers A to E with falling log-odds; X has no score.
ODDS = {"A": 3.0, "B": 2.0, "C": 1.0, "D": 0.0, "E": -1.0, "X": None}
VALUE = pb.CHURN_RISK_ORDER_VALUE_AT_RISK


@pytest.fixture
def small_settings(small_settings: Settings, database_url: str) -> Settings:
    """Return settings with the database of the test. Each test runs once for each kind of database."""
    return small_settings.model_copy(update={"database": database_url})


def load(
    serving: Serving, churn: ChurnFamily, folder: Path, as_of: dt.datetime, held_out: str, suppressed: str
) -> None:
    """Load a run in which these customers are held out or suppressed."""
    rows = plain_rows(churn.model, ODDS, as_of)
    rows["hold_out"] = rows["customer_id"].isin(list(held_out))
    rows["suppressions"] = [["DO_NOT_CONTACT"] if one in suppressed else [] for one in rows["customer_id"]]
    load_file(serving.application.database, write_run(folder / f"{as_of:%m}.parquet", churn.model, rows), utc_now())


async def list_ids(serving: Serving, page_size: int = 1000, **fields: Any) -> tuple[str, set[int]]:
    """Return the customers of a list, and the totals that its pages state."""
    request, found, totals = pb.ListChurnRisksRequest(market="DE", page_size=page_size, **fields), "", set()
    while True:
        page = await serving.churn.ListChurnRisks(request)
        found += "".join(risk.customer.customer_id for risk in page.churn_risks)
        totals.add(page.total_size)
        request.page_token = page.next_page_token
        if not request.page_token:
            return found, totals


@pytest.mark.parametrize("page_size", [1, 2, 1000])
async def test_a_list_has_only_customers_whom_a_campaign_may_contact(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, page_size: int
) -> None:
    load(serving, churn_family, tmp_path, FIRST, held_out="BX", suppressed="BD")

    assert await list_ids(serving, page_size) == ("ACE", {3})
    assert await list_ids(serving, page_size, order=VALUE) == ("ACE", {3})
    assert await list_ids(serving, page_size, risk_bands=[pb.RISK_BAND_HIGH, pb.RISK_BAND_LOW]) == ("", {0})
    assert await list_ids(serving, page_size, status=pb.CHURN_STATUS_NOT_ENOUGH_HISTORY) == ("", {0})
    assert await list_ids(serving, page_size, include_withheld=True) == ("ABCDE", {5})
    assert await list_ids(serving, page_size, include_withheld=True, order=VALUE) == ("ABCDE", {5})
    page = await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", include_withheld=True))
    marks = {risk.customer.customer_id: (risk.hold_out, list(risk.suppressions)) for risk in page.churn_risks}
    assert marks == {"A": (False, []), "B": (True, ["DO_NOT_CONTACT"]), "C": (False, []), "E": (False, [])} | {
        "D": (False, ["DO_NOT_CONTACT"])
    }
    assert [risk.rank for risk in page.churn_risks] == [1, 2, 3, 4, 5]


async def test_an_export_leaves_the_same_customers_out_in_both_compressions(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path, FIRST, held_out="BX", suppressed="BD")
    found = {}
    for compression in ("NONE", "ZSTD"):
        for withheld in (False, True):
            request = pb.ExportChurnRisksRequest(
                market="DE",
                compression=f"EXPORT_COMPRESSION_{compression}",
                include_withheld=withheld,
            )
            rows: list[dict[str, Any]] = []
            async for part in serving.churn.ExportChurnRisks(request):
                with pa.ipc.open_stream(part.arrow_stream) as stream:
                    rows += stream.read_all().to_pylist()
            found[compression, withheld] = "".join(row["customer_id"] for row in rows)
            assert {row["customer_id"] for row in rows if not row["action_allowed"]} == (
                set("BDX") if withheld else set()
            )

    assert found == {(one, withheld): "ABCDEX" if withheld else "ACE" for one, withheld in found}


async def test_a_delta_removes_who_became_withheld_and_adds_who_no_longer_is(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    """A is suppressed in the second run, B leaves the hold-out group, and C stays as it is."""
    copies: dict[bool, Copy] = {False: {}, True: {}}
    load(serving, churn_family, tmp_path, FIRST, held_out="B", suppressed="")
    tokens = {one: await synchronize(serving, copies[one], include_withheld=one) for one in copies}
    assert ["".join(sorted(copy)) for copy in copies.values()] == ["ACDEX", "ABCDEX"]

    load(serving, churn_family, tmp_path, SECOND, held_out="", suppressed="A")
    fresh: dict[bool, Copy] = {False: {}, True: {}}
    for one, copy in copies.items():
        await synchronize(serving, copy, delta_token=tokens[one], include_withheld=one)
        await synchronize(serving, fresh[one], include_withheld=one)

    assert copies == fresh
    assert ["".join(sorted(copy)) for copy in copies.values()] == ["BCDEX", "ABCDEX"]


async def test_a_token_belongs_to_one_choice_of_customers(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path, FIRST, held_out="B", suppressed="")
    token = await synchronize(serving, {}, include_withheld=True)
    page = await serving.churn.ListChurnRisks(pb.ListChurnRisksRequest(market="DE", page_size=1))

    changes = await call_error(
        serving.churn.ListChurnRiskChanges(pb.ListChurnRiskChangesRequest(market="DE", delta_token=token))
    )
    request = pb.ListChurnRisksRequest(market="DE", page_token=page.next_page_token, include_withheld=True)
    lists = await call_error(serving.churn.ListChurnRisks(request))

    assert (changes.reason, lists.reason) == ("RESYNC_REQUIRED", "PAGE_TOKEN_INVALID")
