"""python -m tests.bench: measures, writes the history, and renews the tables and plots of tests/bench/README.md."""

import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tests.bench.explanation import bundle_of, grid, measured
from tests.bench.history import provenance, record
from tests.bench.readme import renew
from tests.bench.subjects import released
from tests.conftest import run
from training.console import Console

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command(epilog="Example: python -m tests.bench explanation")
def explanation(
    bundles: Annotated[Path | None, typer.Option(help="Released bundles; by default both are trained anew.")] = None,
    files: Annotated[Path | None, typer.Option(help="Their feature files.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each way is timed.", min=3)] = 40,
) -> None:
    """Time scores and explanations, one row and in batches, against LightGBM, shap, treelite and plain ONNX Runtime."""
    warnings.filterwarnings("ignore")
    console = Console(1)
    measured_on = provenance()
    with tempfile.TemporaryDirectory() as folder:
        if bundles is None or files is None:
            bundles, files = Path(folder) / "bundles", Path(folder) / "files"
            for family in ("credit", "churn"):
                console.say(f"train the {family} model")
                run("training", "fit", f"training/{family}.toml", "--bundles", str(bundles), "--files", str(files))
        models = []
        for family in ("credit", "churn"):
            console.say(f"time the {family} model")
            subject = released(family, bundle_of(bundles, family), files / f"{family}.features.parquet")
            models.append(measured(subject, rounds))
        results = {"models": models, "grid": list(grid(max(3, rounds // 4), console.say))}
    console.say(f"written: {record('explanation', measured_on, results).name}")
    renew()


@app.command(epilog="Example: python -m tests.bench readme")
def readme() -> None:
    """Renew the tables and plots from the newest results, without measuring."""
    renew()


if __name__ == "__main__":
    app()
