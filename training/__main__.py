"""python -m training: what a model developer types."""

import datetime as dt
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from models.bundle import read_bundle
from models.errors import ModelError
from models.model import open_model
from training.console import Console
from training.errors import SpecRefused, TrainingError
from training.external_model import export_model, verdict_table
from training.release.model_release import release
from training.report.printed import campaign_table, facts, gates_table, quality_table, waterfall_table
from training.scoring.bundle_selection import chosen_bundle, decline_bundle, refuse_changed
from training.scoring.feature_file import write_features
from training.scoring.scoring_run import Extras, write_run, write_run_at
from training.sources.snapshots import customers_at, samples_of_log
from training.sources.table import customers_of_table, samples_of_table
from training.sources.transaction_log import Sources
from training.spec import read_spec, spec_digest

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train models: a spec file and a table (or a transaction log) become a bundle that the server can run.",
)
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.toml", help="The family's spec file.")]
Bundles = Annotated[Path, typer.Option(help="The catalog of bundles.", metavar="DIR")]
Data = Annotated[Path | None, typer.Option(help="The data, instead of the spec's path.", metavar="PATH")]
Status = Annotated[Path | None, typer.Option(help="A log's status table, instead of the spec's.", metavar="PATH")]
Threads = Annotated[int, typer.Option(help="Threads to work with; no byte depends on it.", min=1)]
CORES = os.cpu_count() or 1
Files = Annotated[Path, typer.Option(help="Where feature and run files go.", metavar="DIR")]


@app.command(epilog="Example: python -m training fit training/credit.toml --bundles models/bundles")
def fit(
    spec_file: SpecFile,
    bundles: Bundles = Path("models/bundles"),
    files: Files = Path("files"),
    data: Data = None,
    status: Status = None,
    threads: Threads = CORES,
) -> None:
    """Fit, calibrate, export, prove, measure and release one model; write the customers' feature file."""
    console = Console(threads)
    spec = read_spec(spec_file)
    console.say(f"{spec.family}: {spec.title}")
    if spec.table is not None:
        path = data or spec_file.parent / (spec.table.path or "")
        refuse_status(status)
        spec, samples = samples_of_table(spec, path)
        customers = samples.rows
    else:
        samples, customers = samples_of_log(spec, Sources(spec_file.parent, data, status), threads)
    console.show(waterfall_table(samples))
    made = release(spec, spec_digest(spec_file), samples, bundles, console)
    features = files / f"{spec.family}.features.parquet"
    write_features(features, spec.family, read_bundle(made.folder).schema, customers)
    console.show(quality_table(made.findings))
    if made.findings.campaign is not None:
        console.show(campaign_table(made.findings.campaign))
    console.show(gates_table(made.lines))
    for line in facts(made.findings):
        console.say(line)
    console.say(f"features of {len(customers):,} customers: {features}")
    console.say(f"bundle: {made.folder}")
    console.say(f"to let it serve: python -m server activate {made.folder.name[:12]}")


