"""Times the stages of a decision in one process and one thread, without the transport."""

import datetime as dt
import itertools
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from grounds.credit.v1 import credit_pb2 as pb
from server.config import read_settings
from server.decisions.assessment import assess
from server.decisions.inputs import applicable_section, merge_inputs
from server.decisions.policy import Policy, read_policy
from server.edges.credit.decision_records import RecordedAnswer, decision_entry
from server.edges.credit.messages import application_from_request, fill_assessment
from server.edges.explanations import timestamp
from server.edges.identity.callers import LOCAL_CALLER
from server.edges.received_request import ReceivedRequest
from server.edges.request_digest import content_sha256
from server.edges.validation import validate
from server.registry.model_registry import CREDIT_FAMILY, ModelRegistry
from server.stores.database import Database
from server.stores.features import FeatureStore
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.opening import KeyLocations, open_log

BATCH = 16  # decisions that are read and recorded together
_ROUNDS = 5
_Input = TypeVar("_Input")
_Output = TypeVar("_Output")


def measure_stages(config: Path, requests: Sequence[bytes]) -> dict[str, float]:
    """Return the CPU time of each stage in microseconds per decision, the best of five rounds.

    Args:
        config: Configuration of a server that is not running. Its record log grows.
        requests: Encoded requests of different customers.
    """
    settings = read_settings(config)
    database = Database(settings.database)
    log = open_log(database, KeyLocations.from_settings(settings))
    try:
        times, entries = _time_decisions(FeatureStore(database), settings.bundles, settings.policy, requests)
        batches = _chunks(entries)
        times["record, 16 new customers together"] = _time_append(log.append, batches)
        known = [_time_append(log.append, _new_requests(batches)) for _ in range(_ROUNDS)]
        times["record, 16 known customers together"] = min(known)
        alone = [_time_append(log.append, _new_requests([[entry] for entry in entries[:50]])) for _ in range(_ROUNDS)]
        times["record, one known customer alone"] = min(alone)
    finally:
        log.close()
        database.close()
    return times


def _time_decisions(
    features: FeatureStore, bundles: Path, policy_file: Path, encoded: Sequence[bytes]
) -> tuple[dict[str, float], list[LogEntry]]:
    """Return the times of the stages up to the entry of the record log, and the entries."""
    models, policy, at = ModelRegistry(bundles), _read_activated(policy_file), dt.datetime.now(dt.UTC)
    models.refresh()
    model = models.current.model(CREDIT_FAMILY, "TW")
    assert model is not None
    schema, times = model.bundle.schema, dict[str, float]()
    requests = _time(times, "decode the request", pb.ScoreCreditRequest.FromString, encoded)
    _time(times, "validate", validate, requests)
    digests = _time(times, "digest of the content", lambda each: content_sha256(each, without="request_id"), requests)
    applications = _time(times, "read the application", application_from_request, requests)
    _time(
        times,
        "features, one customer alone",
        lambda each: features.find_newest(each.customer.market, each.customer.customer_id, schema),
        requests,
    )
    found = _time(
        times,
        "features, 16 customers together",
        lambda chunk: features.find_newest_of_several("TW", [each.customer.customer_id for each in chunk], schema),
        _chunks(requests),
    )
    times["features, 16 customers together"] /= BATCH
    stored = {customer: values for chunk in found for customer, values in chunk.items()}
    values = [stored[each.customer.customer_id] for each in requests]
    inputs = _time(times, "merge the inputs", lambda each: merge_inputs(schema, each.values, each.as_of, {}), values)
    section = applicable_section(policy, applications[0], at)
    questions = [each.question(section, given, at) for each, given in zip(applications, inputs, strict=True)]
    _time(
        times,
        "of assess: score and explanation",
        model.explain,
        [{name: schema.encode_value(name, given.value) for name, given in each.items()} for each in inputs],
    )
    assessments = _time(times, "assess: score, policy, reasons", lambda each: assess(model, policy, each), questions)

    def decide(given: tuple[pb.ScoreCreditRequest, Any]) -> pb.CreditDecision:
        request, assessment = given
        reference = pb.RecordRef(
            decision_id=new_record_id(at), request_id=request.request_id, decide_time=timestamp(at)
        )
        decision = pb.CreditDecision(
            record_ref=reference, customer=request.customer, requested_amount=request.requested_amount
        )
        fill_assessment(decision.assessment, assessment)
        return decision

    decisions = _time(times, "build the answer", decide, list(zip(requests, assessments, strict=True)))
    answers = _time(times, "encode the answer", lambda each: each.SerializeToString(deterministic=True), decisions)
    digest_bytes = map(bytes.fromhex, digests)
    received = [ReceivedRequest(*each, LOCAL_CALLER) for each in zip(requests, encoded, strict=True)]
    parts = zip(received, itertools.repeat(at), digest_bytes, assessments, decisions, answers, strict=False)
    return times, _time(times, "build the record", decision_entry, list(itertools.starmap(_answer, parts)))


def _read_activated(policy_file: Path) -> Policy:
    """Read a policy as if it had been activated."""
    return replace(read_policy(policy_file), activation_id=new_record_id(dt.datetime.now(dt.UTC)))


def _answer(*parts: Any) -> RecordedAnswer:
    """Return a recorded answer of these parts, under the activation of its policy."""
    return RecordedAnswer(*parts, activation_id=parts[3].policy.activation_id)


def _time(
    times: dict[str, float], stage: str, work: Callable[[_Input], _Output], given: Sequence[_Input]
) -> list[_Output]:
    """Time a stage, and return its results."""
    found: list[_Output] = []
    times[stage] = float("inf")
    for _ in range(_ROUNDS):
        begun = time.thread_time()
        found = [work(each) for each in given]
        times[stage] = min(times[stage], (time.thread_time() - begun) / len(given) * 1e6)
    return found


def _time_append(append: Callable[[Sequence[LogEntry]], object], batches: Sequence[Sequence[LogEntry]]) -> float:
    """Return the CPU time of appending, in microseconds per entry."""
    begun = time.thread_time()
    for batch in batches:
        append(batch)
    return (time.thread_time() - begun) / sum(map(len, batches)) * 1e6


def _new_requests(batches: Sequence[Sequence[LogEntry]]) -> list[list[LogEntry]]:
    """Return copies of the entries, each with a new record_id and a new request_id."""
    return [
        [replace(each, record_id=new_record_id(each.time), request_id=str(uuid.uuid4())) for each in batch]
        for batch in batches
    ]


def _chunks(items: Sequence[_Input]) -> list[Sequence[_Input]]:
    """Split a sequence into batches."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
