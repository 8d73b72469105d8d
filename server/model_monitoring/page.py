"""The result of `watch` as one HTML page to print and read. The page loads nothing and runs no script."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from grounds_record.printable_text import escape_text
from server.model_monitoring.decision_rates import CUSTOMERS_MIN
from server.model_monitoring.document import (
    FOUND,
    Document,
    finding_texts,
    left_out_texts,
    past_finding_texts,
    problem_texts,
    rows_of_newest_bundles,
)
from server.model_monitoring.drift import BOUNDS_TEXT
from server.model_monitoring.plots import PlotLine, PlotPoint, month_plot
from server.model_monitoring.vintages import METHOD_TEXT

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #d5dae1; text-align: right; white-space: nowrap; }
tr > :first-child { text-align: left; } td.alarm { background: #f6c7b0; font-weight: 600; } td.none { color: #6b7280; }
.found { background: #fde8df; padding: .6rem 1rem; } .nothing { background: #e3f3ec; padding: .6rem 1rem; }
.notice { background: #fff6dc; padding: .6rem 1rem; } svg { max-width: 40rem; display: block; } svg text { font-size: 10px; }
@media print { body { margin: 0; max-width: none; } }
"""
_NOTHING = "-"
Cell = tuple[str, str]  # text, class


def render_page(document: Document) -> str:
    """Return the page of a document of `watch`."""
    window = document["window"]
    title = f"Models in service, {window['from']} to {window['to']}"
    months = sorted({each["month"] for each in document["decisions"]})
    markets = sorted({each["market"] for each in document["decisions"]})
    parts = [
        f"<h1>{_text(title)}</h1>",
        *_verdict_parts(document),
        *(part for market in markets for part in _market_parts(document, market, months)),
        "<h2>How to read this page</h2>",
        *(f"<p>{_text(text)}</p>" for text in (*_method_texts(document), document["notice"])),
    ]
    head = f'<meta charset="utf-8"><title>{_text(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _verdict_parts(document: Document) -> Iterable[str]:
    """Yield the verdict, the worst findings, those of the past, and what could not be read or judged."""
    kind = "found" if document["verdict"] == FOUND else "nothing"
    findings = "".join(f"<li>{_text(text)}</li>" for text in finding_texts(document))
    yield f'<div class="{kind}"><p><strong>{_text(document["summary"])}</strong></p>'
    yield f"<ol>{findings}</ol></div>" if findings else "</div>"
    left_out = [f"Not read: {text}" for text in left_out_texts(document)]
    if notes := [*past_finding_texts(document), *left_out, *problem_texts(document)]:
        yield f'<ul class="notice">{"".join(f"<li>{_text(text)}</li>" for text in notes)}</ul>'


def _method_texts(document: Document) -> tuple[str, ...]:
    """Return how the tests were made, with their rates."""
    tests, window = document["tests"], document["window"]
    drift, vintages = tests["drift"], tests["vintages"]
    rates = (
        f"If nothing has changed, at most {tests['false_alarm_rate']:.1%} of such pages name anything. Each kind of test has "
        f"one half of this rate, divided by the number of tests (Bonferroni): {drift['tests']:,} tests of distributions at "
        f"{drift['rate_of_each']:.2g} each, {vintages['tests']:,} tests of vintages at {vintages['rate_of_each']:.2g} each."
    )
    outcomes = (
        f"A default counts within {window['outcome_months']} months after the decision. Outcomes are those that were recorded "
        f"before {window['as_of'][:16]} UTC."
    )
    few = f"With fewer than {CUSTOMERS_MIN} customers in a month, only the number of decisions is shown."
    return rates, few, BOUNDS_TEXT, METHOD_TEXT, outcomes


def _market_parts(document: Document, market: str, months: Sequence[str]) -> Iterable[str]:
    """Yield the plots and tables of a market."""
    rows = {name: _of_market(document[name], market) for name in ("decisions", "drift", "vintages", "estimates")}
    yield f"<h2>{_text(market)}</h2>"
    yield "<h3>Decisions</h3>"
    yield _rates_plot(rows["decisions"], market, months)
    yield _rates_table(rows["decisions"])
    yield "<h3>Drift: PSI of each input and of the log-odds against the population of the training</h3>"
    yield _drift_table(rows["drift"], months)
    yield "<h3>Values in the newest month</h3>"
    yield _values_table(rows["drift"])
    yield "<h3>Vintages: expected and observed defaults of booked credits</h3>"
    yield _vintage_plot(_of_market(rows_of_newest_bundles(document, "vintages"), market), market, months)
    yield _vintage_table(rows["vintages"])
    yield "<h3>By grade, in judged vintages</h3>"
    yield _grade_table(rows["vintages"])
    yield "<h3>ESTIMATED performance, before outcomes are known</h3>"
    yield _estimate_table(rows["estimates"])


