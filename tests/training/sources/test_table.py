"""Tables are converted to samples. For an invalid spec or table, the error names the column and nothing is written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.small import SPEC, made_customers
from training.__main__ import fit
from training.errors import DataInvalid, SpecInvalid, TrainingError
from training.release.leakage import check_leakage
from training.sources.table import read_table_samples
from training.spec import read_spec

SMALL = """
family = "late"
title = "t"
purpose = "p"
population = "p"
[table]
customer_id = "number"
label = "bad"
market = "DE"
as_of = 2026-01-01
leave_out = ["country"]
"""


def write(folder: Path, spec: str, table: pd.DataFrame | bytes, name: str = "customers.csv") -> tuple[Path, Path]:
    """Write a spec and a table; return both paths."""
    path = folder / name
    path.write_bytes(table) if isinstance(table, bytes) else table.to_csv(path, index=False)
    (folder / "spec.toml").write_text(spec)
    return folder / "spec.toml", path


def customers(change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Return a table of 300 customers to which a change is applied."""
    return change(made_customers(300))


TIMED = SPEC.replace("as_of = 2026-01-01", 'as_of_column = "known"')


def split(line: str) -> str:
    """Return the spec with an additional table [split] that consists of the given line."""
    return SPEC.replace("[search]", f"[split]\n{line}\n\n[search]")


