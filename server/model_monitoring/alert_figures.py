"""Figures of `watch` for alerts, in the text format that the node exporter of Prometheus reads from a folder."""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from grounds_record.private_files import replace_file
from server.model_monitoring.document import Document, rows_of_newest_bundles
from server.stores.record_log.record_reader import UNREAD_REASONS

_MODE = 0o644  # the node exporter runs as another user
_KINDS = ("DRIFT", "CONCEPT_CHANGE")


def write_figures(path: Path, document: Document, at: dt.datetime) -> None:
    """Write the figures of a document. The file is replaced at once, and every account may read it: it names no customer.

    Args:
        path: The file; its name must end in .prom for the node exporter.
        document: The document of `watch`.
        at: The time at which the command ran.
    """
    registry = CollectorRegistry()
    _gauge(registry, "timestamp_seconds", "Time at which watch ran", [], [((), at.timestamp())])
    _gauge(registry, "tests", "Tests that watch made", ["kind"], _tests(document))
    _gauge(registry, "findings", "Changes that watch names", ["kind", "market"], _findings(document))
    _gauge(registry, "unread_records", "Records that watch could not read", ["reason"], _unread(document))
    _gauge(
        registry, "untested", "1 for a market that watch unexpectedly could not judge", ["market"], _blindness(document)
    )
    _add_drift(registry, document)
    _add_rates(registry, document)
    _add_vintages(registry, document)
    with replace_file(path) as temporary:
        temporary.write_bytes(generate_latest(registry))
        temporary.chmod(_MODE)


def _gauge(
    registry: CollectorRegistry,
    name: str,
    meaning: str,
    labels: list[str],
    samples: Iterable[tuple[tuple[str, ...], float | None]],
) -> None:
    """Add a metric with its samples. A sample without a value is omitted."""
    gauge = Gauge(f"grounds_watch_{name}", meaning, labels, registry=registry)
    for values, figure in samples:
        if figure is not None:
            (gauge.labels(*values) if labels else gauge).set(figure)


def _tests(document: Document) -> list[tuple[tuple[str, ...], float]]:
    """Return the number of tests by kind."""
    tests = document["tests"]
    return [(("DRIFT",), tests["drift"]["tests"]), (("CONCEPT_CHANGE",), tests["vintages"]["tests"])]


def _findings(document: Document) -> list[tuple[tuple[str, ...], float]]:
    """Return the number of findings about serving bundles by kind and market; 0 for a market without any, so that an alert ends."""
    counts = {(kind, each["market"]): 0 for kind in _KINDS for each in document["decisions"]}
    for each in document["findings"]:
        counts[each["kind"], each["market"]] += each["is_serving"]
    return [(key, count) for key, count in sorted(counts.items())]


def _unread(document: Document) -> list[tuple[tuple[str, ...], float]]:
    """Return the number of decisions and events that were not read, by reason."""
    records = document["records"]
    parts = (records["left_out"], records["events_left_out"])
    return [((reason,), sum(part.get(reason, 0) for part in parts)) for reason in UNREAD_REASONS]


def _blindness(document: Document) -> list[tuple[tuple[str, ...], float]]:
    """Return 1 for each market that unexpectedly could not be judged, and 0 for the others, so that an alert ends."""
    untested = set(document["untested_markets"]) - set(document["markets_too_small"])
    markets = untested | {each["market"] for each in document["decisions"]}
    return [((market,), market in untested) for market in sorted(markets)]


def _newest(rows: Iterable[Document], *names: str) -> list[Document]:
    """Return the row of the newest month for each combination of values."""
    found: dict[tuple[str, ...], Document] = {}
    for each in rows:
        key = tuple(each[name] for name in names)
        if key not in found or each["month"] >= found[key]["month"]:
            found[key] = each
    return [each for _, each in sorted(found.items())]


def _add_drift(registry: CollectorRegistry, document: Document) -> None:
    """Add the figures of every market and series in the newest month in which the bundle of the newest decision was tested.

    A series of an earlier bundle has no figure, because its last one would stay until its month leaves the window.
    """
    newest = {each["market"]: each["newest_bundle_id"] for each in _newest(document["decisions"], "market")}
    tested = (each for each in document["drift"] if each["psi"] is not None)
    rows = _newest((each for each in tested if each["bundle_id"] == newest[each["market"]]), "market", "series")
    for name, column, meaning in (
        ("psi", "psi", "PSI of the newest tested month"),
        ("psi_limit", "critical", "PSI that chance rarely exceeds"),
        ("missing_ratio", "missing_share", "Share of customers without a value in the newest tested month"),
        ("unseen_ratio", "unseen_share", "Share of customers with an unseen level in the newest tested month"),
    ):
        samples = [((each["market"], each["series"]), each[column]) for each in rows]
        _gauge(registry, name, meaning, ["market", "series"], samples)


def _add_rates(registry: CollectorRegistry, document: Document) -> None:
    """Add the rates of the newest month of every market, which are of all its bundles, and the estimates, of the newest one."""
    rows = _newest(document["decisions"], "market")
    for name in ("approval", "referral", "override"):
        samples = [((each["market"],), each[name]["value"] if each[name] else None) for each in rows]
        _gauge(registry, f"{name}_ratio", f"Share of all decisions in the newest month: {name}", ["market"], samples)
    estimates = _newest(rows_of_newest_bundles(document, "estimates"), "market")
    rate = [((each["market"],), each["default_rate"]["value"] if each["default_rate"] else None) for each in estimates]
    _gauge(registry, "estimated_default_ratio", "ESTIMATE from the pds of the newest month", ["market"], rate)
    gini = [((each["market"],), each["gini"]) for each in estimates]
    _gauge(registry, "estimated_gini", "ESTIMATE from the pds of the newest month", ["market"], gini)


def _add_vintages(registry: CollectorRegistry, document: Document) -> None:
    """Add the figures of the newest judged vintage of every market."""
    rows = _newest((each for each in rows_of_newest_bundles(document, "vintages") if each["observed_rate"]), "market")
    observed = [((each["market"],), each["observed_rate"]["value"]) for each in rows]
    _gauge(registry, "default_ratio", "Share of defaults of the newest judged vintage", ["market"], observed)
    expected = [((each["market"],), each["expected_rate"]) for each in rows]
    _gauge(registry, "expected_default_ratio", "Mean pd of the newest judged vintage", ["market"], expected)
    gini = [((each["market"],), each["gini"]["value"] if each["gini"] else None) for each in rows]
    _gauge(registry, "gini", "Gini of the newest judged vintage", ["market"], gini)
