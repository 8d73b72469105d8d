"""The page of a cycle for people: what happened and why, in the first sentence, and the figures behind it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from training.cycle.steps import CycleFindings
from training.report.markup import escape, interval_text, paragraph, percent, section, table, whole_page

_CHECKS_SHOWN = 20


def digest_page(title: str, on: dt.date, findings: CycleFindings) -> str:
    """Return the page as HTML; equal arguments lead to equal bytes.

    Args:
        title: Title of the model family.
        on: The day of the cycle.
        findings: What the cycle found.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        paragraph(f"Cycle of {on}. {findings.sentence}", "lead"),
        section("Steps", table("Steps", "What each step did.", ("step", "result"), findings.steps)),
        *(_comparison_section(each) for each in findings.comparisons),
        *_check_section(findings.checks),
    ]
    return whole_page(f"{title}: cycle of {on}", "".join(parts))


def _comparison_section(found: dict[str, Any]) -> str:
    """Return the section about the comparison with one bundle, from the facts of the comparison."""
    lead, rise = found["auc_lead"], found["log_loss_rise"]
    rows = [
        ("AUC of the serving bundle", f"{found['auc'][0]:.4f}", ""),
        ("AUC of the candidate", f"{found['auc'][1]:.4f}", ""),
        ("difference of the AUC", f"{lead[0]:+.4f}", interval_text(lead[1], lead[2])),
        ("rise of the log loss", f"{rise[0]:+.4f}", interval_text(rise[1], rise[2])),
        ("mean change of a probability", percent(found["pd_change"], 2), ""),
        ("rows whose grade changes", percent(found["grade_changes"]), ""),
    ]
    names = {"swapped_in": "newly approved", "swapped_out": "no longer approved"}
    for name, cell in found["swap"].items():
        rate = "" if cell["bad_rate"] is None else f", of which bad {percent(cell['bad_rate'])}"
        rows.append((names[name], f"{cell['rows']:,}{rate}", ""))
    return section(
        f"Against bundle {found['champion_id'][:12]}",
        paragraph(found["verdict"][:1].upper() + found["verdict"][1:] + "."),
        table(
            "Both models on the same rows",
            f"{found['rows']:,} hold-out rows, {found['bads']:,} of them bad. Intervals contain the true value in 95 % of samples.",
            ("figure", "value", "interval"),
            rows,
        ),
    )


def _check_section(checks: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the section about the data checks, those nearest to their limits first."""
    if not checks:
        return
    ordered = sorted(checks, key=lambda check: check["limit"] - check["value"])
    ordered.sort(key=lambda check: check["is_passed"])
    rows = [
        (
            each["subject"],
            each["figure"],
            f"{each['value']:.4g}",
            f"{each['limit']:.4g}",
            "" if each["is_passed"] else "failed",
        )
        for each in ordered[:_CHECKS_SHOWN]
    ]
    shown = f"The {len(rows)} of {len(checks)} checks that failed or are nearest to their limits."
    head = ("subject", "figure", "value", "at most", "")
    yield section("Data", table("Data checks", shown, head, rows))
