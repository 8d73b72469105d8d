"""Writes the tables and plots of tests/bench/README.md from the newest results."""

import re
import statistics
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from tests.bench.explanation import EXPLAINED, SHAP
from tests.bench.stored_results import HISTORY, latest_results

README = HISTORY.parent / "README.md"
SCORE = "score"
_SERVER_TITLES = {
    "empty": "empty `grpc.aio` handler",
    "pred_contrib": "plain, LightGBM `predict` and `pred_contrib`",
    "shap": "plain, `shap` interventional, 100 background rows",
}


def renew_readme() -> None:
    """Write every block of the README between its markers, and the plots."""
    text = README.read_text(encoding="utf-8")
    blocks = {
        "explanation": explanation_block,
        "recourse": recourse_block,
        "serving": serving_block,
        "network": network_block,
        "record": record_block,
        "churn": churn_block,
        "feed": feed_block,
        "audit": audit_block,
        "console": console_block,
        "reading": reading_block,
        "checks": checks_block,
    }
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: measured -->", f"<!-- {name}: end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        assert pattern.search(text), f"{README}: has no block {name}"
        if not any(HISTORY.glob(f"*-{name}.json")):
            continue
        written = f"{begin}\n{block(latest_results(name))}\n{end}"
        text = pattern.sub(lambda _match, written=written: written, text)
    README.write_text(text, encoding="utf-8")


def network_block(found: dict[str, Any]) -> str:
    """Return the block on TLS and on the load of others."""
    of = found["results"]
    rounds = f", in each of {of['rounds']} rounds below the first two rows" if "rounds" in of else ""
    lines = [_provenance_text(found), "", f"{of['calls']:,} decisions for each row{rounds}, one after another.", ""]
    lines += ["| loan desk | p50 ms | p99 ms |", "|---|---|---|"]
    lines += [f"| {name} | {each['p50_ms']:.2f} | {each['p99_ms']:.2f} |" for name, each in of["latencies"].items()]
    return "\n".join(lines)


def checks_block(found: dict[str, Any]) -> str:
    """Return the block on the checks against failing infrastructure."""
    of = found["results"]
    lines = [
        _provenance_text(found),
        "",
        f"{of['pairs']} pairs of slices of {of['seconds']:g} s, 32 calls in flight.",
        "",
    ]
    lines += ["| database | decisions/s, checks on | off | throughput, on / off | CPU per decision, on / off |"]
    lines += ["|---|---:|---:|---|---|"]
    for name, each in of["databases"].items():
        rates = f"{each['a_second']['true']:,.0f} | {each['a_second']['false']:,.0f}"
        ratios = (
            f"{each[f'{kind}_ratio']:.3f} ({each[f'{kind}_interval'][0]:.3f} to {each[f'{kind}_interval'][1]:.3f})"
            for kind in ("throughput", "cpu")
        )
        lines.append(f"| {name} | {rates} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def reading_block(found: dict[str, Any]) -> str:
    """Return the block on the reader of transaction logs."""
    of = found["results"]
    lines = [
        _provenance_text(found),
        "",
        f"{of['lines']:,} lines; before: commit {of['before']}.",
        "",
        "| file | version | CPU seconds | wall seconds | peak memory |",
        "|---|---|---:|---:|---:|",
    ]
    for form, measured in of["forms"].items():
        for name in ("before", "now"):
            runs = measured[name]
            times = [[f"{run[key]:.1f}" for run in runs] for key in ("cpu_seconds", "wall_seconds")]
            memory = max(run["memory_bytes"] for run in runs) / 2**20
            lines.append(f"| {form} | {name} | {', '.join(times[0])} | {', '.join(times[1])} | {memory:,.0f} MiB |")
        pairs = zip(measured["before"], measured["now"], strict=True)
        ratios = ", ".join(f"{now['cpu_seconds'] / before['cpu_seconds'] - 1:+.0%}" for before, now in pairs)
        lines.append(f"| {form} | CPU time, now compared with before | {ratios} | | |")
    return "\n".join(lines)


def audit_block(found: dict[str, Any]) -> str:
    """Return the block on how long an auditor waits."""
    of = found["results"]
    waits = {
        "evidence of one decision, its reading recorded": "evidence_ms",
        "proof of one record": "proof_ms",
        "sample of 60": "sample_ms",
        "sample of 60 from each outcome and grade": "strata_ms",
        "the newest 1,000 of a list": "page_ms",
        "a list without a match": "nothing_listed_ms",
    }
    lines = [
        _provenance_text(found),
        "",
        (
            f"{of['records']:,} records on {of['database']}, {of['database_bytes'] / 1e9:.1f} GB on disk; header "
            f"{of['header_bytes']:.0f} bytes, ciphertext {of['ciphertext_bytes']:.0f}."
        ),
        "",
        "| milliseconds, over gRPC | first call | p50 | p99 | calls | CPU steal by the host |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {of[key]['first']:,.1f} | {of[key]['p50']:,.1f} | {of[key]['p99']:,.1f} "
        f"| {of[key]['calls']} | {_share_text(of[key].get('stolen'))} |"
        for name, key in waits.items()
    ]
    return "\n".join(lines)


def console_block(found: dict[str, Any]) -> str:
    """Return the block on how long a person waits for a page of the console."""
    of = found["results"]
    lines = [
        _provenance_text(found),
        "",
        f"{of['records']:,} records on SQLite, {of['database_bytes'] / 1e9:.1f} GB on disk.",
        "",
        "| milliseconds, over HTTP | first page | p50 | p95 | p99 | pages | CPU steal by the host |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {each['first']:,.0f} | {each['p50']:,.0f} | {each['p95']:,.0f} | {each['p99']:,.0f} "
        f"| {each['calls']} | {_share_text(each['stolen'])} |"
        for name, each in of["pages"].items()
    ]
    return "\n".join(lines)


def _share_text(share: float | None) -> str:
    """Return a share as text; an empty string for None, which stands for older results without this share."""
    return "" if share is None else f"{share:.1%}"


def _provenance_text(found: dict[str, Any]) -> str:
    """Return the line with the command, commit, machine and versions of a measurement."""
    of = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in of["libraries"].items())
    changed = " with changes" if found["changed_since"] else ""
    return (
        f"`{found['command']}`, {found['at'][:10]}, commit {found['commit']}{changed}; {of['processor']}, "
        f"{of['cores']} cores, {of['memory_gib']} GiB, Python {of['python']}; {versions}."
    )


