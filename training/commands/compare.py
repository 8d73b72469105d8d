"""The command `compare`."""

import datetime as dt
from pathlib import Path

from models.bundle import read_bundle
from models.catalog import find_bundle
from training.commands.pages import write_page
from training.commands.release_steps import read_samples
from training.console import Console
from training.cycle.comparison import compare_bundles
from training.cycle.digest import digest_page
from training.cycle.steps import CycleFindings
from training.spec import read_spec


def compare_two_bundles(
    spec_file: Path,
    champion: str,
    candidate: str,
    bundles: Path,
    data: Path | None,
    status: Path | None,
    to: Path | None,
    threads: int,
    on: dt.date | None,
) -> None:
    """Compare two bundles on the hold-out of the data, print the figures, and write the page if `to` is set."""
    console, spec = Console(threads), read_spec(spec_file, on)
    one, other = (read_bundle(find_bundle(bundles, name)) for name in (champion, candidate))
    spec, samples, _ = read_samples(spec, spec_file, data, status, console)
    cut_off = spec.reference_policy.approve_max_pd if spec.reference_policy else None
    comparison = compare_bundles(samples, other, one, approve_max_pd=cut_off)
    facts = comparison.facts()
    console.info(comparison.verdict())
    console.info(
        f"{facts['rows']:,} hold-out rows, {facts['bads']:,} of them bad; a grade changes in {facts['grade_changes']:.1%}"
    )
    for name, cell in facts["swap"].items():
        rate = "" if cell["bad_rate"] is None else f", bad rate {cell['bad_rate']:.1%}"
        console.info(f"{name.replace('_', ' ')}: {cell['rows']:,} rows{rate}")
    if to is not None:
        findings = CycleFindings(sentence=f"{comparison.verdict()}.", comparisons=[facts])
        day = on or dt.datetime.now(dt.UTC).date()
        write_page("--to", to, digest_page(spec.title, day, findings))
        console.info(f"wrote the page: {to}")
