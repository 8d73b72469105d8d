"""The figures of training/README.md equal those of the models that the shipped specs produce."""

import json
import re
from pathlib import Path

import pytest

from models.bundle import read_bundle
from tests.conftest import ROOT, Released, run

README = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
HEAD = "| on November and December 2017 | AUC | 95 % interval | lift, top tenth | lead of the model (AUC) |"
OF_MODEL = {"**model**": "hold_out", "November only": "hold_out.2017-11-01", "December only": "hold_out.2017-12-01"}


def churn_table(text: str) -> dict[str, list[str]]:
    """Return the cells of the churn table by the name of their row."""
    lines = text[text.index(HEAD) :].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]
    return {name: cells for name, *cells in rows}


def expected_cells(metrics: dict[str, float], name: str) -> list[str]:
    """Return the cells that the metrics require in a row of the table."""
    of = OF_MODEL.get(name, f"rival.{name}")
    month = of.removeprefix("hold_out.") if of.startswith("hold_out.") else None
    interval = f"month.{month}.auc" if month else f"{of}.auc"
    lift = None if month else metrics[f"{of}.lift_top_decile"]
    ahead = f"{of}.ahead_auc"
    return [
        f"{metrics[f'{of}.auc']:.4f}",
        f"{metrics[f'{interval}.low']:.4f} to {metrics[f'{interval}.high']:.4f}",
        "" if lift is None else f"{lift:.2f}",
        ""
        if ahead not in metrics
        else f"{metrics[ahead]:.4f} ({metrics[f'{ahead}.low']:.4f} to {metrics[f'{ahead}.high']:.4f})",
    ]


def wrong_rows(text: str, metrics: dict[str, float]) -> list[str]:
    """Return the rows of the table that differ from the metrics, and the rivals that the table does not list."""
    table = churn_table(text)
    rivals = {found[1] for name in metrics if (found := re.fullmatch(r"rival\.(.+)\.lift_top_decile", name))}
    return [name for name, cells in table.items() if cells != expected_cells(metrics, name)] + sorted(
        rivals - set(table)
    )


def figures_in_sentence(text: str, pattern: str) -> list[str]:
    """Return the figures that a pattern captures in the text, in which all white space is a single space."""
    found = re.search(pattern, " ".join(text.split()))
    assert found is not None
    return list(found.groups())


def test_the_churn_table_equals_the_metrics_of_the_released_bundle(released: Released) -> None:
    metrics = dict(read_bundle(released.bundle_folder("churn")).metrics)

    assert wrong_rows(README, metrics) == []
    assert figures_in_sentence(README, r"\(ECE\) of the churn model is (\d\.\d+)\.") == [
        f"{metrics['calibration.ece']:.3f}"
    ]
    # The comparison detects a wrong figure, and a rival that the README does not list.
    assert wrong_rows(README.replace("| 0.8600 |", "| 0.8704 |"), metrics) == ["**model**"]
    assert wrong_rows(README, metrics | {"rival.coin.lift_top_decile": 1.0}) == ["coin"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_figures_for_the_decline_of_spend_equal_those_of_its_spec_and_pass_its_gates(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"

    run("training", "fit", "training/decline.toml", "--bundles", str(bundles), "--files", str(tmp_path / "files"))

    (folder,) = (path for path in (bundles / "churn_decline").iterdir() if path.is_dir())
    metrics = dict(read_bundle(folder).metrics)
    rivals = {name: value for name, value in metrics.items() if re.fullmatch(r"rival\..+\.auc", name)}
    assert len(rivals) == 3
    assert metrics["hold_out.auc"] >= max(rivals.values())
    assert metrics["calibration.ece"] <= 0.03
    assert metrics["monotone.violations"] == 0
    pattern = r"decline of spend has an AUC of (\d\.\d+) \(logistic\sregression: (\d\.\d+)\) and an ECE of (\d\.\d+)\."
    wanted = (
        metrics["hold_out.auc"],
        rivals["rival.logistic on recency, frequency, money.auc"],
        metrics["calibration.ece"],
    )
    assert figures_in_sentence(README, pattern) == [f"{figure:.3f}" for figure in wanted]


def test_the_results_of_the_churn_runs_equal_those_of_the_command(released: Released, tmp_path: Path) -> None:
    head = "| month of the run | predictions | expected to leave | left | 95 % interval | AUC | lift, top tenth |"
    days = ("2017-10-01", "2017-11-01", "2017-12-01")
    runs = [str(tmp_path / f"{day}.run.parquet") for day in days]
    bundles = ("--bundles", str(released.bundles))
    for day, path in zip(days, runs, strict=True):
        run("training", "score", "training/churn.toml", "--at", day, "--to", path, *bundles)

    document = json.loads(run("training", "results", "training/churn.toml", *runs, "--json", *bundles))

    rows = []
    for found in document["runs"]:
        (market,) = found["markets"]
        total = market["total"]
        observed = [100 * total["observed"][name] for name in ("value", "low", "high")]
        rows.append(
            f"| {found['as_of'][:7]} | {total['predictions']:,} | {100 * total['mean_pd']:.1f} % | {observed[0]:.1f} % "
            f"| {observed[1]:.1f} to {observed[2]:.1f} % | {market['auc']['estimate']:.4f} | {market['lift']:.2f} |"
        )
    assert README[README.index(head) :].splitlines()[2:5] == rows
    effect = document["campaigns"][0]["effects"][0]
    assert figures_in_sentence(
        README,
        r"(\d+\.\d) % of the hold-out group and (\d+\.\d) % of the others left, a difference of (\d+\.\d) of 100 "
        r"\((-\d+\.\d) to (\d+\.\d)\)\. Groups of this size show an effect from (\d+\.\d) of 100",
    ) == [
        f"{100 * value:.1f}"
        for value in (
            effect["hold_out"]["rate"]["value"],
            effect["others"]["rate"]["value"],
            *(effect["effect"][name] for name in ("value", "low", "high")),
            effect["detectable"],
        )
    ]