def explanation_block(found: dict[str, Any]) -> str:
    """Return the block on the cost of explanations."""
    results = found["results"]
    lines = [_provenance_text(found), ""]
    for model in results["models"]:
        lines += [
            (
                f"**{model['model']}**: {model['trees']} trees, {model['features']} features, "
                f"{model['baseline_rows']:,} baseline rows; contributions within {model['distance']:.0e} of the definition."
            ),
            "",
            "| microseconds a row, one thread | one row | x | in a loop | x | 10,000 rows | x |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for way, one in model["one_row"].items():
            timed = [one, model.get("loop", {}).get(way), model["batch"].get(way)]  # older results have no loop
            cells = [f"{each['median']:.3g} | {each['ratio']:.1f}" if each else " | " for each in timed]
            lines.append(f"| {way} | {' | '.join(cells)} |")
        lines += ["", f"One row: {claims(model['one_row'])}", ""]
        lines += [f"In a loop: {claims(model['loop'])}", ""] if "loop" in model else []
    plot_grid(results["grid"])
    lines += ["![Cost by size of the model](explanation.svg)", "", *grid_table(results["grid"])]
    return "\n".join(lines)


def recourse_block(found: dict[str, Any]) -> str:
    """Return the block on the cost of a search for recourse."""
    of = found["results"]
    return (
        f"{_provenance_text(found)}\n\n{of['applicants']} declined applicants of the hold-out: median {of['median_ms']:.0f} ms, "
        f"99th percentile {of['p99_ms']:.0f} ms, {of['median_rows_scored']:.0f} rows scored; "
        f"{of['with_recourse'] / of['applicants']:.0%} have a counterfactual that reaches the approve cut-off."
    )


def record_block(found: dict[str, Any]) -> str:
    """Return the block on the cost of a durable record."""
    lines = [
        _provenance_text(found),
        "",
        "| | decisions a second | p50 | p99 | share of the rate without a log | log commits per decision |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, of in found["results"].items():
        for way, title in (("recorded", "recorded"), ("forgetful", "no record log")):
            one = of[way]
            rest = f"{of['share']:.2f} | {of['commits_per_decision']:.3f}" if way == "recorded" else " | "
            times = f"{one['p50_ms']:.1f} ms | {one['p99_ms']:.1f} ms"
            lines.append(f"| {kind}, {title} | {one['a_second']:,.0f} | {times} | {rest} |")
    return "\n".join(lines)


def serving_block(found: dict[str, Any]) -> str:
    """Return the block on decisions per second and CPU time, of our server and of plain servers."""
    results = found["results"]
    servers = results["servers"]
    lines = [
        _provenance_text(found),
        "",
        "| server | calls in flight | decisions a second | server CPU per decision | p50 | p99 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {_SERVER_TITLES.get(server, server)} | {count} | {load['a_second']:,.0f} | {load['cpu_ms']:.3f} ms "
        f"| {load['p50_ms']:.2f} ms | {load['p99_ms']:.1f} ms |"
        for server, of in servers.items()
        for count, load in of["loads"].items()
    ]
    lines += [""]
    for server, of in servers.items():
        if of["commits_per_decision"]:
            commits = of["commits_per_decision"]
            lines += [
                f"{server}: {commits['log']:.3f} commits of the log and {commits['key']:.3f} of the key database per decision."
            ]
    lines += [
        f"An fdatasync of 20 KB takes {results['fsync_ms']:.2f} ms on this disk.",
        "",
        "| stage, in one thread of one process | CPU, microseconds per decision |",
        "|---|---:|",
    ]
    lines += [f"| {stage} | {microseconds:.1f} |" for stage, microseconds in results["stages"].items()]
    return "\n".join(lines)


def churn_block(found: dict[str, Any]) -> str:
    """Return the block on the cost of scoring a transaction log, by the size of the log."""
    lines = [
        _provenance_text(found),
        "",
        "| lines of the log | customers scored | features | run | whole | microseconds a line | largest memory |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for log in found["results"]["logs"]:
        whole = log["whole_seconds"]
        lines.append(
            f"| {log['lines']:,} | {log['customers']:,} | {log['features_seconds']:.0f} s | {log['run_seconds']:.0f} s | "
            f"{whole:.0f} s | {1e6 * whole / log['lines']:.1f} | {log['memory_bytes'] / 1e9:.1f} GB |"
        )
    return "\n".join(lines)


def feed_block(found: dict[str, Any]) -> str:
    """Return the block on the cost of the churn feed."""
    of = found["results"]
    seconds = statistics.median(of["export_seconds"])
    lines = [
        _provenance_text(found),
        "",
        (
            f"A synthetic run of {of['customers']:,} customers with {of['features']} features "
            f"({of['file_bytes'] / 1e6:,.0f} MB) loads in {of['load_seconds']:,.0f} s with at most "
            f"{of['load_memory_bytes'] / 1e6:,.0f} MB; the database then has {of['database_bytes'] / 1e6:,.0f} MB. "
            f"The export takes {seconds:.2f} s up to Arrow tables: {of['customers'] / seconds:,.0f} customers a "
            f"second (median of {len(of['export_seconds'])})."
        ),
        "",
        "| pages of 1,000, milliseconds at the client | pages | median | 99th percentile | slowest |",
        "|---|---:|---:|---:|---:|",
    ]
    ways = {"sync": "full sync", "by_probability": "by probability", "by_value": "by value at risk"}
    for name, title in ways.items():
        one = of[name]
        figures = " | ".join(f"{one[key]:,.0f}" for key in ("pages", "median_ms", "p99_ms", "slowest_ms"))
        lines.append(f"| {title} | {figures} |")
    return "\n".join(lines)


def claims(one: dict[str, Any]) -> str:
    """Return the sentence with the main ratios."""
    bare = one[SCORE]["ratio"] / one[EXPLAINED]["ratio"]
    return (
        f"an explained score costs {bare:.2f} bare scores. It is {one[EXPLAINED]['ratio']:.2f} times cheaper than "
        f"`pred_contrib` and {one[EXPLAINED]['ratio'] / one[SHAP]['ratio']:.0f} times cheaper than `shap` with 100 "
        f"background rows; the explanation alone {one['explanation alone']['ratio']:.2f} and "
        f"{one['explanation alone']['ratio'] / one[SHAP]['ratio']:.0f} times."
    )


def grid_table(grid: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table with one row for each model of the grid."""
    lines = [
        (
            "| leaves | trees | features | score | score + explanation | pred_contrib | shap, 100 rows | cheaper than "
            "pred_contrib | than shap | explain.onnx |"
        ),
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in grid:
        if "refused" in entry:
            lines.append(
                f"| {entry['leaves']} | {entry['trees']} | {entry['features']} | refused: too large" + " | " * 7
            )
            continue
        one = entry["one_row"]
        micros = [one[way]["median"] for way in (SCORE, EXPLAINED, "pred_contrib", SHAP)]
        ratios = (one[EXPLAINED]["ratio"], one[EXPLAINED]["ratio"] / one[SHAP]["ratio"])
        sizes = f"{entry['leaves']} | {entry['trees']} | {entry['features']}"
        figures = " | ".join(f"{value:,.0f}" for value in micros)
        lines.append(
            f"| {sizes} | {figures} | {ratios[0]:.1f} | {ratios[1]:.0f} | {entry['explain_bytes'] / 1e6:.1f} MB |"
        )
    return lines


def plot_grid(grid: list[dict[str, Any]]) -> None:
    """Write a plot of how many times cheaper an explained score is than pred_contrib, by trees, leaves and features."""
    mpl.rcParams["svg.hashsalt"] = "grounds"
    columns = sorted({entry["features"] for entry in grid})
    figure, axes = plt.subplots(1, len(columns), figsize=(11, 3.6), sharey=True, layout="constrained")
    for axis, features in zip(axes, columns, strict=True):
        for leaves in sorted({entry["leaves"] for entry in grid}):
            line = [
                entry
                for entry in grid
                if (entry["features"], entry["leaves"]) == (features, leaves) and "refused" not in entry
            ]
            ratios = [entry["one_row"][EXPLAINED]["ratio"] for entry in line]
            axis.plot([entry["trees"] for entry in line], ratios, marker="o", label=f"{leaves} leaves")
        axis.set(title=f"{features} features", xlabel="trees")
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("times cheaper than pred_contrib, one row")
    axes[-1].legend()
    figure.savefig(HISTORY.parent / "explanation.svg", metadata={"Date": None})
    plt.close(figure)