@app.command(epilog="Example: python -m training score training/churn.toml --at 2017-12-15")
def score(
    spec_file: SpecFile,
    at: Annotated[dt.datetime | None, typer.Option(help="From the log, as of this day.", formats=["%Y-%m-%d"])] = None,
    bundles: Bundles = Path("models/bundles"),
    features: Annotated[Path | None, typer.Option(help="A feature file, instead of --at.", metavar="FILE")] = None,
    to: Annotated[Path | None, typer.Option(help="The run file to write.", metavar="FILE")] = None,
    data: Data = None,
    status: Status = None,
    suppress: Annotated[
        Path | None, typer.Option(help="Whom to leave alone: market, customer_id, code, perhaps until.", metavar="FILE")
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="Another bundle than the active one.", metavar="ID")] = None,
    decline: Annotated[
        str | None, typer.Option(help="The bundle of spend decline; by default the active one, if any.", metavar="ID")
    ] = None,
    threads: Threads = CORES,
) -> None:
    """Score all customers with the active bundle, as of a date or from a feature file: a run for `server load`."""
    console = Console(threads)
    spec = read_spec(spec_file)
    if at is None and (data is not None or status is not None):
        raise SpecRefused(f"{spec_file}: --data and --status need --at; without it a feature file is scored")
    digest = spec_digest(spec_file)
    chosen, second = chosen_bundle(bundles, spec.family, bundle), decline_bundle(bundles, spec.family, decline)
    for one in (chosen, second):
        if one is not None:
            refuse_changed(spec, digest, one, console.say)
    model = open_model(chosen)
    run = to or Path("files") / f"{spec.family}.run.parquet"
    extras = Extras(
        decline=open_model(second) if second else None,
        suppress=suppress,
        spec_sha256=digest,
        threads=threads,
        say=console.progress(),
    )
    if at is None:
        source = features or Path("files") / f"{spec.family}.features.parquet"
        count = write_run(spec, model, source, run, extras)
    elif features is not None or spec.log is None:
        raise SpecRefused(f"{spec_file}: --at is for logs and without --features")
    else:
        count = write_run_at(spec, model, Sources(spec_file.parent, data, status), at.date(), run, extras)
    console.say(f"run of {count:,} customers: {run}")


@app.command(epilog="Example: python -m training features training/churn.toml --at 2017-12-15")
def features(
    spec_file: SpecFile,
    at: Annotated[
        dt.datetime | None, typer.Option(help="As of which day; a log needs it.", formats=["%Y-%m-%d"])
    ] = None,
    bundles: Bundles = Path("models/bundles"),
    to: Annotated[Path | None, typer.Option(help="The feature file to write.", metavar="FILE")] = None,
    data: Data = None,
    status: Status = None,
    bundle: Annotated[str | None, typer.Option(help="Another bundle than the active one.", metavar="ID")] = None,
) -> None:
    """Write the features of all customers, for the active model, without fitting; `server load` takes the file."""
    console = Console(1)
    spec = read_spec(spec_file)
    chosen = chosen_bundle(bundles, spec.family, bundle)
    refuse_changed(spec, spec_digest(spec_file), chosen, console.say)
    day = at.date() if at else None
    if spec.table is not None:
        refuse_status(status)
        source = data or spec_file.parent / (spec.table.path or "")
        customers, waterfall = customers_of_table(spec, source, chosen.schema, day)
        for what, count in waterfall:
            console.say(f"{what}: {count:,}")
    else:
        if day is None:
            raise SpecRefused(f"{spec_file}: a log needs --at DATE")
        customers = customers_at(spec, Sources(spec_file.parent, data, status), day, CORES)
    target = to or Path("files") / f"{spec.family}.features.parquet"
    write_features(target, spec.family, chosen.schema, customers)
    console.say(f"features of {len(customers):,} customers: {target}")


def refuse_status(status: Path | None) -> None:
    """Refuse a status table where there is no log."""
    if status is not None:
        raise SpecRefused("--status is for logs; a table says by table.exclude whom to leave out")


@app.command(epilog="Example: python -m training export my_model.txt --baseline applicants.parquet --to my_model")
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.txt", help="What Booster.save_model wrote.")],
    to: Annotated[
        Path, typer.Option(help="A new folder for score.onnx, explain.onnx, gate.json and model.txt.", metavar="DIR")
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Rows to compare with; without them, the training rows by the splits' covers.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Export a LightGBM model of your own, binary and within the limits, and prove the files equal to it."""
    console = Console(1)
    verdict = export_model(model, to, baseline, console)
    console.show(verdict_table(verdict))
    console.say(f"base value: {verdict.base_margin!r} log-odds")
    console.say(f"files: {to}; to the bit with ONNX Runtime on one thread: SessionOptions.intra_op_num_threads = 1")


def main() -> int:
    """Run a command; what can be mended is said in a sentence, with exit status 1."""
    # LightGBM takes numpy rows without names; scikit-learn's style of warning about it concerns nobody here.
    warnings.filterwarnings("ignore", module="lightgbm")
    try:
        app(standalone_mode=True)
    except (TrainingError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