def _of_market(rows: Iterable[Document], market: str) -> list[Document]:
    """Return the rows of a market, in ascending order of the month."""
    return sorted((each for each in rows if each["market"] == market), key=lambda each: str(each["month"]))


def _rates_plot(rows: Sequence[Document], market: str, months: Sequence[str]) -> str:
    """Return the plot of the rates of decisions."""
    by_month = {each["month"]: each for each in rows}
    lines = [
        PlotLine(label, [_point(by_month.get(month, {}).get(name)) for month in months])
        for name, label in (("approval", "approved"), ("referral", "referred to a person"), ("override", "overridden"))
    ]
    return month_plot(f"{market}: shares of decisions by month, with 95 % intervals", months, lines)


def _vintage_plot(rows: Sequence[Document], market: str, months: Sequence[str]) -> str:
    """Return the plot of expected and observed defaults, of the bundle of the newest decision of each month."""
    by_month = {each["month"]: each for each in rows}
    expected = [by_month.get(month, {}).get("expected_rate") for month in months]
    lines = [
        PlotLine("expected", [None if rate is None else PlotPoint(rate, rate, rate) for rate in expected]),
        PlotLine("observed", [_point(by_month.get(month, {}).get("observed_rate")) for month in months]),
    ]
    return month_plot(f"{market}: share of defaults by vintage, with 95 % intervals", months, lines)


def _point(interval: Mapping[str, float] | None) -> PlotPoint | None:
    """Return the point of an interval."""
    return None if interval is None else PlotPoint(interval["value"], interval["low"], interval["high"])


def _rates_table(rows: Sequence[Document]) -> str:
    """Return the rates and the counts of decisions by month."""
    outcomes = sorted({name for each in rows for name in each["outcomes"]})
    grades = sorted({name for each in rows for name in each["grades"]})
    head = ["month", "decisions", "approved", "referred", "overridden", *outcomes]
    head += [f"grade {grade}" if grade else "no grade" for grade in grades]
    return _table(
        head,
        [
            [
                _cell(each["month"]),
                _cell(f"{each['decisions']:,}"),
                *(_cell(_interval(each[name])) for name in ("approval", "referral", "override")),
                *(_cell(_group_count(each, "outcomes", name)) for name in outcomes),
                *(_cell(_group_count(each, "grades", name)) for name in grades),
            ]
            for each in rows
        ],
    )


def _group_count(row: Document, groups: str, name: str) -> str:
    """Return the number of decisions of a group; a dash if there are too few customers to count by group."""
    return f"{row[groups].get(name, 0):,}" if row["approval"] else _NOTHING


def _drift_table(rows: Sequence[Document], months: Sequence[str]) -> str:
    """Return the PSI of every series and month."""
    found: dict[tuple[str, str], dict[str, Document]] = {}
    for each in rows:
        found.setdefault((each["bundle_id"], each["series"]), {})[each["month"]] = each
    body = []
    for (bundle_id, series), by_month in found.items():
        name = _with_bundle(series, bundle_id, rows)
        body.append([_cell(name), *(_psi_cell(by_month.get(month)) for month in months)])
    return _table(["input", *months], body)


def _with_bundle(text: str, bundle_id: str, rows: Iterable[Document]) -> str:
    """Return a text with the start of the bundle's id if the rows are of several bundles."""
    return text if len({each["bundle_id"] for each in rows}) == 1 else f"{text} ({bundle_id[:8]})"


def _psi_cell(each: Document | None) -> Cell:
    """Return the cell of one series and month."""
    if each is None or each["psi"] is None:
        words = {"TOO_FEW_ROWS": "few", "NO_POPULATION": "none", "NOT_COMPARABLE": "one bin"}
        return ("", "none") if each is None else (words.get(each["verdict"], _NOTHING), "none")
    return f"{each['psi']:.2f}", "alarm" if each["verdict"] == "DRIFT" else ""


