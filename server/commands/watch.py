"""`watch`: look for drift and for changes of the default rate in what was served."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from server.commands.options import AsJson, Config, HtmlFile, Market, Purpose, open_record_log
from server.commands.output import print_json, print_line
from server.config import read_settings

_STATUS = {"NOTHING_FOUND": 0, "FOUND": 4, "PARTLY_JUDGED": 5, "NOTHING_JUDGED": 5}  # exit status by verdict
_Months = Annotated[int, typer.Option(min=1, max=120, help="The last complete months to read.")]
_Outcome = Annotated[
    int, typer.Option(min=1, max=60, help="Months after a decision in which a default counts, as in training.")
]
_Rate = Annotated[
    float,
    typer.Option(min=1e-6, max=0.5, help="Largest share of windows without any change in which something is named."),
]
_SmallMarkets = Annotated[
    list[str] | None,
    typer.Option(
        "--small-market",
        metavar="XX",
        help="A market that is expected to have too few customers to be judged; it does not lead to exit status 5. Repeat it.",
    ),
]
_AsOf = Annotated[
    dt.datetime | None,
    typer.Option(help="Look at the records as they were known at this time, UTC. Default: now."),
]
_Figures = Annotated[
    Path | None,
    typer.Option(metavar="FILE.prom", help="Write figures for alerts, for the node exporter of Prometheus."),
]


def watch(
    purpose: Purpose,
    months: _Months = 24,
    outcome_months: _Outcome = 12,
    false_alarm_rate: _Rate = 0.05,
    market: Market = "",
    small_market: _SmallMarkets = None,
    as_of: _AsOf = None,
    html: HtmlFile = None,
    figures: _Figures = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Name drifts and changes of the default rate in the recorded decisions of the last months, worst first.

    The exit status is 0 if nothing is found, 4 if a model that serves has changed, and 5 if a market could not
    be judged and nothing is found in the others. A --small-market counts as judged if too few customers are the
    only reason, unless no other market was judged.

    The record log records once that you read the window, with your account and the purpose.
    """
    from server.maintenance.erasure import check_reason
    from server.model_monitoring.alert_figures import write_figures
    from server.model_monitoring.document import watch_document
    from server.model_monitoring.months import last_complete_months
    from server.model_monitoring.page import render_page
    from server.model_monitoring.recorded_window import read_window
    from server.model_monitoring.review import WatchOptions, review_window
    from server.registry.change_origin import operator_account
    from server.stores.clock import utc_now
    from server.stores.record_log.decision_index import DecisionQuery

    settings, now = read_settings(config), utc_now()
    check_reason(purpose, None, "--purpose")
    known = now if as_of is None else _as_utc(as_of)
    if known > now:
        raise typer.BadParameter("--as-of must not be in the future")
    start, end = last_complete_months(known, months)
    query = DecisionQuery(start=start, end=end, market=market)
    with open_record_log(settings) as log:
        window = read_window(log, query, known, purpose=purpose, operator=operator_account(), at=now)
    options = WatchOptions(outcome_months, false_alarm_rate, market, tuple(small_market or ()))
    document = watch_document(review_window(window, settings.bundles, options))
    if html is not None:
        _write_page(html, render_page(document))
    if figures is not None:
        write_figures(figures, document, now)
    _print(document, as_json=as_json)
    raise typer.Exit(_STATUS[document["verdict"]])


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    """Print the document, or its summary."""
    from server.model_monitoring.document import summary_lines

    if as_json:
        print_json(document)
        return
    for line in summary_lines(document):
        print_line(line)


def _write_page(path: Path, text: str) -> None:
    """Write a page that only this account can read, because it is about recorded decisions."""
    from grounds_record.private_files import replace_file

    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _as_utc(time: dt.datetime) -> dt.datetime:
    """Return a time in UTC. A time without a time zone is in UTC."""
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
