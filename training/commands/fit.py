"""The command `fit`."""

from pathlib import Path

from models.bundle import read_bundle
from training.commands.sources import reject_status
from training.console import Console
from training.release.model_release import release_model
from training.report.terminal import campaign_table, gates_table, quality_table, summary_lines, waterfall_table
from training.scoring.feature_file import check_replaceable, write_feature_file
from training.sources.cut_dates import with_cut_dates
from training.sources.reader.column_summary import column_table
from training.sources.snapshots import read_log_samples
from training.sources.spec_columns import source_entry
from training.sources.table import read_table_samples
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest


def fit_family(
    spec_file: Path, bundles: Path, files: Path, data: Path | None, status: Path | None, threads: int
) -> None:
    """Fit a model, check it, and write its bundle and the feature file of its customers.

    The model is exported to ONNX. The exported files are proved equal to the model and are measured on the hold-out. If
    a release gate of the spec fails, the report of the rejected model is written and nothing else.
    """
    console = Console(threads)
    spec = read_spec(spec_file)
    console.info(f"{spec.family}: {spec.title}")
    if spec.table is not None:
        reject_status(status)
        spec, samples = read_table_samples(
            spec, source_entry(spec.table, "table", spec_file.parent, data), spec_file.parent
        )
        customers = samples.rows
    else:
        sources = SourcePaths(spec_file.parent, data, status)
        spec = with_cut_dates(spec, sources, threads)
        samples, customers = read_log_samples(spec, sources, threads)
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
    for line in summary_lines(release.evaluation, spec.accept_behind):
        console.info(line)
    console.info(f"wrote the features of {len(customers):,} customers: {features}")
    console.info(f"wrote the bundle: {release.folder}")
    console.info(f"to serve it, run: python -m server activate {release.folder.name[:12]}")
