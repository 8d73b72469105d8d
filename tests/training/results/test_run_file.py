"""A run file that was changed after the run is refused, column by column; so is a file of another kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.conftest import Trained
from tests.training.results.run_files import SCHEMA, Customer, find_name, write_run
from training.errors import DataInvalid
from training.results.run_file import key_account_mask, read_run_file

HELD = find_name("HELD", held_out=True)
CUSTOMERS = [
    *(Customer(find_name(f"C{number}", held_out=False), 0.1 + 0.1 * number) for number in range(6)),
    *(Customer(f"OTHER{number}", 0.2) for number in range(30)),
    Customer(HELD, 0.15),
    Customer(find_name("SUPPRESSED", held_out=False), 0.3, suppressions=("DISPUTE",)),
    Customer(find_name("NEW", held_out=False), None, status="NOT_ENOUGH_HISTORY"),
]


def change(path: Path, edit: Callable[[list[dict[str, Any]]], None], **manifest: Any) -> None:
    """Change the rows and the manifest of a run file."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    edit(rows)
    metadata = json.loads(table.schema.metadata[b"grounds"]) | manifest
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"grounds": json.dumps(metadata)})), path)


def assign(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Return an edit that sets values of the first row."""

    def edit(rows: list[dict[str, Any]]) -> None:
        rows[0] |= values

    return edit


def test_an_unchanged_file_is_read(tmp_path: Path) -> None:
    run = read_run_file(write_run(tmp_path / "run.parquet", CUSTOMERS))

    assert len(run.rows) == len(CUSTOMERS)
    assert not key_account_mask(run, set()).any()


def test_a_file_that_score_wrote_is_read(trained: Trained, tmp_path: Path) -> None:
    written = trained.run(tmp_path / "run.parquet", trained.extras())

    run = read_run_file(tmp_path / "run.parquet")

    assert run.rows["customer_id"].tolist() == written["customer_id"].tolist()
    assert not key_account_mask(run, set()).any()


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (assign(pd=0.9), "column 'pd'"),
        (assign(log_odds=-1.0), "column 'log_odds'"),
        (assign(band="CRITICAL"), "column 'band'"),
        (assign(rank=1), "column 'rank'"),
        (assign(value_at_risk_minor=9_000), "column 'value_at_risk_minor'"),
        (assign(contributions=[0.5]), "column 'log_odds'"),
        (assign(contributions=[0.5, 0.5]), "column 'contributions': must have 1 values"),
        (assign(status="CLOSED"), "exactly the customers with the status SCORED"),
        (assign(hold_out=None), "column 'hold_out': must have no missing values"),
        (assign(hold_out=True), r"hold_out_count: the manifest states \d+, the rows have \d+"),
        (assign(suppressions=["DISPUTE"]), "suppressed_count: the manifest states 1, the rows have 2"),
        (lambda rows: rows.pop(), "the manifest counts"),
        (lambda rows: rows.append(rows[-1]), "the manifest counts"),
        (
            lambda rows: rows[1].update(customer_id=rows[0]["customer_id"]),
            "a customer must have one row in each market",
        ),
        (lambda rows: rows[0].update(as_of=rows[0]["as_of"].replace(day=4)), "column 'as_of'"),
    ],
    ids=[
        "pd",
        "log odds",
        "band",
        "rank",
        "value",
        "contribution",
        "two contributions",
        "status",
        "no hold-out",
        "hold-out",
        "suppression",
        "fewer rows",
        "more rows",
        "customer twice",
        "day",
    ],
)
def test_a_changed_row_is_found(tmp_path: Path, edit: Callable[[list[dict[str, Any]]], None], problem: str) -> None:
    path = write_run(tmp_path / "run.parquet", CUSTOMERS)
    change(path, edit)

    with pytest.raises(DataInvalid, match=f"was changed after the run: .*{problem}"):
        read_run_file(path)


@pytest.mark.parametrize("manifest", [{"campaign": "summer"}, {"hold_out_share": 0.9}, {"key_account_count": 1}])
def test_a_changed_campaign_is_found(tmp_path: Path, manifest: dict[str, Any]) -> None:
    path = write_run(tmp_path / "run.parquet", CUSTOMERS)
    change(path, assign(), **manifest)

    with pytest.raises(DataInvalid, match="was changed after the run"):
        key_account_mask(read_run_file(path), set())


def test_customers_who_change_places_with_the_hold_out_group_are_found(tmp_path: Path) -> None:
    """The counts of the manifest still agree."""

    def swap(rows: list[dict[str, Any]]) -> None:
        for row in rows[:1] + [row for row in rows if row["customer_id"] == HELD]:
            row["hold_out"] = not row["hold_out"]

    path = write_run(tmp_path / "run.parquet", CUSTOMERS)
    change(path, swap)

    with pytest.raises(DataInvalid, match="column 'hold_out': must be the group of the campaign 'spring'"):
        key_account_mask(read_run_file(path), set())


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ({"kind": "features"}, "is not a run file"),
        ({"format": 1}, "run format 1 is unsupported"),
        ({"horizon_days": 0}, "manifest: horizon_days"),
        ({"bands": []}, "manifest: bands"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, manifest: dict[str, Any], problem: str) -> None:
    path = write_run(tmp_path / "run.parquet", CUSTOMERS)
    change(path, assign(), **manifest)

    with pytest.raises(DataInvalid, match=problem):
        read_run_file(path)


def test_a_damaged_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.parquet", CUSTOMERS)
    path.write_bytes(path.read_bytes()[:-100])

    for broken in (path, tmp_path / "missing.parquet"):
        with pytest.raises(DataInvalid, match="cannot be read as a run file"):
            read_run_file(broken)
    with pytest.raises(DataInvalid, match="has no customers"):
        read_run_file(write_run(tmp_path / "empty.parquet", []))
