"""The result of a replayed window as a JSON document, and as lines of a terminal. The JSON keys are stable."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from server.decisions.policy import PolicyOutcome
from server.decisions.window_comparison import (
    AnswerTotals,
    ComparedDecision,
    PolicyAnswer,
    SwapTotals,
    TotalsPair,
    WindowComparison,
)
from server.maintenance.window_replay import Candidate, WindowCounts
from server.stores.record_log.decision_index import DecisionQuery

NOTICE = (
    "What the policy would have answered to the recorded applications. No decision was made, and overrides by persons are not "
    "compared. Applicants who would have behaved differently under the other policy are not visible in recorded decisions."
)
_NONE = "-"
Document = dict[str, Any]


def report_document(
    comparison: WindowComparison, counts: WindowCounts, candidate: Candidate, window: DecisionQuery
) -> Document:
    """Return the result of a window as a JSON document. Amounts are texts, because JSON has no decimals."""
    policy = candidate.policy
    return {
        "notice": NOTICE,
        "window": {
            "from": window.start.isoformat() if window.start else "",
            "to": window.end.isoformat() if window.end else "",
            "market": window.market,
        },
        "candidate": {
            "policy_version": policy.document.version if policy else "",
            "policy_sha256": policy.sha256 if policy else "",
            "bundle_id": candidate.bundle_id,
            "sections_of": candidate.day.isoformat() if candidate.day else "",
        },
        "decisions": counts.decisions,
        "replayed": counts.replayed,
        "erased_customers": counts.erased_customers,
        "left_out": [{"reason": reason, "decisions": count} for reason, count in sorted(counts.left_out.items())],
        "markets": [
            {"market": market, "currency": currency, **_pair(pair)}
            | {"changed_amounts": comparison.changed_amounts[market, currency]}
            for (market, currency), pair in sorted(comparison.markets.items())
        ],
        "grades": [
            {"market": market, "currency": currency, "grade": grade, **_pair(pair)}
            for (market, currency, grade), pair in sorted(comparison.grades.items())
        ],
        "swap_set": [
            {"market": market, "currency": currency, "before": before.name, "after": after.name, **_swap(swap)}
            for (market, currency, before, after), swap in sorted(comparison.swaps.items())
        ],
        "reasons": [
            {"market": market, "code": code, "before": before, "after": after}
            for (market, code), (before, after) in sorted(comparison.reasons.items())
        ],
    }


def decision_line(compared: ComparedDecision) -> str:
    """Return a decision with both answers as one line of JSON. The line names no customer."""
    document = {
        "decision_id": compared.decision_id,
        "market": compared.market,
        "currency": compared.currency,
        "requested": str(compared.requested),
        "before": _answer(compared.before),
        "after": _answer(compared.after),
    }
    return f"{json.dumps(document)}\n"


def report_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that the command prints: what was compared, and aligned tables."""
    yield summary_text(document)
    for each in document["left_out"]:
        yield f"  not replayed: {each['decisions']:,} ({each['reason']})"
    for title, head, rows in report_tables(document):
        yield ""
        yield title
        yield from _align_rows([head, *rows])
    yield ""
    yield NOTICE


def summary_text(document: Mapping[str, Any]) -> str:
    """Return a sentence about how many decisions were replayed."""
    erased = document["erased_customers"]
    customers = f"; {erased:,} customers were erased" if erased else ""
    window = document["window"]
    return (
        f"{document['replayed']:,} of {document['decisions']:,} decisions from {window['from']} to {window['to']} were replayed"
        f"{customers}"
    )


def report_tables(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield the tables of the report: title, head and rows."""
    head = ["decisions", "approved before", "after", "granted before", "after", "expected loss before", "after"]
    yield (
        "By market",
        ["market", *head],
        [[f"{each['market']} {each['currency']}", *_pair_cells(each)] for each in document["markets"]],
    )
    yield (
        "By market and grade",
        ["market", "grade", *head],
        [
            [f"{each['market']} {each['currency']}", each["grade"] or _NONE, *_pair_cells(each)]
            for each in document["grades"]
        ],
    )
    yield (
        "Swap set: decisions whose outcome changes",
        [
            "market",
            "before",
            "after",
            "decisions",
            "requested",
            "granted before",
            "after",
            "expected loss before",
            "after",
        ],
        [
            [f"{each['market']} {each['currency']}", each["before"], each["after"], f"{each['decisions']:,}"]
            + [_amount(each[name]) for name in ("requested", "granted_before", "granted_after")]
            + [_amount(each[name]) for name in ("expected_loss_before", "expected_loss_after")]
            for each in document["swap_set"]
        ],
    )
    yield (
        "Reasons: decisions that state them",
        ["market", "reason", "before", "after"],
        [[each["market"], each["code"], f"{each['before']:,}", f"{each['after']:,}"] for each in document["reasons"]],
    )


def _pair(pair: TotalsPair) -> Document:
    """Return the totals of a group."""
    return {"before": _totals(pair.before), "after": _totals(pair.after)}


def _totals(totals: AnswerTotals) -> Document:
    """Return totals."""
    return {
        "decisions": totals.count,
        "approved": totals.approved,
        "approval_rate": totals.approval_rate,
        "outcomes": {outcome.name: totals.outcomes[outcome] for outcome in PolicyOutcome if totals.outcomes[outcome]},
        "requested": str(totals.requested),
        "granted": str(totals.granted),
        "expected_loss": str(totals.expected_loss),
    }


def _swap(swap: SwapTotals) -> Document:
    """Return the totals of a swap."""
    return {
        "decisions": swap.count,
        "requested": str(swap.requested),
        "granted_before": str(swap.granted_before),
        "granted_after": str(swap.granted_after),
        "expected_loss_before": str(swap.loss_before),
        "expected_loss_after": str(swap.loss_after),
    }


def _answer(answer: PolicyAnswer) -> Document:
    """Return an answer."""
    return {
        "outcome": answer.outcome.name,
        "grade": answer.grade,
        "pd": answer.pd,
        "granted": str(answer.granted),
        "expected_loss": str(answer.expected_loss),
        "reasons": list(answer.reasons),
    }


def _pair_cells(each: Mapping[str, Any]) -> list[str]:
    """Return the cells of a group."""
    before, after = each["before"], each["after"]
    count = (
        f"{before['decisions']:,}"
        if before["decisions"] == after["decisions"]
        else (f"{before['decisions']:,} / {after['decisions']:,}")
    )
    return [
        count,
        *(f"{one['approval_rate']:.1%}" if one["decisions"] else _NONE for one in (before, after)),
        *(_amount(one["granted"]) for one in (before, after)),
        *(_amount(one["expected_loss"]) for one in (before, after)),
    ]


def _amount(text: str) -> str:
    """Return an amount with separators, for people."""
    return f"{Decimal(text):,.2f}"


def _align_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns. Columns of figures are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    is_figure = [
        all(row[column][:1].isdigit() or row[column] == _NONE for row in rows[1:]) and len(rows) > 1
        for column in range(len(widths))
    ]
    for row in rows:
        cells = zip(row, widths, is_figure, strict=True)
        yield "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip()
