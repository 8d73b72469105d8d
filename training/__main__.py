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
from training.errors import SpecInvalid, TrainingError
from training.external_model import equivalence_table, export_model
from training.release.model_release import release_model
from training.report.terminal import campaign_table, gates_table, quality_table, summary_lines, waterfall_table
from training.scoring.bundle_selection import check_compatible, select_bundle, select_decline_bundle
from training.scoring.feature_file import write_feature_file
from training.scoring.scoring_run import RunOptions, score_feature_file, score_transaction_log
from training.sources.snapshots import read_log_customers, read_log_samples
from training.sources.table import read_table_customers, read_table_samples
from training.sources.transaction_log import SourcePaths
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
    console.info(f"{spec.family}: {spec.title}")
    if spec.table is not None:
        path = data or spec_file.parent / (spec.table.path or "")
        _reject_status(status)
        spec, samples = read_table_samples(spec, path)
        customers = samples.rows
    else:
        samples, customers = read_log_samples(spec, SourcePaths(spec_file.parent, data, status), threads)
    console.print_table(waterfall_table(samples))
    made = release_model(spec, spec_digest(spec_file), samples, bundles, console)
    features = files / f"{spec.family}.features.parquet"
    write_feature_file(features, spec.family, read_bundle(made.folder).schema, customers)
    console.print_table(quality_table(made.evaluation))
    if made.evaluation.campaign is not None:
        console.print_table(campaign_table(made.evaluation.campaign))
    console.print_table(gates_table(made.gate_results))
    for line in summary_lines(made.evaluation):
        console.info(line)
    console.info(f"features of {len(customers):,} customers: {features}")
    console.info(f"bundle: {made.folder}")
    console.info(f"to let it serve: python -m server activate {made.folder.name[:12]}")


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
        raise SpecInvalid(f"{spec_file}: --data and --status need --at; without it a feature file is scored")
    digest = spec_digest(spec_file)
    chosen, second = select_bundle(bundles, spec.family, bundle), select_decline_bundle(bundles, spec.family, decline)
    for one in (chosen, second):
        if one is not None:
            check_compatible(spec, digest, one, console.info)
    model = open_model(chosen)
    run = to or Path("files") / f"{spec.family}.run.parquet"
    extras = RunOptions(
        decline=open_model(second) if second else None,
        suppression_list=suppress,
        spec_sha256=digest,
        threads=threads,
        report_progress=console.progress_reporter(),
    )
    if at is None:
        source = features or Path("files") / f"{spec.family}.features.parquet"
        count = score_feature_file(spec, model, source, run, extras)
    elif features is not None or spec.log is None:
        raise SpecInvalid(f"{spec_file}: --at is for logs and without --features")
    else:
        count = score_transaction_log(spec, model, SourcePaths(spec_file.parent, data, status), at.date(), run, extras)
    console.info(f"run of {count:,} customers: {run}")


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
    chosen = select_bundle(bundles, spec.family, bundle)
    check_compatible(spec, spec_digest(spec_file), chosen, console.info)
    day = at.date() if at else None
    if spec.table is not None:
        _reject_status(status)
        source = data or spec_file.parent / (spec.table.path or "")
        customers, waterfall = read_table_customers(spec, source, chosen.schema, day)
        for what, count in waterfall:
            console.info(f"{what}: {count:,}")
    else:
        if day is None:
            raise SpecInvalid(f"{spec_file}: a log needs --at DATE")
        customers = read_log_customers(spec, SourcePaths(spec_file.parent, data, status), day, CORES)
    target = to or Path("files") / f"{spec.family}.features.parquet"
    write_feature_file(target, spec.family, chosen.schema, customers)
    console.info(f"features of {len(customers):,} customers: {target}")


def _reject_status(status: Path | None) -> None:
    """Refuse a status table where there is no log."""
    if status is not None:
        raise SpecInvalid("--status is for logs; a table says by table.exclude whom to leave out")


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
    console.print_table(equivalence_table(verdict))
    console.info(f"base value: {verdict.base_margin!r} log-odds")
    console.info(f"files: {to}; to the bit with ONNX Runtime on one thread: SessionOptions.intra_op_num_threads = 1")


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
