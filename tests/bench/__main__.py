"""Measure what the system costs, write the history, and update the tables of the README: `python -m tests.bench`."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tests.bench.audit import measure_audit as audited
from tests.bench.checks import measure_checks
from tests.bench.churn import LINES, measure_scoring
from tests.bench.console_pages import measure_pages
from tests.bench.explanation import find_bundle, measure_grid, measure_model
from tests.bench.feed import measure_feed
from tests.bench.network import measure_network
from tests.bench.reading import measure_reading
from tests.bench.readme import renew_readme
from tests.bench.record import measure_recording as recorded
from tests.bench.recourse import measure_recourse
from tests.bench.serving import IN_FLIGHT, measure_serving
from tests.bench.stored_results import provenance, write_results
from tests.bench.subjects import released_subject
from tests.conftest import run
from training.console import Console

Bundles = Annotated[Path | None, typer.Option(help="Released bundles; by default both are trained first.")]
Files = Annotated[Path | None, typer.Option(help="Their feature files.")]
STORES = ("SQLite", "PostgreSQL")
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command(epilog="Example: python -m tests.bench explanation")
def explanation(
    bundles: Bundles = None,
    files: Files = None,
    rounds: Annotated[int, typer.Option(help="How often each way is timed.", min=3)] = 40,
) -> None:
    """Time scores and explanations, one row and in batches, against LightGBM, shap, treelite and plain ONNX Runtime."""
    warnings.filterwarnings("ignore")
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        models = []
        for family in ("credit", "churn"):
            console.info(f"time the {family} model")
            features = files_folder / f"{family}.features.parquet"
            models.append(
                measure_model(released_subject(family, find_bundle(bundles_folder, family), features), rounds)
            )
        results = {"models": models, "grid": list(measure_grid(max(3, rounds // 4), console.info))}
    console.info(f"written: {write_results('explanation', measured_on, results).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench recourse")
def recourse(bundles: Bundles = None, files: Files = None) -> None:
    """Time the search for what would change a decision, for 500 declined applicants."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        found = measure_recourse(find_bundle(bundles_folder, "credit"), files_folder / "credit.features.parquet")
    console.info(f"written: {write_results('recourse', measured_on, found).name}")
    renew_readme()


@app.command(name="record", epilog="Example: python -m tests.bench record")
def durable(
    bundles: Bundles = None,
    files: Files = None,
    seconds: Annotated[float, typer.Option(help="How long each server is under load in a round.", min=1)] = 10.0,
    rounds: Annotated[int, typer.Option(help="How often, after one round that warms up.", min=1)] = 5,
) -> None:
    """Load the server with 32 callers, interleaved with the same server without a record log; SQLite and PostgreSQL."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        features = files_folder / "credit.features.parquet"
        found = recorded(find_bundle(bundles_folder, "credit"), features, seconds, rounds)
    console.info(f"written: {write_results('record', measured_on, found).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench serving --rounds 1 --seconds 3 --in-flight 32")
def serving(
    bundles: Bundles = None,
    files: Files = None,
    seconds: Annotated[float, typer.Option(help="How long each load of a server lasts.", min=1)] = 8.0,
    rounds: Annotated[int, typer.Option(help="How often each server is loaded.", min=1)] = 3,
    in_flight: Annotated[list[int] | None, typer.Option(help="Numbers of calls in flight.", min=1)] = None,
    store: Annotated[list[str] | None, typer.Option(help="SQLite or PostgreSQL; both by default.")] = None,
) -> None:
    """Load the server and three plain servers of the same contract, interleaved, and check every answer."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        features = files_folder / "credit.features.parquet"
        bundle = find_bundle(bundles_folder, "credit")
        found = measure_serving(bundle, features, seconds, rounds, in_flight or IN_FLIGHT, store or STORES)
    console.info(f"written: {write_results('serving', measured_on, found).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench network --calls 500")
def network(
    bundles: Bundles = None,
    files: Files = None,
    calls: Annotated[int, typer.Option(help="Decisions for each figure.", min=10)] = 2000,
    without_load: Annotated[bool, typer.Option("--without-load", help="Measure only with and without TLS.")] = False,  # noqa: FBT002
) -> None:
    """Time decisions with and without TLS, and while other callers keep the server busy."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        found = measure_network(
            find_bundle(bundles_folder, "credit"),
            files_folder / "credit.features.parquet",
            calls,
            with_load=not without_load,
        )
    for name, latency in found["latencies"].items():
        console.info(f"{name}: p50 {latency['p50_ms']:.2f} ms, p99 {latency['p99_ms']:.2f} ms")
    console.info(f"written: {write_results('network', measured_on, found).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench checks --pairs 60 --seconds 1")
def checks(
    bundles: Bundles = None,
    files: Files = None,
    pairs: Annotated[int, typer.Option(help="Pairs of slices with and without the checks.", min=4)] = 60,
    seconds: Annotated[float, typer.Option(help="Duration of a slice.", min=0.2)] = 1.0,
) -> None:
    """Measure what the checks against failing disks, forks, wrong clocks and floods cost a served decision."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        features = files_folder / "credit.features.parquet"
        found = measure_checks(find_bundle(bundles_folder, "credit"), features, seconds, pairs, console.info)
    console.info(f"written: {write_results('checks', measured_on, found).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench churn --lines 1000000 --lines 5000000 --lines 50000000")
