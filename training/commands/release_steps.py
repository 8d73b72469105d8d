"""The steps that the commands `fit` and `export` share: read the rows of a family, and show what was released."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from models.bundle import read_bundle
from training.commands.sources import reject_status
from training.console import Console
from training.release.model_release import Release
from training.report.terminal import campaign_table, gates_table, quality_table, summary_lines, waterfall_table
from training.scoring.feature_file import check_replaceable, write_feature_file
from training.sources.cut_dates import with_cut_dates
from training.sources.reader.column_summary import column_table
from training.sources.samples import Samples
from training.sources.snapshots import read_log_samples
from training.sources.spec_columns import source_entry
from training.sources.table import read_table_samples
from training.sources.transaction_log import SourcePaths
from training.spec import Spec


@dataclass(frozen=True, slots=True, eq=False)
class FamilyRows:
    """The rows of a family.

    Attributes:
        spec: The spec, in which `features` lists every feature of the model.
        samples: The rows to fit, calibrate and measure on.
        customers: The customers whose features are written for the server.
        features: The feature file to write.
        rejected: Folder for the report of a model that fails a release gate.
    """

    spec: Spec
    samples: Samples
    customers: pd.DataFrame
    features: Path
    rejected: Path


def read_family_rows(
    spec: Spec, spec_file: Path, files: Path, data: Path | None, status: Path | None, console: Console
) -> FamilyRows:
    """Read the table or the transaction log of a family, show what was read, and check that its feature file can be written."""
    spec, samples, customers = read_samples(spec, spec_file, data, status, console)
    features = files / f"{spec.family}.features.parquet"
    check_replaceable(
        features, {*samples.rows["market"], *customers["market"], *samples.left_out_markets}, "--files DIR"
    )
    return FamilyRows(spec, samples, customers, features, files / f"{spec.family}.rejected")


def read_samples(
    spec: Spec, spec_file: Path, data: Path | None, status: Path | None, console: Console
) -> tuple[Spec, Samples, pd.DataFrame]:
    """Read the table or the transaction log of a family, and show what was read.

    Returns:
        The spec, in which `features` lists every feature; the samples; and the customers of the feature file.
    """
    if spec.table is not None:
        reject_status(status)
        source = source_entry(spec.table, "table", spec_file.parent, data)
        spec, samples = read_table_samples(spec, source, spec_file.parent)
        customers = samples.rows
    else:
        sources = SourcePaths(spec_file.parent, data, status)
        spec = with_cut_dates(spec, sources, console.threads)
        samples, customers = read_log_samples(spec, sources, console.threads)
    console.info(samples.confirmation)
    console.print_table(column_table(samples.columns))
    console.print_table(waterfall_table(samples))
    return spec, samples, customers


def show_release(rows: FamilyRows, release: Release, console: Console) -> None:
    """Write the feature file of a released model, and show its quality and its release gates."""
    write_feature_file(rows.features, rows.spec.family, read_bundle(release.folder).schema, rows.customers)
    console.print_table(quality_table(release.evaluation))
    if release.evaluation.campaign is not None:
        console.print_table(campaign_table(release.evaluation.campaign))
    console.print_table(gates_table(release.gate_results))
    for line in summary_lines(release.evaluation, rows.spec.accept_behind):
        console.info(line)
    console.info(f"wrote the features of {len(rows.customers):,} customers: {rows.features}")
    console.info(f"wrote the bundle: {release.folder}")
    console.info(f"to serve it, run: python -m server activate {release.folder.name[:12]}")