INVALID = {
    "a missing label column": (SPEC.replace('"bad"', '"gone"'), lambda t: t, "'gone'"),
    "a missing feature column": (
        SPEC.replace('name = "years"', 'name = "years"\ncolumn = "age"'),
        lambda t: t,
        "'age'",
    ),
    "a label with three values": (SPEC, lambda t: t.assign(bad=[i % 3 for i in range(len(t))]), "'bad'"),
    "a label with one value": (SPEC, lambda t: t.assign(bad=0), "'bad'"),
    "a feature that equals the label": (SPEC, lambda t: t.assign(orders=t["bad"]), "orders"),
    "a feature on the label column": (
        SPEC.replace('name = "orders"', 'name = "orders"\ncolumn = "bad"'),
        lambda t: t,
        "'bad' is the label",
    ),
    "a text feature": (SPEC, lambda t: t.assign(orders="many"), "'orders'"),
    "an infinite feature": (SPEC, lambda t: t.assign(orders=float("inf")), "'orders'"),
    "a feature outside its range": (SPEC, lambda t: t.assign(days_late=-5), "'days_late'"),
    "an empty table": (SPEC, lambda t: t.head(0), "has no rows"),
    "a duplicate customer": (SPEC, lambda t: pd.concat([t, t.head(1)]), "'number'"),
    "a missing customer": (SPEC, lambda t: t.assign(number=None), "'number'"),
    "a misspelt field": (SPEC.replace("max_leaves", "max_leafs"), lambda t: t, "search.max_leafs"),
    "no market": (SPEC.replace('market_column = "country"', ""), lambda t: t, "market"),
    "an undefined group": (SPEC.replace('group = "SIZE"', 'group = "SIZES"', 1), lambda t: t, "'SIZES'"),
    "a text in one language only": (
        SPEC.replace('de = "Tage im Verzug: {days_late} (üblich: {days_late.typical})"', ""),
        lambda t: t,
        "DELAY: has no text in 'de'",
    ),
    "a text with an unknown placeholder": (
        SPEC.replace("{turnover}", "{turnover_eur}", 1),
        lambda t: t,
        "turnover_eur",
    ),
    "a text that accesses an attribute": (
        SPEC.replace("{turnover}", "{turnover.__class__}", 1),
        lambda t: t,
        "__class__",
    ),
    "a missing market": (
        SPEC,
        lambda t: t.assign(country=t["country"].where(t.index > 2)),
        "'country': the market is missing in 3 rows",
    ),
    "a market in lowercase letters": (
        SPEC,
        lambda t: t.assign(country="de"),
        "'country': 300 values are not valid markets, first 'de' in line 2 of customers.csv; a market must be two uppercase",
    ),
    "a missing time": (TIMED, lambda t: t.assign(known=None), "'known': the day or time is missing in 300 rows"),
    "an unreadable time": (
        TIMED,
        lambda t: t.assign(known=["2026-01-01"] * 299 + ["soon"]),
        "'known': 1 value is not an ISO day or time such as 2026-01-31, first 'soon' in line 301 of customers.csv",
    ),
    "a numeric time": (
        TIMED,
        lambda t: t.assign(known=20260101),
        "'known': 300 values are not ISO days or times such as 2026-01-31, first '20260101' in line 2 of customers.csv",
    ),
    "no hold-out bucket": (split("hold_out = []"), lambda t: t, "split.hold_out"),
    "an unknown bucket": (split("hold_out = [7]"), lambda t: t, "unknown buckets [7]"),
    "a bucket in two parts": (split("calibration = [0]"), lambda t: t, "a bucket may be listed once only"),
    "no bucket for the fit part": (split("hold_out = [0, 2, 3, 4]"), lambda t: t, "no bucket is left for the fit part"),
    "a rival with an unknown feature": (
        SPEC + '[[rivals]]\nname = "old"\nkind = "logistic"\nfeatures = ["days"]\n',
        lambda t: t,
        "rivals.old: 'days'",
    ),
    "a single-feature rival with two features": (
        SPEC + '[[rivals]]\nname = "old"\nkind = "single"\nfeatures = ["orders", "years"]\n',
        lambda t: t,
        "kind = 'single' requires exactly 1 feature, got 2",
    ),
    "a [value] with an unknown feature": (
        SPEC + '[value]\nfeature = "spend"\nfactor = 1.0\n',
        lambda t: t,
        "value: 'spend'",
    ),
    "not TOML": ("family = ", lambda t: t, "is not valid TOML"),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_spec_or_table_is_rejected_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    spec_text, change, message = INVALID[case]
    spec, table = write(tmp_path, spec_text, customers(change))

    with pytest.raises(TrainingError) as refused:
        fit(spec, tmp_path / "bundles", tmp_path / "files", table, threads=1)

    assert message in str(refused.value)
    assert not (tmp_path / "bundles").exists()
    assert not (tmp_path / "files").exists()


def test_one_error_reports_all_problems_of_a_table(tmp_path: Path) -> None:
    """The problems concern the keys, the label and every feature."""
    wrong = {"country": "de", "bad": 0, "orders": "many", "days_late": -5}
    spec, table = write(tmp_path, SPEC, customers(lambda t: t.assign(**wrong)))

    with pytest.raises(DataInvalid) as refused:
        read_table_samples(read_spec(spec), table)

    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == [
        f"column {name!r}" for name in ("country", "days_late", "orders", "bad")
    ]


def test_keys_are_text_so_namibia_and_leading_zeros_are_preserved(tmp_path: Path) -> None:
    table = made_customers(300)
    numbers = [f"{index:05d}" for index in range(300)]
    spec, path = write(tmp_path, SPEC, table.assign(number=numbers, country=table["country"].replace("FR", "NA")))

    _, samples = read_table_samples(read_spec(spec), path)

    assert samples.rows["customer_id"].tolist() == numbers
    assert set(samples.rows["market"]) == {"DE", "NA"}
    assert samples.rows["orders"].isna().sum() == table["orders"].isna().sum() > 0


def test_fitting_rejects_a_table_without_any_outcome(tmp_path: Path) -> None:
    spec, table = write(tmp_path, SPEC, customers(lambda t: t.assign(bad=None)))

    with pytest.raises(DataInvalid, match=r"'bad': no row has an outcome.*use `python -m training features`"):
        read_table_samples(read_spec(spec), table)


def test_an_unreadable_parquet_file_is_rejected_by_its_path(tmp_path: Path) -> None:
    spec, table = write(tmp_path, SPEC, b"PAR1 but not really", "customers.parquet")

    with pytest.raises(DataInvalid, match=r"customers\.parquet: cannot be read"):
        read_table_samples(read_spec(spec), table)


def test_the_command_prints_an_error_without_a_traceback_and_exits_with_1(tmp_path: Path) -> None:
    spec, table = write(tmp_path, SPEC.replace('"bad"', '"gone"'), made_customers(50))

    done = subprocess.run(
        [sys.executable, "-m", "training", "fit", str(spec), "--data", str(table), "--bundles", str(tmp_path / "b")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "'gone'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_spec_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="No such file"):
        read_spec(tmp_path / "none.toml")


def test_one_error_reports_all_problems_of_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(SMALL.replace('family = "late"', 'family = "LATE"').replace('"DE"', '"Germany"'))

    with pytest.raises(SpecInvalid) as refused:
        read_spec(path)

    assert "family" in str(refused.value)
    assert "table.market" in str(refused.value)


def test_a_small_spec_uses_every_numeric_column_and_counts_excluded_rows_by_code(tmp_path: Path) -> None:
    table = made_customers(300)
    table.loc[:9, "bad"] = float("nan")
    table.to_csv(tmp_path / "customers.csv", index=False)
    exclude = '[[table.exclude]]\ncode = "TINY"\nwhere = "turnover < 20000"\n'
    (tmp_path / "spec.toml").write_text(SMALL + exclude)

    spec, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    tiny = int((table["turnover"] < 20000).sum())
    unlabelled = int((table["bad"].isna() & (table["turnover"] >= 20000)).sum())
    assert samples.names == ("days_late", "orders", "turnover", "years")
    assert [feature.name for feature in spec.features] == list(samples.names)
    assert dict(samples.waterfall) == {
        "rows read": 300,
        "left out: TINY": -tiny,
        "left out: NO_LABEL": -unlabelled,
        "rows used": 300 - tiny - unlabelled,
    }
    assert set(samples.rows["sample"]) == {"FIT", "CALIBRATION", "HOLD_OUT"}


def test_a_condition_of_an_exclusion_cannot_read_files(tmp_path: Path) -> None:
    made_customers(50).to_csv(tmp_path / "customers.csv", index=False)
    exclude = '[[table.exclude]]\ncode = "X"\nwhere = "number IN (SELECT number FROM read_csv(\'PATH\'))"\n'
    (tmp_path / "spec.toml").write_text(SMALL + exclude.replace("PATH", f"{tmp_path}/customers.csv"))

    with pytest.raises(SpecInvalid, match=r"^table\.exclude\.X\.where: must compute a value from a single row"):
        read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")


def test_a_feature_that_ranks_inversely_to_the_label_is_a_leak(tmp_path: Path) -> None:
    table = made_customers(300)
    table.assign(orders=100 - table["bad"] * 7).to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "spec.toml").write_text(SMALL)
    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    with pytest.raises(DataInvalid, match="orders"):
        check_leakage(samples)


LEVELS = (
    SMALL
    + """
[[features]]
name = "country"
kind = "category"
levels = ["FR", "AT", "DE"]
"""
)


def test_levels_of_the_spec_determine_the_codes_and_other_levels_are_unseen(tmp_path: Path) -> None:
    table = customers(lambda t: t.assign(country=["AT", "DE", "CH"] * 100))
    spec, path = write(tmp_path, LEVELS, table)

    _, samples = read_table_samples(read_spec(spec), path)

    assert samples.levels == {"country": ("FR", "AT", "DE")}
    assert samples.rows["country"].tolist() == [1.0, 2.0, -1.0] * 100


def test_levels_of_a_number_and_duplicate_levels_are_rejected(tmp_path: Path) -> None:
    for change, message in (
        (lambda text: text.replace('kind = "category"', ""), "only for kind = 'category'"),
        (lambda text: text.replace('"AT"', '"DE"'), "duplicate levels: DE"),
    ):
        (tmp_path / "spec.toml").write_text(change(LEVELS))

        with pytest.raises(SpecInvalid, match=message):
            read_spec(tmp_path / "spec.toml")
