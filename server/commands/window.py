"""`replay-window`: try a policy or a bundle on the recorded decisions of a window."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.options import AsJson, Config, HtmlFile, Market, Purpose, open_record_log
from server.commands.output import print_json, print_line
from server.config import Settings, read_settings

if TYPE_CHECKING:  # at run time, the command imports the stores only when it runs
    from server.maintenance.window_replay import Candidate


_From = Annotated[dt.datetime, typer.Option("--from", help="Decided at or after this time, UTC.")]
_To = Annotated[dt.datetime, typer.Option("--to", help="Decided before this time, UTC.")]
_Policy = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The policy to try. Default: the recorded policy of each decision."),
]
_Bundle = Annotated[
    str,
    typer.Option(
        metavar="BUNDLE_ID",
        help="The credit bundle to try, or 8 or more characters of its id. Default: the recorded bundle of each decision.",
    ),
]
_Day = Annotated[
    dt.datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"],
        help="Use the policy sections of this day, for a policy that begins later. Default: the day of each decision.",
    ),
]
_Decisions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write both answers to each decision as JSON lines, without customer numbers."),
]


def replay_window(
    start: _From,
    end: _To,
    purpose: Purpose,
    policy: _Policy = None,
    bundle: _Bundle = "",
    market: Market = "",
    day: _Day = None,
    html: HtmlFile = None,
    decisions: _Decisions = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Replay the recorded decisions of a window with another policy or bundle, and compare. No decision is made.

    The record log records once that you read the window, with your account and the purpose.
    """
    from models.isolation.processes import GraphProcesses
    from server.decisions.window_comparison import compare_window
    from server.maintenance.window_page import render_page
    from server.maintenance.window_replay import WindowReplayer
    from server.maintenance.window_report import decision_line, report_document, report_lines
    from server.registry.change_origin import operator_account
    from server.registry.model_registry import CREDIT_FAMILY
    from server.stores.catalog.bundle_cache import BundleCache
    from server.stores.clock import utc_now
    from server.stores.record_log.decision_index import DecisionQuery

    settings = read_settings(config)
    _check_options(purpose, policy, bundle, start, end)
    window = DecisionQuery(start=_as_utc(start), end=_as_utc(end), market=market)
    candidate = _read_candidate(settings, policy, bundle, day)
    with open_record_log(settings) as log, GraphProcesses() as processes:
        replayer = WindowReplayer(log, BundleCache(settings.bundles, CREDIT_FAMILY, processes), candidate)
        compared = list(replayer.replay(window, purpose, operator_account(), utc_now()))
    document = report_document(compare_window(compared), replayer.counts, candidate, window)
    if html is not None:
        _write(html, render_page(document))
    if decisions is not None:
        _write(decisions, "".join(map(decision_line, compared)))
    if as_json:
        print_json(document)
    else:
        for line in report_lines(document):
            print_line(line)


def _write(path: Path, text: str) -> None:
    """Write a file that only this account can read, because it is about recorded decisions."""
    from grounds_record.private_files import replace_file

    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_options(purpose: str, policy: Path | None, bundle: str, start: dt.datetime, end: dt.datetime) -> None:
    """Check the options.

    Raises:
        typer.BadParameter: There is nothing to try, or the window is empty.
        ErasureRefused: The purpose is empty, too long, or has hidden characters.
    """
    from server.maintenance.erasure import check_reason

    check_reason(purpose, None, "--purpose")
    if policy is None and not bundle:
        raise typer.BadParameter("specify a policy to try with --policy, a bundle with --bundle, or both")
    if end <= start:
        raise typer.BadParameter("--to must be after --from")


def _as_utc(time: dt.datetime) -> dt.datetime:
    """Return a time with a time zone. A time without one is in UTC."""
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _read_candidate(settings: Settings, policy: Path | None, bundle: str, day: dt.datetime | None) -> "Candidate":
    """Read the candidate's policy, and find its bundle.

    Raises:
        PolicyRefused: The policy is invalid. It need not be complete or new, because it does not come into force.
        ActivationRejected: No bundle, or more than one, has this id.
    """
    from models.catalog import find_bundle
    from server.decisions.policy import read_policy
    from server.maintenance.window_replay import Candidate

    bundle_id = find_bundle(settings.bundles, bundle).name if bundle else ""
    return Candidate(read_policy(policy) if policy else None, bundle_id, day.date() if day else None)
