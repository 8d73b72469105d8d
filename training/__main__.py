"""The command line of training: `python -m training`, or `grounds-train` when installed."""

import datetime as dt
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from grounds_record.printable_text import escape_text
from models.bundle import read_bundle
from models.errors import ModelError
from models.isolation.processes import check_bundle
from models.model import open_model
from training.console import Console
from training.errors import SpecInvalid, TrainingError, fit_screen
from training.external_model import equivalence_table, export_model
from training.inspection.inspection import inspect_file, print_inspection, write_starter_spec
from training.release.model_release import release_model
from training.report.terminal import campaign_table, gates_table, quality_table, summary_lines, waterfall_table
from training.scoring.bundle_selection import check_compatible, select_bundle, select_decline_bundle
from training.scoring.feature_file import check_replaceable, write_feature_file
from training.scoring.scoring_run import RunOptions, score_feature_file, score_transaction_log
from training.sources.reader.column_summary import column_table
from training.sources.snapshots import read_log_customers, read_log_samples
from training.sources.spec_columns import source_entry
from training.sources.table import read_table_customers, read_table_samples
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest
from training.spec.reading import ReadingSpec

_CORES = os.cpu_count() or 1

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    # Under `python -m`, completion would be installed for the command `python`, not for this one.
    add_completion=Path(sys.argv[0]).stem == "grounds-train",
    help="Train models: convert a spec file and a table, or a transaction log, to a bundle for the server.",
)
_SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.toml", help="Spec file of the model family.")]
_Bundles = Annotated[Path, typer.Option(help="Folder of the bundle catalog.", metavar="DIR")]
_Data = Annotated[
    Path | None, typer.Option(help="Table or transaction log to read instead of the one in the spec.", metavar="PATH")
]
_Status = Annotated[
    Path | None, typer.Option(help="Status table of a log to read instead of the one in the spec.", metavar="PATH")
]
_Threads = Annotated[
    int, typer.Option(help="Number of threads; the files that are written do not depend on it.", min=1)
]
_Files = Annotated[Path, typer.Option(help="Folder of feature and run files.", metavar="DIR")]
_BundleId = Annotated[
    str | None,
    typer.Option(help="Id of a bundle, or at least its first 8 characters; default: the active one.", metavar="ID"),
]


