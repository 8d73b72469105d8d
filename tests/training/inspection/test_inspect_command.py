"""Two commands lead from an unknown file to a model: `inspect --spec` and `fit`."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.bundle import read_bundle
from tests.conftest import ROOT, run
from tests.training.inspection.awkward_files import write_awkward_customers, write_awkward_log
from training.__main__ import fit, inspect
from training.errors import DataInvalid
from training.inspection.inspection import inspect_file
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import read_spec
from training.spec.reading import ReadingSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the awkward files once; tests must not change them."""
    path = tmp_path_factory.mktemp("unknown")
    write_awkward_customers(path / "kunden.csv")
    write_awkward_log(path / "buchungen.tsv")
    return path


def facts_of(path: Path, *options: str) -> dict[str, Any]:
    """Return the JSON that `inspect` prints about a file."""
    found: dict[str, Any] = json.loads(run("training", "inspect", str(path), "--json", *options))
    return found


def readme_block() -> tuple[list[str], list[list[str]]]:
    """Return the first lines of the file that README shows, and the arguments of the commands after them."""
    text = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```console\n\$ head -3 kunden\.csv\n(.*?)```", text, re.DOTALL)
    lines = block.splitlines()
    commands = [shlex.split(line.removeprefix("$ python -m ")) for line in lines if line.startswith("$ python -m ")]
    return [line for line in lines if not line.startswith("$ ")], commands


def test_the_two_commands_of_the_readme_lead_from_an_awkward_file_to_a_bundle(folder: Path, tmp_path: Path) -> None:
    head, (inspect_arguments, fit_arguments) = readme_block()
    paths = {"kunden.csv": str(folder / "kunden.csv"), "kunden.toml": str(tmp_path / "kunden.toml")}
    options = ["--threads", "1", "--bundles", str(tmp_path / "bundles"), "--files", str(tmp_path / "files")]

    assert head == (folder / "kunden.csv").read_text(encoding="cp1252").splitlines()[:3]
    printed = run(*(paths.get(argument, argument) for argument in inspect_arguments))
    run(*(paths.get(argument, argument) for argument in fit_arguments), *options)

    assert "separator ';', decimal ',', thousands '.', encoding cp1252" in " ".join(printed.split())
    assert f"run: python -m training fit {tmp_path / 'kunden.toml'}" in " ".join(printed.split())
    (bundle_folder,) = (path for path in (tmp_path / "bundles" / "kunden").iterdir() if path.is_dir())
    features = {feature.name: feature for feature in read_bundle(bundle_folder).schema.features}
    assert list(features) == ["Umsatz__EUR_", "Verzug_in_Tagen", "Groesse_Ort", "Branche"]
    assert features["Branche"].levels == ("Caterer", "Hotel", "Händler")
    assert features["Verzug_in_Tagen"].description == "Verzug in Tagen"


@pytest.mark.parametrize("line", [b"C7;6;1\r\n", b"C7;6;1\r"])
def test_a_file_with_two_kinds_of_line_ends_is_inspected(line: bytes, tmp_path: Path) -> None:
    lines = [b"number;size;bad\n", *(f"C{index};{index % 9};{index % 2}\n".encode() for index in range(100)), line]
    (tmp_path / "mixed.csv").write_bytes(b"".join(lines))

    assert facts_of(tmp_path / "mixed.csv")["rows"] == 101


