"""The command `features`."""

import datetime as dt
import os
from pathlib import Path

from training.commands.sources import reject_status
from training.console import Console
from training.errors import SpecInvalid
from training.scoring.bundle_selection import check_compatible, select_bundle
from training.scoring.feature_file import check_replaceable, write_feature_file
from training.sources.reader.column_summary import column_table
from training.sources.snapshots import read_log_customers, with_recorded_rules
from training.sources.spec_columns import source_entry
from training.sources.table import read_table_customers
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest

_CORES = os.cpu_count() or 1


def write_features(
    spec_file: Path,
    at: dt.datetime | None,
    bundles: Path,
    to: Path | None,
    data: Path | None,
    status: Path | None,
    bundle: str | None,
) -> None:
    """Write a feature file with the features that a bundle uses, for `python -m server load`, without fitting a model."""
    console = Console(1)
    spec = read_spec(spec_file)
    chosen = select_bundle(bundles, spec.family, bundle)
    spec = with_recorded_rules(spec, chosen.manifest.made_from)
    check_compatible(spec, spec_digest(spec_file), chosen, console.info)
    day = at.date() if at else None
    if spec.table is not None:
        reject_status(status)
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
