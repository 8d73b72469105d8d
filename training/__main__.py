"""The command line of training: `python -m training`, or `grounds-train` when installed."""

import datetime as dt
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from grounds_record.errors import RecordError
from grounds_record.printable_text import escape_text
from models.errors import ModelError
from training.errors import TrainingError, fit_screen

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
_On = Annotated[
    dt.datetime | None,
    typer.Option(help="Day to which relative days of the spec refer; default: today, in UTC.", formats=["%Y-%m-%d"]),
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
    from training.commands.inspect import inspect_unknown_file

    inspect_unknown_file(
        file,
        spec,
        as_json=as_json,
        customer=customer,
        label=label,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        encoding=encoding,
    )


@app.command(epilog="Example: python -m training fit training/credit.toml --bundles models/bundles")
def fit(
    spec_file: _SpecFile,
    bundles: _Bundles = Path("models/bundles"),
    files: _Files = Path("files"),
    data: _Data = None,
    status: _Status = None,
    threads: _Threads = _CORES,
    on: _On = None,
) -> None:
    """Fit a model, check it, and write its bundle and the feature file of its customers.

    The model is exported to ONNX. The exported files are proved equal to the model and are measured on the hold-out. If
    a release gate of the spec fails, the report of the rejected model is written and nothing else.
    """
    from training.commands.fit import fit_family

    fit_family(spec_file, bundles, files, data, status, threads, on.date() if on else None)


@app.command(epilog="Example: python -m training cycle churn-flow.toml --on 2026-11-30")
def cycle(
    flow_file: Annotated[Path, typer.Argument(metavar="FLOW.toml", help="File that describes the flow.")],
    on: _On = None,
    threads: _Threads = _CORES,
) -> None:
    """Perform the weekly flow of a family: check the data, fit, compare with the serving bundle, propose, score and load.

    A cycle that was interrupted continues when it is started again on the same day, or with --on. The exit status is 0
    if the flow is complete, 3 if the candidate was not proposed, 4 if the data differ too much, and 1 for an error.
    """
    from training.commands.cycle import perform_cycle

    raise typer.Exit(perform_cycle(flow_file, on.date() if on else None, threads))


@app.command(epilog="Example: python -m training compare training/credit.toml 4c7ab9fd86a1 5f0c9a7be1d2")
def compare(
    spec_file: _SpecFile,
    champion: Annotated[
        str, typer.Argument(metavar="CHAMPION", help="Id of the bundle that serves, or its beginning.")
    ],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Id of the other bundle, or its beginning.")],
    bundles: _Bundles = Path("models/bundles"),
    data: _Data = None,
    status: _Status = None,
    to: Annotated[Path | None, typer.Option(help="Page to write.", metavar="FILE.html")] = None,
    threads: _Threads = _CORES,
    on: _On = None,
) -> None:
    """Compare two bundles on the hold-out of the data: ranking, probabilities, grades and decisions that change."""
    from training.commands.compare import compare_two_bundles

    compare_two_bundles(spec_file, champion, candidate, bundles, data, status, to, threads, on.date() if on else None)


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
    from training.commands.score import score_customers

    score_customers(spec_file, at, bundles, features, to, data, status, suppress, bundle, decline, threads)


@app.command(epilog="Example: python -m training results training/churn.toml november.run.parquet --html results.html")
def results(
    spec_file: _SpecFile,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_FILE...", help="Run files that `score` wrote.")],
    bundles: _Bundles = Path("models/bundles"),
    data: _Data = None,
    status: _Status = None,
    key_accounts: Annotated[
        list[Path] | None,
        typer.Option(help="File of key accounts at the time of a run, if it has changed since.", metavar="FILE"),
    ] = None,
    contacted: Annotated[
        Path | None,
        typer.Option(
            help="File of contacted customers: columns market, customer_id, optionally day and campaign.",
            metavar="FILE",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write.", metavar="FILE.html")] = None,
    threads: _Threads = _CORES,
    on: _On = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare scoring runs with what happened: churn by band, and the effect of the campaign by its hold-out group.

    The transaction log must cover the horizon of a run, and may begin on its day. A market that it does not cover is left
    out and named. The exit status is 0 if at least one market of a run was measured, and otherwise 1.
    """
    from training.commands.results import show_results

    show_results(
        spec_file,
        runs,
        bundles,
        data,
        status,
        key_accounts or [],
        contacted,
        html,
        as_json=as_json,
        threads=threads,
        on=on.date() if on else None,
    )


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
    from training.commands.features import write_features

    write_features(spec_file, at, bundles, to, data, status, bundle)


@app.command(epilog="Example: python -m training sign models/bundles/credit/4c7ab9fd86a1... --key release.key")
def sign(
    bundle: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the bundle.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Private key; the file is created if it is missing.")],
    name: Annotated[str, typer.Option(help="Name of the key. It never changes.")] = "grounds.local/bundles",
) -> None:
    """Sign a bundle with Ed25519, and print the public key for the setting `bundle_keys` of servers.

    The signature covers the manifest, which lists the digest of every file. It is written to manifest.sig.
    """
    from training.commands.sign import sign_released_bundle

    sign_released_bundle(bundle, key, name)


@app.command(epilog="Example: python -m training export my_model.txt --spec applicants.toml --data applicants.parquet")
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.txt", help="Text file that Booster.save_model wrote.")],
    spec: Annotated[
        Path | None,
        typer.Option(help="Spec file of the model family; the command writes a bundle.", metavar="SPEC.toml"),
    ] = None,
    data: _Data = None,
    status: _Status = None,
    bundles: _Bundles = Path("models/bundles"),
    files: _Files = Path("files"),
    to: Annotated[
        Path | None,
        typer.Option(
            help="Without --spec: new folder for score.onnx, explain.onnx, gate.json and model.txt.", metavar="DIR"
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="With --to: rows that explanations compare with; default: none, explanations equal LightGBM's pred_contrib.",
            metavar="FILE",
        ),
    ] = None,
    threads: _Threads = _CORES,
) -> None:
    """Export a binary LightGBM model that was fitted elsewhere, and prove that the exported files equal the model.

    With --spec, the model is calibrated and measured on the data, and a bundle is written, as `fit` does. With --to, only
    the ONNX files are written.
    """
    from training.commands.export import check_export_options, export_booster, export_bundle

    check_export_options(to, spec, baseline, data, status)
    if spec is not None:
        export_bundle(model, spec, bundles, files, data, status, threads)
    elif to is not None:
        export_booster(model, to, baseline)


def main() -> int:
    """Run the command line, and return the exit status.

    For an error that the user can correct, print a message without a traceback and return 1.
    """
    # LightGBM warns that numpy rows have no feature names. Training passes numpy rows on purpose.
    warnings.filterwarnings("ignore", module="lightgbm")
    try:
        app(standalone_mode=True)
    except (TrainingError, ModelError, RecordError) as error:
        print(fit_screen(escape_text(f"error: {error}")), file=sys.stderr)  # noqa: T201 - the command line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