def bytes_read() -> int:
    """Return the number of bytes that this process has read from files so far."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


@pytest.mark.parametrize("files", [1, 2], ids=["a file", "a folder"])
def test_inspection_of_a_wide_text_file_reads_it_a_few_times_and_not_once_for_each_column(
    files: int, tmp_path: Path
) -> None:
    for file in range(files):
        rows = [
            {"number": f"C{file}-{row}", "bad": row % 2, "note": "long" * 500 + str(row)}
            | {f"x{number}": row * number % 97 for number in range(20)}
            for row in range(2_000)
        ]
        pd.DataFrame(rows).to_csv(tmp_path / f"{file}.csv", index=False)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    inspect_file(tmp_path / "0.csv", ReadingSpec())  # imports what an inspection needs

    before = bytes_read()
    found = inspect_file(tmp_path if files > 1 else tmp_path / "0.csv", ReadingSpec())
    read = bytes_read() - before

    assert found.facts.rows == 2_000 * files
    assert (found.roles.label, {column.declared for column in found.facts.columns}) == (("bad",), {"text"})
    assert read < 10 * size


def test_codes_with_a_leading_zero_and_a_point_are_a_category_in_the_starter_spec(tmp_path: Path) -> None:
    rows = [f"C{row},{row % 2},{row % 7}.5,{('01.11', '47.11', '56.10')[row % 3]}" for row in range(99)]
    (tmp_path / "t.csv").write_text("number,bad,size,industry\n" + "\n".join(rows) + "\n")
    run("training", "inspect", str(tmp_path / "t.csv"), "--spec", str(tmp_path / "t.toml"))

    features = read_spec(tmp_path / "t.toml").features
    assert {feature.name: feature.kind for feature in features} == {"size": "number", "industry": "category"}


@pytest.mark.parametrize("code", ["industry with leading zeros", "stated customer"])
def test_a_code_with_a_point_does_not_show_inspect_how_numbers_are_written(code: str, tmp_path: Path) -> None:
    is_customer = code == "stated customer"
    industries, customer = (("bar", "inn"), "{}.1") if is_customer else (("01.11", "47.11"), "C{}")
    rows = [f"{customer.format(row)};{row % 2};{('1.234', '7')[row % 2]};{industries[row % 2]}" for row in range(99)]
    (tmp_path / "t.csv").write_text("number;bad;amount;industry\n" + "\n".join(rows) + "\n")

    with pytest.raises(DataInvalid, match=r"column 'amount': '1\.234' has either three decimals or a separator"):
        inspect_file(tmp_path / "t.csv", ReadingSpec(), "number" if is_customer else None)


def test_numbers_in_an_unusual_spelling_are_neither_categories_nor_missing_in_the_starter_spec(tmp_path: Path) -> None:
    cells = ["(1,200.00)", *(f"{index}.5" for index in range(19))]
    rows = [
        f"C{index};{index % 2};{index % 7}.5;{cells[index % 20]};{('5 %', '7 %')[index % 2]}" for index in range(100)
    ]
    (tmp_path / "odd.csv").write_text("number;bad;size;money;share\n" + "\n".join(rows) + "\n")
    run("training", "inspect", str(tmp_path / "odd.csv"), "--spec", str(tmp_path / "odd.toml"))

    spec = read_spec(tmp_path / "odd.toml")
    assert [feature.name for feature in spec.features] == ["size"]
    text = (tmp_path / "odd.toml").read_text()
    assert "\"money\": 5 values are not numbers, the first is '(1,200.00)' in line 2; correct them if" in text
    assert '"share": 100 values are not numbers' in text


def test_an_unusual_number_does_not_hide_the_values_that_stand_for_a_missing_number(tmp_path: Path) -> None:
    """A column with both is not a feature, because `fit` cannot read the number; the comment names both."""
    cells = {7: "1200-", **dict.fromkeys(range(10, 400, 20), "not yet"), 21: "unknown"}
    rows = [
        f"C{row},{row % 2},{row % 97}.5,{cells.get(row, row % 13)},{'ok' if row in cells else 1.5 * (row % 9)}"
        for row in range(400)
    ]
    (tmp_path / "odd.csv").write_text("number,bad,size,money,other\n" + "\n".join(rows) + "\n")

    columns = {column["name"]: column for column in facts_of(tmp_path / "odd.csv")["columns"]}
    run("training", "inspect", str(tmp_path / "odd.csv"), "--spec", str(tmp_path / "odd.toml"))

    assert (columns["money"]["odd"], columns["money"]["odd_values"]) == (22, ["not yet", "unknown"])
    assert columns["money"]["unusual_values"] == ["1200-"]
    assert (columns["other"]["odd_values"], columns["other"]["unusual_values"]) == (["ok"], [])
    assert {feature.name: feature.missing for feature in read_spec(tmp_path / "odd.toml").features} == {
        "size": (),
        "other": ("ok",),
    }
    assert (
        "#   \"money\": 22 values are not numbers, the first is '1200-' in line 9; correct them if they are numbers in an "
        'unusual spelling, such as \'1200-\', and state missing = ["not yet", "unknown"]'
    ) in (tmp_path / "odd.toml").read_text()


def test_the_page_states_the_facts_about_every_column(folder: Path) -> None:
    facts = facts_of(folder / "kunden.csv")

    columns = {column["name"]: column for column in facts["columns"]}
    assert facts["rows"] == 1500
    assert {name: column["kind"] for name, column in columns.items()} == {
        "Kunden-Nr": "text",
        "Umsatz (EUR)": "number",
        "Verzug in Tagen": "number",
        "Größe Ort": "number",
        "Branche": "text",
        "Mahnung am": "time",
        "Bonität": "text",
    }
    assert columns["Verzug in Tagen"]["odd"] == 8
    assert columns["Verzug in Tagen"]["first_odd"] == "'n.a.' in line 7"
    assert columns["Kunden-Nr"]["examples"][0] == "000007"
    assert columns["Mahnung am"]["time_formats"] == ["%d.%m.%Y"]
    roles = facts["roles"]
    assert (roles["customer"], roles["label"], roles["bad"]) == (["Kunden-Nr"], ["Bonität"], "schlecht")
    assert roles["money"] == ["Umsatz (EUR)"]
    assert facts["suspected_leaks"] == {
        "Mahnung am": "whether it is missing ranks 100.0% of all pairs of a good and a bad row correctly"
    }


def test_the_page_is_a_table_that_fits_a_terminal(folder: Path) -> None:
    lines = run("training", "inspect", str(folder / "kunden.csv")).splitlines()

    assert max(map(len, lines)) <= 120
    assert any("Verzug in Tagen" in line and "'n.a.' in line 7 (8)" in line for line in lines)


def test_a_transaction_log_gets_a_starter_spec_that_fits(folder: Path, tmp_path: Path) -> None:
    inspect(folder / "buchungen.tsv", tmp_path / "log.toml")
    fit(tmp_path / "log.toml", tmp_path / "bundles", tmp_path / "files", threads=1)

    spec = read_spec(tmp_path / "log.toml")
    assert spec.log is not None
    assert spec.log.columns.model_dump(exclude_none=True) == {
        "market": {"column": "Land", "values": {"Österreich": "AT"}},
        "customer_id": "Kundennummer",
        "time": "Buchungsdatum",
        "amount": "Betrag in EUR",
    }
    assert (spec.log.duplicates, spec.log.time_format) == ("keep", "%d.%m.%Y")
    assert (tmp_path / "files" / "churn.features.parquet").exists()


def test_a_starter_spec_never_replaces_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("# mine")

    with pytest.raises(DataInvalid, match=r"--spec: .*own\.toml already exists"):
        inspect(folder / "kunden.csv", tmp_path / "own.toml")

    assert (tmp_path / "own.toml").read_text() == "# mine"


def test_a_file_without_an_outcome_is_described_but_gets_no_spec(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("number,size\n" + "".join(f"C{row},{row % 7}\n" for row in range(50)))

    with pytest.raises(DataInvalid, match="no column looks like the label; specify it with --label COLUMN"):
        inspect(tmp_path / "a.csv", tmp_path / "a.toml")

    assert not (tmp_path / "a.toml").exists()


def test_an_ambiguous_day_is_reported(tmp_path: Path) -> None:
    rows = "".join(f"C{row},0{row % 9 + 1}/0{row % 8 + 1}/2025\n" for row in range(90))
    (tmp_path / "a.csv").write_text(f"number,day\n{rows}")

    formats = {column["name"]: column["time_formats"] for column in facts_of(tmp_path / "a.csv")["columns"]}
    said = " ".join(run("training", "inspect", str(tmp_path / "a.csv")).split())

    assert formats["day"] == ["%d/%m/%Y", "%m/%d/%Y"]
    assert "can be read as '%d/%m/%Y' or '%m/%d/%Y'; set time_format in the spec" in said


@pytest.mark.parametrize("form", ["parquet", "parquet with a zone", "csv with offsets"])
def test_the_starter_spec_of_a_log_fits_times_of_every_form_and_amounts_of_any_name(form: str, tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01 23:30", periods=600, freq="11h")
    table = pd.DataFrame({"Kunde": [f"K{index % 40}" for index in range(600)], "Zeit": days, "Posten": days.hour + 0.5})
    if form != "parquet":
        table["Zeit"] = days.tz_localize("UTC").tz_convert("Asia/Tokyo")
    path = tmp_path / ("log.csv" if form.startswith("csv") else "log.parquet")
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)

    run("training", "inspect", str(path), "--spec", str(tmp_path / "spec.toml"))

    log = read_spec(tmp_path / "spec.toml").log
    assert log is not None
    assert (log.columns.time, log.columns.amount) == ("Zeit", "Posten")
    assert log.time_zone == (None if form == "parquet" else "UTC")
    with open_transaction_log(log, None, SourcePaths(tmp_path), 1) as opened:
        assert dict(opened.waterfall)["lines used"] == 600
        found = opened.connection.execute("SELECT MIN(time) FROM valid_lines").fetchall()
    assert str(found[0][0]) == "2024-01-01 23:30:00"


@pytest.mark.parametrize("codes", [["PLN"], ["PLN", "PLN", "EUR"], []])
def test_the_starter_spec_of_a_log_states_the_currency_of_its_column_and_multiplies_quantities_with_prices(
    codes: list[str], tmp_path: Path
) -> None:
    table = pd.DataFrame({"customer": [f"K{index % 40}" for index in range(600)]})
    table["date"] = pd.date_range("2024-01-01", periods=600, freq="11h").strftime("%Y-%m-%d")
    table["Unit Price"], table["quantity"] = [1.25, 2.5] * 300, [2, 3] * 300
    if codes:
        table["currency"] = codes * (600 // len(codes))
    table.to_csv(tmp_path / "log.csv", index=False)

    run("training", "inspect", str(tmp_path / "log.csv"), "--spec", str(tmp_path / "spec.toml"))

    log = read_spec(tmp_path / "spec.toml").log
    assert log is not None
    assert (log.currency, log.columns.currency) == (("PLN", "currency") if codes else ("EUR", None))
    assert ("# assumed, because no column states it" in (tmp_path / "spec.toml").read_text()) == (not codes)
    if len(codes) > 1:
        with pytest.raises(DataInvalid, match="EUR"), open_transaction_log(log, None, SourcePaths(tmp_path), 1):
            pass
        return
    with open_transaction_log(log, None, SourcePaths(tmp_path), 1) as opened:
        found = opened.connection.execute(
            "SELECT CAST(amount AS VARCHAR), COUNT(*) FROM valid_lines GROUP BY 1 ORDER BY 1"
        )
        assert found.fetchall() == [("2.50", 300), ("7.50", 300)]


def test_a_declared_day_of_a_table_is_the_time_of_its_rows_in_the_starter_spec(tmp_path: Path) -> None:
    days = pd.to_datetime(["2024-01-31", "2024-02-29"] * 50)
    table = pd.DataFrame(
        {"id": [f"K{index}" for index in range(100)], "bad": [0, 1] * 50, "size": range(100), "day": days}
    )
    table.assign(size=table["size"] % 9 + 0.5).to_parquet(tmp_path / "t.parquet", index=False)

    run("training", "inspect", str(tmp_path / "t.parquet"), "--spec", str(tmp_path / "spec.toml"))

    spec = read_spec(tmp_path / "spec.toml").table
    assert spec is not None
    assert spec.as_of_column == "day"