def churn(
    bundles: Bundles = None,
    files: Files = None,
    lines: Annotated[list[int] | None, typer.Option(help="Sizes of the made logs.", min=10_000)] = None,
) -> None:
    """Score generated transaction logs of several sizes: features and run, time and memory by stage."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, _):
        found = [measure_scoring(find_bundle(bundles_folder, "churn"), count, console.info) for count in lines or LINES]
    console.info(f"written: {write_results('churn', measured_on, {'logs': found}).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench feed")
def feed(
    customers: Annotated[int, typer.Option(help="How many the made run has.", min=1000)] = 1_000_000,
) -> None:
    """Load a generated run, and time its export and its pages as the CRM reads them."""
    console = Console(1)
    measured_on = provenance()
    found = measure_feed(customers, console.info)
    console.info(f"written: {write_results('feed', measured_on, found).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench reading --before ../earlier --lines 2000000")
def reading(
    before: Annotated[Path, typer.Option(help="Checkout of the earlier version.", exists=True, file_okay=False)],
    lines: Annotated[int, typer.Option(help="Lines of the generated log.", min=10_000)] = 10_000_000,
    rounds: Annotated[int, typer.Option(help="How often each version reads each file.", min=1)] = 2,
) -> None:
    """Read a generated transaction log, interleaved with an earlier version of the reader, as CSV and as Parquet."""
    console = Console(1)
    measured_on = provenance()
    found = measure_reading(before, lines, rounds, console.info)
    console.info(f"written: {write_results('reading', measured_on, found).name}")
    renew_readme()


@app.command(epilog="Example: python -m tests.bench audit --records 200000")
def audit(
    bundles: Bundles = None,
    files: Files = None,
    records: Annotated[int, typer.Option(help="Records of the log.", min=1000)] = 5_000_000,
    store: Annotated[str, typer.Option(help="SQLite or PostgreSQL.")] = "SQLite",
    keep: Annotated[Path | None, typer.Option(help="Leave SQLite's records there, and measure those again.")] = None,
) -> None:
    """Time evidence, proofs and samples among millions of records; needs 6 KB of disk for each."""
    if store not in STORES:
        raise typer.BadParameter(f"--store takes {' or '.join(STORES)}")
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        features = files_folder / "credit.features.parquet"
        found = audited(find_bundle(bundles_folder, "credit"), features, records, store, console.info, keep)
    console.info(f"written: {write_results('audit', measured_on, found).name}")
    renew_readme()


@app.command(name="console", epilog="Example: python -m tests.bench console --records 1000000")
def console_pages(
    bundles: Bundles = None,
    files: Files = None,
    records: Annotated[int, typer.Option(help="Records of the log.", min=1000)] = 1_000_000,
    keep: Annotated[Path | None, typer.Option(help="Leave the records there, and measure those again.")] = None,
) -> None:
    """Time the pages of the console among a million records on SQLite; needs 6 KB of disk for each."""
    console = Console(1)
    measured_on = provenance()
    with released_models(bundles, files, console) as (bundles_folder, files_folder):
        features = files_folder / "credit.features.parquet"
        found = measure_pages(find_bundle(bundles_folder, "credit"), features, records, console.info, keep)
    for name, each in found["pages"].items():
        console.info(f"{name}: p50 {each['p50']:.0f} ms, p95 {each['p95']:.0f} ms")
    console.info(f"written: {write_results('console', measured_on, found).name}")
    renew_readme()


@contextmanager
def released_models(bundles: Path | None, files: Path | None, console: Console) -> Iterator[tuple[Path, Path]]:
    """Yield the given folders of bundles and files; without them, train both models and yield temporary folders."""
    if (bundles is None) != (files is None):
        raise typer.BadParameter("--bundles and --files go together: give both, or neither to train both models first")
    if bundles is not None and files is not None:
        yield bundles, files
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "bundles", Path(folder) / "files"
        for family in ("credit", "churn"):
            console.info(f"train the {family} model")
            run("training", "fit", f"training/{family}.toml", "--bundles", str(made[0]), "--files", str(made[1]))
        yield made


@app.command(epilog="Example: python -m tests.bench readme")
def readme() -> None:
    """Update the tables and plots from the newest results, without measuring."""
    renew_readme()


if __name__ == "__main__":
    app()