def _values_table(rows: Sequence[Document]) -> str:
    """Return missing, unseen and out-of-range shares and the age of every input in the newest month."""
    newest = max((each["month"] for each in rows), default="")
    rows = [each for each in rows if each["month"] == newest]
    return _table(
        ["input", "customers", "PSI", "limit", "missing", "in training", "unseen level", "out of range", "age, days"],
        [
            [
                _cell(_with_bundle(each["series"], each["bundle_id"], rows)),
                _cell(f"{each['customers']:,}"),
                _psi_cell(each),
                _cell(_figure(each["critical"], "{:.2f}")),
                *(
                    _cell(_figure(each[name], "{:.1%}"))
                    for name in ("missing_share", "population_missing_share", "unseen_share", "outside_share")
                ),
                _cell(_figure(each["age_days"], "{:.0f}")),
            ]
            for each in rows
        ],
    )


def _vintage_table(rows: Sequence[Document]) -> str:
    """Return the vintages."""
    head = [
        "vintage",
        "approved",
        "booked",
        "defaults",
        "customers",
        "expected",
        "observed",
        "Gini",
        "expected Gini",
        "slope",
        "judged",
    ]
    return _table(
        head,
        [
            [
                _cell(_with_bundle(each["month"], each["bundle_id"], rows)),
                _cell(f"{each['approved']:,}"),
                _cell(f"{each['booked']:,}"),
                _cell(_figure(each["defaults"], "{:,}")),
                _cell(f"{each['customers']:,}"),
                _cell(_figure(each["expected_rate"], "{:.1%}")),
                (_interval(each["observed_rate"]), "alarm" if each["verdict"] == "CHANGED" else ""),
                _cell(_interval(each["gini"])),
                _cell(_figure(each["expected_gini"], "{:.1%}")),
                _cell(_figure(each["slope"], "{:.2f}")),
                _cell(_judged_text(each)),
            ]
            for each in rows
        ],
    )


def _judged_text(vintage: Document) -> str:
    """Return whether a vintage is judged, and if not, why."""
    words = {
        "IMMATURE": f"from {vintage['judged_from']}",
        "TOO_FEW_ROWS": "too few customers",
        "NO_POPULATION": "bundle without population",
        "CHANGED": "changed",
    }
    return words.get(vintage["verdict"], "yes")


def _grade_table(rows: Sequence[Document]) -> str:
    """Return expected and observed defaults by vintage and grade."""
    return _table(
        ["vintage", "grade", "booked", "defaults", "customers", "expected", "observed"],
        [
            [
                _cell(_with_bundle(each["month"], each["bundle_id"], rows)),
                _cell(grade["grade"]),
                _cell(f"{grade['booked']:,}"),
                _cell(f"{grade['defaults']:,}"),
                _cell(f"{grade['customers']:,}"),
                _cell(_figure(grade["expected_rate"], "{:.1%}")),
                _cell(_interval(grade["observed_rate"])),
            ]
            for each in rows
            for grade in each["grades"]
        ],
    )


def _estimate_table(rows: Sequence[Document]) -> str:
    """Return the estimates from the pds."""
    return _table(
        ["month", "scored", "estimated default rate", "estimated Gini"],
        [
            [
                _cell(_with_bundle(each["month"], each["bundle_id"], rows)),
                _cell(f"{each['scored']:,}"),
                _cell(_interval(each["default_rate"])),
                _cell(_figure(each["gini"], "{:.1%}")),
            ]
            for each in rows
        ],
    )


def _cell(text: str) -> Cell:
    """Return a cell without a mark."""
    return text, ""


def _figure(value: float | None, form: str) -> str:
    """Return a figure, or a dash if nothing is said."""
    return _NOTHING if value is None else form.format(value)


def _interval(interval: Mapping[str, float] | None) -> str:
    """Return a share with its interval, or a dash if nothing is said."""
    if interval is None:
        return _NOTHING
    return f"{interval['value']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table; a sentence if it has no rows."""
    if not rows:
        return "<p>None.</p>"
    top = "".join(f'<th scope="col">{_text(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{_text(row[0][0])}</th>'
        + "".join(
            f'<td class="{mark}">{_text(text)}</td>' if mark else f"<td>{_text(text)}</td>" for text, mark in row[1:]
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(text: str) -> str:
    """Return a text from outside with HTML and hidden characters escaped."""
    return escape(escape_text(text))
