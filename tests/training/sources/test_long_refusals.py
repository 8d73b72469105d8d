"""A refusal that is too long for one screen still states what to do, and very long names do not hide it."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.sources.refusal_screens import fitted_refusal
from training.errors import TrainingError, fit_screen
from training.inspection.inspection import inspect_file
from training.release.leakage import check_leakage
from training.sources.incomplete_markets import incomplete_for_run
from training.sources.market_days import MarketDays
from training.sources.samples import Samples
from training.sources.table import read_table_samples
from training.spec import MarketsSpec, QuerySpec, read_spec
from training.spec.reading import ReadingSpec

ROWS = 100
LONG = "Umsatz " * 714 + "EU"  # a name of 5,000 characters


def read(folder: Path, text: str, features: str = "", table: str = "") -> None:
    """Read a table of text whose columns number and bad are the customer and the label."""
    (folder / "t.csv").write_text(text, encoding="utf-8")
    read_with(folder, folder / "t.csv", features, table)


def read_with(folder: Path, source: Path | QuerySpec, features: str = "", table: str = "") -> None:
    """Read a source whose columns number and bad are the customer and the label."""
    (folder / "spec.toml").write_text(
        'family = "late"\ntitle = "t"\npurpose = "p"\npopulation = "p"\n[table]\ncustomer_id = "number"\nlabel = "bad"\n'
        f'market = "DE"\nas_of = 2026-01-01\n{table}\n{features}',
        encoding="utf-8",
    )
    read_table_samples(read_spec(folder / "spec.toml"), source)


def rows(*columns: str, cell: str = "1", separator: str = ",") -> str:
    """Return a table of text with the columns number, bad and the given ones, whose cells are all equal."""
    lines = [["number", "bad", *columns]]
    lines += [[f"C{index}", str(index % 2), *([cell] * len(columns))] for index in range(ROWS)]
    return "".join(separator.join(line) + "\n" for line in lines)


def feature(name: str, column: str) -> str:
    """Return a feature of a spec."""
    return f'[[features]]\nname = "{name}"\ncolumn = "{column}"\n'


def leak_everywhere(_folder: Path) -> None:
    """Check 40 features that equal the outcome."""
    label = np.arange(400) % 2
    names = tuple(f"feature_{index}_of_a_table_with_rather_long_names" for index in range(40))
    keys = {"market": "DE", "customer_id": [f"C{index}" for index in range(400)], "label": label, "sample": "FIT"}
    check_leakage(Samples(pd.DataFrame(keys | dict.fromkeys(names, label)), names, (), "0" * 64, {}))


def score_quiet_markets(_folder: Path) -> None:
    """Score 30 markets without recent lines, and one market that has some."""
    days = [day.date() for day in pd.date_range("2025-01-01", "2025-03-31")]
    codes = [f"{first}{second}" for first in "ABC" for second in "ABCDEFGHIJ"]
    quiet = [MarketDays(code, tuple(days[:-15]), dt.datetime.combine(days[-16], dt.time())) for code in codes]
    lively = MarketDays("ZZ", tuple(days), dt.datetime.combine(days[-1], dt.time()))
    incomplete_for_run([*quiet, lively], dt.date(2025, 4, 1), 365, MarketsSpec())


def read_duplicate_parquet(folder: Path) -> None:
    """Read a Parquet file in which 40 names of 200 characters each occur twice."""
    names = [f"{index} {'x' * 200}" for index in range(40)] * 2
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * len(names), names=names), folder / "t.parquet")
    read_with(folder, folder / "t.parquet")


def query_duplicates(folder: Path) -> None:
    """Read a query that returns 40 columns of 60 characters twice."""
    with duckdb.connect(str(folder / "data.duckdb")) as connection:
        connection.execute("CREATE TABLE one AS SELECT 1 AS x")
    listed = ", ".join(f'x AS "{index}{"y" * 55}"' for index in [*range(40), *range(40)])
    read_with(folder, QuerySpec(url=f"duckdb:///{folder}/data.duckdb", sql=f"SELECT {listed} FROM one"))


def inspect_with_long_names(folder: Path) -> None:
    """Inspect a table with 60 long names for a customer that it does not have."""
    (folder / "t.csv").write_text(rows(*(f"{index} {'z' * 200}" for index in range(60))), encoding="utf-8")
    inspect_file(folder / "t.csv", ReadingSpec(), "kunde", None)


MISSING = [f"column {index} {'x' * 60}"[:60] for index in range(40)]
MANY = [f"{index} {'x' * 300}" for index in range(60)]
REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "40 leaking features": (leak_everywhere, "remove them; if they were known before the outcome, set acknowledge = ["),
    "30 quiet markets": (score_quiet_markets, 'set on_problem = "leave_out" in [markets]'),
    "40 missing columns": (
        lambda folder: read(
            folder,
            rows(*(name.replace("column", "present") for name in MISSING)),
            "".join(feature(f"f{index}", name) for index, name in enumerate(MISSING)),
        ),
        "correct the names in the spec",
    ),
    "duplicate columns of CSV": (lambda folder: read(folder, rows(*MANY, *MANY)), "rename all but one"),
    "a column that occurs 500 times": (lambda folder: read(folder, rows(*["x"] * 500)), "rename all but one"),
    "duplicate columns of Parquet": (read_duplicate_parquet, "rename all but one"),
    "duplicate columns of a query": (query_duplicates, "give each column a name of its own with AS"),
    "a long name of an unreadable column": (
        lambda folder: read(folder, rows(LONG, cell="n.a."), feature("x", LONG)),
        'correct the value, or set missing = ["n.a."] in [table]',
    ),
    "a long name of an ambiguous column": (
        lambda folder: read(folder, rows(LONG, cell="1.234", separator=";"), feature("x", LONG)),
        "set decimal = '.' or thousands = '.' in the spec",
    ),
    "a long name that occurs twice": (lambda folder: read(folder, rows(LONG, LONG)), "rename all but one"),
    "a long name beside a missing column": (
        lambda folder: read(folder, rows(LONG), feature("x", "gone")),
        "correct the names in the spec",
    ),
    "a long name of a missing column": (
        lambda folder: read(folder, rows("x"), feature("x", LONG)),
        "correct the names in the spec",
    ),
    "a customer that a table with long names lacks": (inspect_with_long_names, "use one of"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_long_refusal_keeps_its_instruction_on_one_screen(case: str, tmp_path: Path) -> None:
    provoke, instruction = REFUSALS[case]

    with pytest.raises(TrainingError) as refused:
        provoke(tmp_path)

    assert instruction in fitted_refusal(refused.value)


def test_a_name_of_5000_characters_takes_one_line_of_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as refused:
        read(tmp_path, rows(LONG, cell="n.a."), feature("x", LONG))

    assert f"column {LONG[:60] + '...'!r}: 100 values are not numbers" in str(refused.value)
    assert len(fit_screen(str(refused.value)).splitlines()) <= 4


def test_omitted_lines_are_in_the_middle_and_are_counted() -> None:
    lines = [f"problem {number}" for number in range(1, 31)]

    shown = fit_screen("\n".join([*lines, "correct them"])).splitlines()

    assert shown == [*lines[:18], "... 12 more lines ...", "correct them"]


def test_a_single_long_paragraph_keeps_its_beginning_and_its_end() -> None:
    words = [f"word{number:04d}" for number in range(1000)]

    shown = fit_screen("error: " + " ".join(words) + "; correct them").splitlines()

    assert len(shown) == 20
    assert shown[0].startswith("error: word0000 word0001")
    assert "".join(shown).replace("  ", " ").endswith("word0999; correct them")
    omitted = 1000 - sum(line.count("word") for line in shown)
    assert omitted == 59 * 13
    assert [line for line in shown if line.startswith("...")] == ["... 59 more lines ..."]


@pytest.mark.parametrize("form", ["csv", "parquet", "header of more than 1 MiB"])
def test_a_file_of_100_000_columns_is_rejected_before_its_values_are_read(form: str, tmp_path: Path) -> None:
    names = ["number", "bad", *(f"{'x' * (20 if 'header' in form else 1)}{index}" for index in range(99_998))]
    path = tmp_path / ("wide.parquet" if form == "parquet" else "wide.csv")
    if form == "parquet":
        pq.write_table(pa.table([pa.array([1])] * len(names), names=names), path)
    else:
        path.write_text(",".join(names) + "\n" + ",".join("1" * len(names)) + "\n")

    with pytest.raises(TrainingError) as refused:
        inspect_file(path, ReadingSpec())

    problem = (
        "the header is longer than 1,048,576 bytes" if "header" in form else "has 100,000 columns, and at most 10,000"
    )
    assert problem in fitted_refusal(refused.value)


def test_inspect_rejects_a_file_of_more_than_2000_columns_that_fit_can_read(tmp_path: Path) -> None:
    names = ["number", "bad", *(f"x{index}" for index in range(2_000))]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" * len(names)) + "\n")

    with pytest.raises(
        TrainingError, match="has 2,002 columns, and `inspect` measures at most 2,000; inspect a file with some"
    ):
        inspect_file(path, ReadingSpec())
