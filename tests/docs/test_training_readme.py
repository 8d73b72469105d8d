"""The figures of training/README.md are those of the models that the shipped specs make."""

import re
from pathlib import Path

import pytest

from models.bundle import read_bundle
from tests.conftest import ROOT, Released, run

README = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
HEAD = "| on November and December 2017 | AUC | 95 % interval | lift, top tenth | lead of the model (AUC) |"
OF_MODEL = {"**model**": "hold_out", "November only": "hold_out.2017-11-01", "December only": "hold_out.2017-12-01"}


def churn_table(text: str) -> dict[str, list[str]]:
    """Read the table of churn: cells by the name of their row."""
    lines = text[text.index(HEAD) :].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]
    return {name: cells for name, *cells in rows}


def expected_cells(metrics: dict[str, float], name: str) -> list[str]:
    """Write a row of the table as it must be."""
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


def unlike(text: str, metrics: dict[str, float]) -> list[str]:
    """Name the rows of the table that say something else than the metrics, and the rivals that it leaves out."""
    table = churn_table(text)
    rivals = {found[1] for name in metrics if (found := re.fullmatch(r"rival\.(.+)\.lift_top_decile", name))}
    return [name for name, cells in table.items() if cells != expected_cells(metrics, name)] + sorted(
        rivals - set(table)
    )


def sentence(text: str, pattern: str) -> list[str]:
    """Return the figures in a sentence."""
    found = re.search(pattern, text)
    assert found is not None
    return list(found.groups())


def test_the_table_of_churn_is_what_the_shipped_spec_makes(released: Released) -> None:
    metrics = dict(read_bundle(released.bundle_folder("churn")).metrics)

    assert unlike(README, metrics) == []
    assert sentence(README, r"\nECE (\d\.\d+)\. For the decline") == [f"{metrics['calibration.ece']:.3f}"]
    # Planted: one figure of the README that no model has, and a rival that it does not name.
    assert unlike(README.replace("| 0.8604 |", "| 0.8704 |"), metrics) == ["**model**"]
    assert unlike(README, metrics | {"rival.coin.lift_top_decile": 1.0}) == ["coin"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_figures_of_spend_decline_are_what_its_spec_makes_and_it_passes_its_gates(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"

    run("training", "fit", "training/decline.toml", "--bundles", str(bundles), "--files", str(tmp_path / "files"))

    (folder,) = (path for path in (bundles / "churn_decline").iterdir() if path.is_dir())
    metrics = dict(read_bundle(folder).metrics)
    rivals = {name: value for name, value in metrics.items() if re.fullmatch(r"rival\..+\.auc", name)}
    assert len(rivals) == 3
    assert metrics["hold_out.auc"] >= max(rivals.values())
    assert metrics["calibration.ece"] <= 0.03
    assert metrics["monotone.violations"] == 0
    pattern = r"For the decline of spend: AUC (\d\.\d+) \(logistic (\d\.\d+)\), ECE (\d\.\d+)\."
    wanted = (
        metrics["hold_out.auc"],
        rivals["rival.logistic on recency, frequency, money.auc"],
        metrics["calibration.ece"],
    )
    assert sentence(README, pattern) == [f"{figure:.3f}" for figure in wanted]
