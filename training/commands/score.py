"""The command `score`."""

import datetime as dt
from pathlib import Path

from models.isolation.processes import check_bundle
from models.model import open_model
from training.console import Console
from training.errors import SpecInvalid
from training.scoring.bundle_selection import check_compatible, select_bundle, select_decline_bundle
from training.scoring.scoring_run import RunOptions, score_feature_file, score_transaction_log
from training.sources.snapshots import with_recorded_rules
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest


def score_customers(
    spec_file: Path,
    at: dt.datetime | None,
    bundles: Path,
    features: Path | None,
    to: Path | None,
    data: Path | None,
    status: Path | None,
    suppress: Path | None,
    bundle: str | None,
    decline: str | None,
    threads: int,
    on: dt.date | None = None,
) -> None:
    """Score all customers with a bundle, and write a run file for `python -m server load`.

    The customers are read from the transaction log as of a date (--at), or from a feature file.
    """
    console = Console(threads)
    spec = read_spec(spec_file, on)
    if at is None and (data is not None or status is not None):
        raise SpecInvalid(
            "--data and --status require --at, because without --at a feature file is scored; add --at, or remove them"
        )
    digest = spec_digest(spec_file)
    chosen, second = select_bundle(bundles, spec.family, bundle), select_decline_bundle(bundles, spec.family, decline)
    spec = with_recorded_rules(spec, chosen.manifest.made_from)
    for candidate in (chosen, second):
        if candidate is not None:
            check_compatible(spec, digest, candidate, console.info)
            check_bundle(candidate)  # in a process with limits, because the bundle need not be active
    model = open_model(chosen)
    run = to or Path("files") / f"{spec.family}.run.parquet"
    options = RunOptions(
        decline=open_model(second) if second else None,
        key_accounts=spec_file.parent / spec.campaign.key_accounts if spec.campaign.key_accounts else None,
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
        raise SpecInvalid(
            f"{spec_file}: --at requires a spec with a [log], and cannot be combined with --features; remove one of them"
        )
    else:
        sources = SourcePaths(spec_file.parent, data, status)
        count = score_transaction_log(spec, model, sources, at.date(), run, options)
    console.info(f"wrote the scoring run of {count:,} customers: {run}")
