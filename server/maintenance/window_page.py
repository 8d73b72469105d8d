"""The result of a replayed window as one HTML page to print and read. The page loads nothing and runs no script."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from grounds_record.printable_text import escape_text
from server.maintenance.window_report import NOTICE, report_tables, summary_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #d5dae1; text-align: left; }
td { text-align: right; } tr > :first-child { text-align: left; }
.notice { background: #fff6dc; padding: .6rem 1rem; }
@media print { body { margin: 0; max-width: none; } }
"""


def render_page(document: Mapping[str, Any]) -> str:
    """Return the page of a report document."""
    candidate = document["candidate"]
    tried = " and ".join(
        text
        for text in (
            f"policy {candidate['policy_version']} ({candidate['policy_sha256'][:12]})"
            if candidate["policy_sha256"]
            else "",
            f"bundle {candidate['bundle_id'][:12]}" if candidate["bundle_id"] else "",
        )
        if text
    )
    left_out = [[each["reason"], f"{each['decisions']:,}"] for each in document["left_out"]]
    parts = [
        f"<h1>{_text(tried)} on recorded decisions</h1>",
        f"<p>{_text(summary_text(document))}.</p>",
        f'<p class="notice">{_text(NOTICE)}</p>',
        *(_table(title, head, rows) for title, head, rows in report_tables(document)),
        _table("Decisions that were not replayed", ["reason", "decisions"], left_out) if left_out else "",
    ]
    title = f"<title>{_text(tried)}</title>"
    head = f'<meta charset="utf-8">{title}<style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with its heading; a sentence if it has no rows."""
    if not rows:
        return f"<h2>{_text(title)}</h2><p>None.</p>"
    top = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{_text(row[0])}</th>{"".join(f"<td>{_text(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f"<h2>{_text(title)}</h2><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    """Return a text from outside with HTML and hidden characters escaped."""
    return escape(escape_text(text))