@app.command(epilog="Example: python -m training inspect customers.csv --spec customers.toml")
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File, folder or glob pattern to inspect.")],
    spec: Annotated[
        Path | None, typer.Option(help="Starter spec to write; it must not exist.", metavar="SPEC.toml")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    customer: Annotated[str | None, typer.Option(help="Column of the customer.", metavar="COLUMN")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the outcome.", metavar="COLUMN")] = None,
    separator: Annotated[str | None, typer.Option(help="Character between cells.", metavar="TEXT")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal mark: . or ,", metavar="TEXT")] = None,
    thousands: Annotated[str | None, typer.Option(help="Character between groups of digits.", metavar="TEXT")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding, such as cp1252.", metavar="TEXT")] = None,
) -> None:
    """Describe an unknown file, and write a starter spec for it that can be fitted."""
    stated = {"separator": separator, "decimal": decimal, "thousands": thousands, "encoding": encoding}
    try:
        reading = ReadingSpec.model_validate({name: value for name, value in stated.items() if value is not None})
    except ValidationError as error:
        raise SpecInvalid("; ".join(f"--{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from error
    console = Console(1)
    found = inspect_file(file, reading, customer, label)
    print_inspection(found, console, as_json=as_json)
    if spec is not None:
        write_starter_spec(found, file, spec, reading)
        if not as_json:
            console.info(f"wrote the starter spec: {spec}")
            console.info(f"to fit a model, run: python -m training fit {spec}")


@app.command(epilog="Example: python -m training fit training/credit.toml --bundles models/bundles")
def fit(
    spec_file: _SpecFile,
    bundles: _Bundles = Path("models/bundles"),
    files: _Files = Path("files"),
    data: _Data = None,
    status: _Status = None,
    threads: _Threads = _CORES,
) -> None:
    """Fit a model, check it, and write its bundle and the feature file of its customers.

    The model is exported to ONNX. The exported files are proved equal to the model and are measured on the hold-out. If
    a release gate of the spec fails, the report of the rejected model is written and nothing else.
    """
    console = Console(threads)
    spec = read_spec(spec_file)
    console.info(f"{spec.family}: {spec.title}")
    if spec.table is not None:
        _reject_status(status)
        spec, samples = read_table_samples(
            spec, source_entry(spec.table, "table", spec_file.parent, data), spec_file.parent
        )
        customers = samples.rows
    else:
        samples, customers = read_log_samples(spec, SourcePaths(spec_file.parent, data, status), threads)
    console.info(samples.confirmation)
    console.print_table(column_table(samples.columns))
    console.print_table(waterfall_table(samples))
    features = files / f"{spec.family}.features.parquet"
    check_replaceable(
        features, {*samples.rows["market"], *customers["market"], *samples.left_out_markets}, "--files DIR"
    )
    rejected = files / f"{spec.family}.rejected"
    release = release_model(spec, spec_digest(spec_file), samples, bundles, console, rejected)
    write_feature_file(features, spec.family, read_bundle(release.folder).schema, customers)
    console.print_table(quality_table(release.evaluation))
    if release.evaluation.campaign is not None:
        console.print_table(campaign_table(release.evaluation.campaign))
    console.print_table(gates_table(release.gate_results))
    for line in summary_lines(release.evaluation):
        console.info(line)
    console.info(f"wrote the features of {len(customers):,} customers: {features}")
    console.info(f"wrote the bundle: {release.folder}")
    console.info(f"to serve it, run: python -m server activate {release.folder.name[:12]}")


@app.command(epilog="Example: python -m training score training/churn.toml --at 2017-12-15")
def score(
    spec_file: _SpecFile,
    at: Annotated[
        dt.datetime | None, typer.Option(help="Score the transaction log as of this day.", formats=["%Y-%m-%d"])
    ] = None,
    bundles: _Bundles = Path("models/bundles"),
    features: Annotated[Path | None, typer.Option(help="Feature file to score; not with --at.", metavar="FILE")] = None,
    to: Annotated[Path | None, typer.Option(help="Run file to write.", metavar="FILE")] = None,
    data: _Data = None,
    status: _Status = None,
    suppress: Annotated[
        Path | None,
        typer.Option(
            help="File of customers who must not be contacted: columns market, customer_id, code, optionally until.",
            metavar="FILE",
        ),
    ] = None,
    bundle: _BundleId = None,
    decline: Annotated[
        str | None,
        typer.Option(help="Bundle that predicts a decline of spend; default: the active one, if any.", metavar="ID"),
    ] = None,
    threads: _Threads = _CORES,
) -> None:
    """Score all customers with a bundle, and write a run file for `python -m server load`.

    The customers are read from the transaction log as of a date (--at), or from a feature file.
    """
    console = Console(threads)
    spec = read_spec(spec_file)
    if at is None and (data is not None or status is not None):
        raise SpecInvalid(
            "--data and --status require --at, because without --at a feature file is scored; add --at, or remove them"
        )
    digest = spec_digest(spec_file)
    chosen, second = select_bundle(bundles, spec.family, bundle), select_decline_bundle(bundles, spec.family, decline)
    for candidate in (chosen, second):
        if candidate is not None:
            check_compatible(spec, digest, candidate, console.info)
            check_bundle(candidate)  # in a process with limits, because the bundle need not be active
    model = open_model(chosen)
    run = to or Path("files") / f"{spec.family}.run.parquet"
    options = RunOptions(
        decline=open_model(second) if second else None,
        suppression_list=suppress,
        spec_sha256=digest,
        threads=threads,
        report_progress=console.progress_reporter(),
        report_finding=console.info,
        keep_other_markets=to is None,
    )
    if at is None:
        source = features or Path("files") / f"{spec.family}.features.parquet"
        count = score_feature_file(spec, model, source, run, options)
    elif features is not None or spec.log is None:
        raise SpecInvalid(f"{spec_file}: --at requires a spec with a [log], and cannot be combined with --features")
    else:
        sources = SourcePaths(spec_file.parent, data, status)
        count = score_transaction_log(spec, model, sources, at.date(), run, options)
    console.info(f"wrote the scoring run of {count:,} customers: {run}")


@app.command(epilog="Example: python -m training features training/churn.toml --at 2017-12-15")
def features(
    spec_file: _SpecFile,
    at: Annotated[
        dt.datetime | None,
        typer.Option(help="Day as of which to compute the features; required for a log.", formats=["%Y-%m-%d"]),
    ] = None,
    bundles: _Bundles = Path("models/bundles"),
    to: Annotated[Path | None, typer.Option(help="Feature file to write.", metavar="FILE")] = None,
    data: _Data = None,
    status: _Status = None,
    bundle: _BundleId = None,
) -> None:
    """Write a feature file with the features that a bundle uses, for `python -m server load`, without fitting a model."""
    console = Console(1)
    spec = read_spec(spec_file)
    chosen = select_bundle(bundles, spec.family, bundle)
    check_compatible(spec, spec_digest(spec_file), chosen, console.info)
    day = at.date() if at else None
    if spec.table is not None:
        _reject_status(status)
        source = source_entry(spec.table, "table", spec_file.parent, data)
        found = read_table_customers(spec, source, chosen.schema, day, spec_file.parent)
        customers = found.rows
        console.info(found.confirmation)
        console.print_table(column_table(found.columns))
        for label, count in found.waterfall:
            console.info(f"{label}: {count:,}")
    else:
        if day is None:
            raise SpecInvalid(
                f"{spec_file}: a spec with a [log] requires --at DATE; add the day as of which to compute the features"
            )
        customers = read_log_customers(spec, SourcePaths(spec_file.parent, data, status), day, _CORES, console.info)
    target = to or Path("files") / f"{spec.family}.features.parquet"
    if to is None:
        check_replaceable(target, set(customers["market"]), "--to FILE")
    write_feature_file(target, spec.family, chosen.schema, customers)
    console.info(f"wrote the features of {len(customers):,} customers: {target}")


def _reject_status(status: Path | None) -> None:
    """Raise SpecInvalid if --status is given for a family without a transaction log."""
    if status is not None:
        raise SpecInvalid("--status requires a spec with a [log]; exclude customers of a [table] with table.exclude")


@app.command(epilog="Example: python -m training export my_model.txt --baseline applicants.parquet --to my_model")
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.txt", help="Text file that Booster.save_model wrote.")],
    to: Annotated[
        Path, typer.Option(help="New folder for score.onnx, explain.onnx, gate.json and model.txt.", metavar="DIR")
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Rows that explanations compare with; default: none, explanations equal LightGBM's pred_contrib.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Export a binary LightGBM model that was fitted elsewhere to ONNX, and prove that the files equal the model."""
    console = Console(1)
    report = export_model(model, to, baseline, console)
    console.print_table(equivalence_table(report))
    console.info(f"base value: {report.base_margin!r} log-odds")
    console.info(f"wrote the files: {to}")
    console.info("margins are exact with ONNX Runtime on one thread: SessionOptions.intra_op_num_threads = 1")


def main() -> int:
    """Run the command line, and return the exit status.

    For an error that the user can correct, print a message without a traceback and return 1.
    """
    # LightGBM warns that numpy rows have no feature names. Training passes numpy rows on purpose.
    warnings.filterwarnings("ignore", module="lightgbm")
    try:
        app(standalone_mode=True)
    except (TrainingError, ModelError) as error:
        print(fit_screen(escape_text(f"error: {error}")), file=sys.stderr)  # noqa: T201 - the command line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
