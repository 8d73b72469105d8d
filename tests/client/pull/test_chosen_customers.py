"""A copy has the customers and the family that the caller chose, and the terminal marks withheld customers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from grounds_client import CallFailed, Client
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


async def pull_ids(serving: Serving, to: Path, locale: str = "", **fields: Any) -> tuple[str, list[str]]:
    """Pull; return the customers of the copy and the progress lines."""
    lines: list[str] = []

    def run() -> None:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            MarketPull(client, to, state_path(to), lines.append).run("DE", locale, **fields)

    await asyncio.to_thread(run)
    return "".join(pq.read_table(to)["customer_id"].to_pylist()), lines


async def test_a_copy_leaves_out_the_hold_out_until_it_is_included(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path / "run", "churn", "ABC", held_out="B")
    to = tmp_path / "copy.parquet"

    first, first_lines = await pull_ids(serving, to)
    again, _ = await pull_ids(serving, to)
    whole, lines = await pull_ids(serving, to, include_withheld=True)

    assert (first, again, whole) == ("AC", "AC", "ABC")
    assert "include_withheld changed: starting a full sync" in lines
    # The count of the run includes withheld customers, so only a copy that has them is compared with it.
    assert "part 1: 3 of 3 customers" in lines
    assert "part 1: 2 customers" in first_lines
    marked = dict(zip(*(pq.read_table(to)[name].to_pylist() for name in ("customer_id", "hold_out")), strict=True))
    assert marked == {"A": False, "B": True, "C": False}


async def test_a_copy_has_one_family(serving: Serving, churn_family: ChurnFamily, tmp_path: Path) -> None:
    load(serving, churn_family, tmp_path / "1", "churn", "ABC", held_out="")
    to = tmp_path / "copy.parquet"
    await pull_ids(serving, to)
    load(serving, churn_family, tmp_path / "2", "churn_tools", "XY", held_out="")

    assert (await pull_ids(serving, to))[0] == "ABC"
    assert (await pull_ids(serving, tmp_path / "tools.parquet", family="churn_tools"))[0] == "XY"
    assert (await pull_ids(serving, to, family="churn"))[0] == "ABC"
    assert (await pull_ids(serving, tmp_path / "tools.parquet"))[0] == "XY"
    with pytest.raises(PullRefused, match="belongs to family churn; for churn_tools, use a different file"):
        await pull_ids(serving, to, family="churn_tools")


def prune_runs(serving: Serving, family: str) -> None:
    """Make the tokens of a family's older run invalid, by deleting the run."""
    with serving.application.database.writing() as connection:
        oldest = connection.exec_driver_sql(f"SELECT min(run_number) FROM runs WHERE family = '{family}'").scalar()
        connection.exec_driver_sql(f"UPDATE runs SET state = 'PRUNING' WHERE run_number = {oldest}")


@pytest.mark.parametrize("other", ["churn", "churn_tools"])
@pytest.mark.parametrize("cause", ["the run was deleted", "another language", "the copy was changed"])
async def test_a_full_sync_keeps_the_family_of_a_copy_that_named_none(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path, other: str, cause: str
) -> None:
    to = tmp_path / "copy.parquet"
    load(serving, churn_family, tmp_path / "1", "loyalty", "ABC", held_out="")
    await pull_ids(serving, to)
    load(serving, churn_family, tmp_path / "2", other, "XY", held_out="")
    load(serving, churn_family, tmp_path / "3", "loyalty", "ABCD", held_out="")
    if cause == "the run was deleted":
        prune_runs(serving, "loyalty")
    if cause == "the copy was changed":
        pq.write_table(pq.read_table(to).slice(1), to)

    ids, lines = await pull_ids(serving, to, locale="de" if cause == "another language" else "")

    assert [line for line in lines if "full sync" in line]
    assert ids == "ABCD"


async def test_a_state_of_an_earlier_release_without_a_family_takes_that_of_its_token(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    to = tmp_path / "copy.parquet"
    load(serving, churn_family, tmp_path / "1", "loyalty", "ABC", held_out="")
    await pull_ids(serving, to)
    state = json.loads(state_path(to).read_text())
    assert state.pop("family") == "loyalty"
    state_path(to).write_text(json.dumps(state))
    load(serving, churn_family, tmp_path / "2", "churn", "XY", held_out="")

    with pytest.raises(PullRefused, match="belongs to family loyalty; for churn, use a different file"):
        await pull_ids(serving, to, family="churn")
    ids, _ = await pull_ids(serving, to)

    assert ids == "ABC"
    assert json.loads(state_path(to).read_text())["family"] == "loyalty"


async def test_a_first_pull_that_was_rejected_can_be_repeated_with_another_family(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    load(serving, churn_family, tmp_path / "1", "loyalty", "ABC", held_out="")
    with pytest.raises(CallFailed, match="NO_RUN"):
        await pull_ids(serving, tmp_path / "copy.parquet", family="loyality")

    assert (await pull_ids(serving, tmp_path / "copy.parquet", family="loyalty"))[0] == "ABC"


async def test_the_terminal_marks_a_withheld_customer(
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
