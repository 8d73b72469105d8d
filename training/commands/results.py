"""The command `results`."""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from training.commands.pages import write_page
from training.console import Console
from training.errors import DataInvalid, SpecInvalid
from training.report.markup import interval_text, percent, percent_interval_text
from training.results.contacts import read_contacts, unmatched_contacts
from training.results.document import results_document
from training.results.measurement import CampaignResult, Results, measure_results
from training.results.observed_churn import ObservedRun, check_distinct_runs, observe_churn
from training.results.page import results_page
from training.results.run_file import CustomerKey, RunFile, read_run_file
from training.results.run_spec import spec_of_runs
from training.results.statement import cautions, market_problems, statement
from training.scoring.campaign import read_key_accounts
from training.sources.transaction_log import SourcePaths, open_transaction_log, temporary_database
from training.spec import Spec, read_spec, spec_digest


def show_results(
    spec_file: Path,
    run_files: Sequence[Path],
    bundles: Path,
    data: Path | None,
    status: Path | None,
    key_accounts: Sequence[Path],
    contacted: Path | None,
    html: Path | None,
    *,
    as_json: bool,
    threads: int,
    on: dt.date | None,
) -> None:
    """Compare runs with what happened, print the results, and write the page if `html` is set."""
    console = Console(threads)
    notes: list[str] = []
    spec, runs = read_spec(spec_file, on), [read_run_file(path) for path in run_files]
    check_distinct_runs(runs)
    spec = spec_of_runs(spec, spec_digest(spec_file), runs, bundles, notes.append)
    notes += _fitted_on(spec, runs)
    keys = _read_key_accounts(spec, spec_file, runs, key_accounts)
    contacts = None if contacted is None else read_contacts(contacted)
    assert spec.log is not None
    sources = SourcePaths(spec_file.parent, data, status)
    with open_transaction_log(spec.log, spec.status, sources, threads, aliases=spec.aliases) as log:
        if not as_json:
            console.info(log.confirmation)
        observed = [observe_churn(run, keys[run.manifest.key_accounts_sha256], log, spec) for run in runs]
    _require_outcomes(spec, observed)
    if contacts is not None and (unmatched := unmatched_contacts(observed, contacts)):
        notes.append(
            f"contacts that belong to no run, by their customer, campaign or day, and count nowhere: {unmatched:,}"
        )
    results = measure_results(observed, contacts)
    if html is not None:
        write_page("--html", html, results_page(spec, results, log, notes))
    if as_json:
        print(json.dumps(results_document(spec, results, log, notes), indent=2))  # noqa: T201 - the command line
        return
    _print_results(console, results, notes)
    if html is not None:
        console.info(f"wrote the page: {html}")


def _fitted_on(spec: Spec, runs: Sequence[RunFile]) -> list[str]:
    """Return a sentence for each run whose outcomes the model of the spec was fitted or calibrated on."""
    assert spec.snapshots is not None
    cuts = {*spec.snapshots.fit, *spec.snapshots.calibration}
    return [
        f"run {run.as_of}: the spec fits or calibrates the model on the outcomes of this day, so the run shows the model at its best"
        for run in runs
        if run.as_of in cuts
    ]


def _read_key_accounts(
    spec: Spec, spec_file: Path, runs: Sequence[RunFile], others: Sequence[Path]
) -> dict[str, set[CustomerKey]]:
    """Return the key accounts of each file that a run was scored with, by the SHA-256 of the file.

    Raises:
        SpecInvalid: The file of a run is missing.
    """
    own = [spec_file.parent / spec.campaign.key_accounts] if spec.campaign.key_accounts else []
    found: dict[str, set[CustomerKey]] = {"": set()}
    needed = {run.manifest.key_accounts_sha256 for run in runs} - {""}
    for path in (*own, *others) if needed else ():
        with temporary_database(1) as connection:
            digest = read_key_accounts(connection, path)
            rows = connection.execute("SELECT market, customer_id FROM key_accounts").fetchall()
            found[digest] = {(market, customer) for market, customer in rows}
    if missing := [run for run in runs if run.manifest.key_accounts_sha256 not in found]:
        listed = ", ".join(str(run.path) for run in missing)
        raise SpecInvalid(
            f"{listed}: the file of key accounts (campaign.key_accounts) has changed since the run, so the customers who are no part of "
            "the experiment are unknown; name the file of that time with --key-accounts"
        )
    return found


def _require_outcomes(spec: Spec, observed: Sequence[ObservedRun]) -> None:
    """Raise DataInvalid if no run has a known outcome."""
    if any(not one.rows.empty for one in observed):
        return
    problems = [line for one in observed for line in market_problems(one)]
    until = spec.log.until if spec.log else None
    hint = f"; log.until = {until} excludes later lines" if until else ""
    raise DataInvalid(
        "\n".join(["no run has a known outcome:", *(problems or ["no customer has a prediction"])])
        + f"\nuse a transaction log that covers the horizon (--data){hint}"
    )


def _print_results(console: Console, results: Results, notes: Sequence[str]) -> None:
    """Print the statement, the months and the effects."""
    for line in (*statement(results), *cautions(results), *notes):
        console.info(line)
    months = Table(title="Months", title_justify="left")
    for name in ("month", "market", "predictions", "expected", "left", "95 % interval"):
        months.add_column(name, justify="left" if name in {"month", "market"} else "right")
    for month in results.months:
        rate, interval = month.total, percent_interval_text(month.total.observed.low, month.total.observed.high)
        figures = (f"{rate.predictions:,}", percent(rate.mean_pd), percent(rate.observed.value), interval)
        months.add_row(month.month, month.market, *figures)
    console.print_table(months)
    for campaign in results.campaigns:
        console.print_table(_effect_table(campaign))


def _effect_table(campaign: CampaignResult) -> Table:
    """Return the table of the effect of a campaign on groups of its customers."""
    table = Table(title=f"Effect of the campaign {campaign.name!r}", title_justify="left")
    table.add_column("customers")
    for name in ("left, hold-out", "left, others", "retained of 100", "95 % interval", "detectable from"):
        table.add_column(name, justify="right")
    for one in campaign.effects:
        groups = [f"{each.churned:,} of {each.predictions:,}" if each else "-" for each in (one.hold_out, one.others)]
        effect = ("-", "-", "-")
        if one.effect is not None and one.detectable is not None:
            interval = interval_text(100 * one.effect.low, 100 * one.effect.high, 1)
            effect = (f"{100 * one.effect.value:.1f}", interval, f"{100 * one.detectable:.1f}")
        table.add_row(one.name, *groups, *effect)
    return table
