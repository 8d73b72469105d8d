"""A copy has the customers and the family that the caller chose, and the terminal marks whom campaigns must not contact."""

import asyncio
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from grounds_client import Client
from grounds_client.pull import MarketPull, PullRefused
from grounds_client.terminal.churn import show_risks
from grounds_client.terminal.console import make_console
from server.stores.clock import utc_now
from tests.client.pull.test_market_pull import churn_family, state_path
from tests.conftest import Serving
from tests.server.churn_runs import FIRST, SECOND, ChurnFamily, plain_rows, write_run
from tests.server.loading import load_file

__all__ = ["churn_family"]


def load(serving: Serving, churn: ChurnFamily, path: Path, family: str, customers: str, held_out: str) -> None:
    """Load a run of a family with these customers, some of whom are held out."""
    rows = plain_rows(churn.model, dict.fromkeys(customers, 1.0), FIRST if family == "churn" else SECOND)
    rows["hold_out"] = rows["customer_id"].isin(list(held_out))
    load_file(serving.application.database, write_run(path, churn.model, rows, family=family), utc_now())


async def pull_ids(serving: Serving, to: Path, **fields: Any) -> tuple[str, list[str]]:
    """Pull; return the customers of the copy and the progress lines."""
    lines: list[str] = []

    def run() -> None:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            MarketPull(client, to, state_path(to), lines.append).run("DE", "", **fields)

    await asyncio.to_thread(run)
    return "".join(pq.read_table(to)["customer_id"].to_pylist()), lines


async def test_a_copy_leaves_out_the_hold_out_until_it_is_included(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path / "run", "churn", "ABC", held_out="B")
    to = tmp_path / "copy.parquet"

    first, _ = await pull_ids(serving, to)
    again, _ = await pull_ids(serving, to)
    whole, lines = await pull_ids(serving, to, include_withheld=True)

    assert (first, again, whole) == ("AC", "AC", "ABC")
    assert "include_withheld changed: starting a full sync" in lines
    marked = dict(zip(*(pq.read_table(to)[name].to_pylist() for name in ("customer_id", "hold_out")), strict=True))
    assert marked == {"A": False, "B": True, "C": False}


async def test_a_copy_has_one_family(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> None:
    load(serving, churn_family, tmp_path / "1", "churn", "ABC", held_out="")
    to = tmp_path / "copy.parquet"
    await pull_ids(serving, to)
    load(serving, churn_family, tmp_path / "2", "churn_tools", "XY", held_out="")

    assert (await pull_ids(serving, to))[0] == "ABC"
    assert (await pull_ids(serving, tmp_path / "tools.parquet", family="churn_tools"))[0] == "XY"
    with pytest.raises(PullRefused, match="belongs to family churn; for churn_tools, use a different file"):
        await pull_ids(serving, to, family="churn_tools")


async def test_the_terminal_marks_a_customer_whom_campaigns_must_not_contact(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(serving, churn_family, tmp_path / "run", "churn", "AB", held_out="B")

    def read() -> list[Any]:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            return list(client.list_churn_risks("DE", include_withheld=True))

    show_risks(make_console(), await asyncio.to_thread(read))

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "do not contact, no action: held out" in line and "DE B" in line]
    assert not [line for line in lines if "do not contact" in line and "DE A" in line]
