"""The result of `watch` as one JSON document. The keys are stable. It contains counts and figures of groups, and no customer."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from models.bundle import Bundle
from server.model_monitoring.drift import ROWS_MIN
from server.model_monitoring.recorded_window import WatchCounts
from server.model_monitoring.review import WatchReview
from server.model_monitoring.vintages import BOOKED_MIN

_FINDINGS_MAX = 5  # findings that the page and the terminal name
FOUND, NOTHING_FOUND = "FOUND", "NOTHING_FOUND"
PARTLY_JUDGED, NOTHING_JUDGED = "PARTLY_JUDGED", "NOTHING_JUDGED"
Document = dict[str, Any]
NOTICE = (
    "Estimated figures follow from the pds alone and assume that the pds are right. Nothing is known about the outcome of "
    "applications that were not booked."
)


def watch_document(review: WatchReview) -> Document:
    """Return the document of a review."""
    window, options = review.window, review.options
    return {
        "verdict": _verdict(review),
        "summary": _summary(review),
        "notice": NOTICE,
        "window": {
            "from": window.start.date().isoformat(),
            "to": window.end.date().isoformat(),
            "as_of": window.as_of.isoformat(),
            "market": options.market,
            "outcome_months": options.outcome_months,
        },
        "findings": [asdict(each) for each in review.findings],
        "tests": {
            "false_alarm_rate": options.false_alarm_rate,
            "drift": {"tests": review.drift.tests, "rate_of_each": review.drift.rate},
            "vintages": {"tests": review.vintages.tests, "rate_of_each": review.vintages.rate},
        },
        "untested_markets": list(review.untested_markets),
        "markets_too_small": list(review.markets_too_small),
        "records": _records(window.counts),
        "bundles": [_bundle(bundle_id, bundle) for bundle_id, bundle in sorted(review.bundles.items())],
        "decisions": [_plain(asdict(each)) for each in review.rates],
        "drift": [_plain(asdict(each)) for each in review.drift.series],
        "vintages": [_plain(asdict(each)) for each in review.vintages.vintages],
        "estimates": [_plain(asdict(each)) for each in review.estimates],
    }


def _verdict(review: WatchReview) -> str:
    """Return the verdict on the window."""
    if review.current_findings:
        return FOUND
    if not review.tests:
        return NOTHING_JUDGED
    return NOTHING_FOUND if review.untested_markets == review.markets_too_small else PARTLY_JUDGED


def _summary(review: WatchReview) -> str:
    """Return the verdict in words, with the numbers on which it stands."""
    counts = review.window.counts
    basis = (
        f"{counts.read:,} of {counts.decisions:,} decisions were read; {review.drift.tests:,} distributions and "
        f"{_count_judged(review):,} vintages were tested"
    )
    if count := review.current_findings:
        return f"{count} change{'' if count == 1 else 's'} found: {basis}."
    if review.tests:
        count = len(review.untested_markets)
        blind = f", and {count} market{'' if count == 1 else 's'} not judged" if count else ""
        blind += ", as expected" if count and review.untested_markets == review.markets_too_small else ""
        return f"Nothing found{blind}: {basis}."
    return (
        f"Nothing could be judged: {basis}. A distribution needs {ROWS_MIN} customers in a month and a bundle with a "
        f"population, a vintage {BOOKED_MIN} customers with a booked credit whose outcome window has passed."
    )


def _count_judged(review: WatchReview) -> int:
    """Return the number of vintages that were tested."""
    return sum(each.level_p is not None for each in review.vintages.vintages)


def _records(counts: WatchCounts) -> Document:
    """Return how many records were read, and why others were not."""
    return {
        "decisions": counts.decisions,
        "read": counts.read,
        "left_out": dict(sorted(counts.left_out.items())),
        "erased_customers": counts.erased_customers,
        "overrides": counts.overrides,
        "outcomes": counts.outcomes,
        "events_left_out": dict(sorted(counts.events_left_out.items())),
    }


def _bundle(bundle_id: str, bundle: Bundle | None) -> Document:
    """Return what a bundle states about its population, or why nothing can be compared with it."""
    population = None if bundle is None else bundle.population
    problem = ""
    if bundle is None:
        problem = "the bundle is missing or invalid; restore it to the catalog"
    elif population is None:
        problem = f"format {bundle.manifest.format} has no population; train the model again to compare with it"
    return {
        "bundle_id": bundle_id,
        "population_rows": population.rows if population else None,
        "calibration_rows": sum(population.log_odds.counts) if population else None,
        "problem": problem,
    }


def _plain(value: Any) -> Any:
    """Return a value with dates as texts, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def summary_lines(document: Document) -> list[str]:
    """Return the lines that the command prints: the verdict, the worst findings, and what was left out."""
    return [
        document["summary"],
        *(f"  {text}" for text in (*finding_texts(document), *past_finding_texts(document))),
        *(f"  not read: {text}" for text in left_out_texts(document)),
        *(f"  {text}" for text in problem_texts(document)),
    ]


def finding_texts(document: Document) -> list[str]:
    """Return the worst findings about bundles that serve in words, and the number of the others."""
    return _first_texts([each["text"] for each in document["findings"] if each["is_serving"]])


def past_finding_texts(document: Document) -> list[str]:
    """Return the worst findings about bundles that no longer serve in words, and the number of the others."""
    past = [each for each in document["findings"] if not each["is_serving"]]
    return _first_texts([f"Past, another bundle than {each['bundle_id'][:12]} serves: {each['text']}" for each in past])


def _first_texts(texts: Sequence[str]) -> list[str]:
    """Return the first texts, and the number of the others."""
    further = len(texts) - _FINDINGS_MAX
    return [*texts[:_FINDINGS_MAX], *([f"{further} more; the JSON document lists them."] if further > 0 else [])]


def rows_of_newest_bundles(document: Document, name: str) -> list[Document]:
    """Return the rows of a table, of each market and month only those of the bundle that made the newest decision."""
    newest = {(each["market"], each["month"]): each["newest_bundle_id"] for each in document["decisions"]}
    return [each for each in document[name] if each["bundle_id"] == newest[each["market"], each["month"]]]


def left_out_texts(document: Document) -> list[str]:
    """Return what could not be read, in words."""
    records = document["records"]
    texts = [f"{count:,} decisions ({reason})" for reason, count in sorted(records["left_out"].items())]
    if records["erased_customers"]:
        texts.append(f"the decisions of {records['erased_customers']:,} erased customers are among them")
    events = sorted(records["events_left_out"].items())
    return [*texts, *(f"{count:,} overrides and outcomes ({reason})" for reason, count in events)]


def problem_texts(document: Document) -> list[str]:
    """Return which markets are not judged, why bundles cannot be compared with, and which outcomes cannot be used."""
    texts = [f"bundle {each['bundle_id'][:12]}: {each['problem']}" for each in document["bundles"] if each["problem"]]
    small = document["markets_too_small"]
    if small:
        texts.insert(0, f"Not judged, as expected: {', '.join(small)}. They have too few customers.")
    if untested := [each for each in document["untested_markets"] if each not in small]:
        texts.insert(0, f"Not judged: {', '.join(untested)}. No test of the newest bundle was possible there.")
    immature = [each for each in document["vintages"] if each["verdict"] == "IMMATURE"]
    if immature:
        booked = sum(each["booked"] for each in immature)
        texts.append(f"{len(immature):,} vintages with {booked:,} booked credits are not judged yet: too young.")
    unbooked = sum(each["unbooked_defaults"] for each in document["vintages"])
    if unbooked:
        texts.append(f"{unbooked:,} defaults belong to decisions without a recorded booking, and are not used.")
    return texts
