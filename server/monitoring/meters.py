"""The metrics that calls and commits update: counters and histograms.

No label contains a customer's value, and every label has a bounded number of values: methods, reasons, stages, outcomes
and grades are fixed by the server and the policy, and a market is counted only if it has a model.
"""

import time
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMMIT_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_AGE_SECONDS = tuple(86_400 * days for days in (1, 2, 7, 14, 31, 62, 92, 183, 366, 731))
VALIDATE, FEATURES, SCORE, SEAL, COMMIT = "validate", "features", "score", "seal", "commit"
disable_created_metrics()  # type: ignore[no-untyped-call] # the time of creation would double the number of lines


class CallTimes:
    """Measures the stages of one call.

    Attributes:
        seconds: Time in seconds of each stage that has ended, by name.
        decision_id: Id of the decision that the call made, or ""; the application log contains it.
    """

    __slots__ = ("decision_id", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.decision_id = ""

    def measure(self, stage: str) -> "StageTimer":
        """Return a context manager that measures a stage. A stage that is measured again is added to its time."""
        return StageTimer(self.seconds, stage)


class StageTimer:
    """Adds the time of a block to the time of a stage."""

    __slots__ = ("_seconds", "_stage", "_start")

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = time.perf_counter() - self._start
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + elapsed


class Meters:
    """The counters and histograms of one server process. Its methods may be called from any thread.

    Attributes:
        registry: The registry of all metrics of the process, in which further collectors can be registered.
    """

    def __init__(self) -> None:
        """Create metrics without values."""
        registry = self.registry = CollectorRegistry()
        self._calls = Histogram(
            "rpc_server_call_duration_seconds",
            "Duration of calls; the name and the labels follow OpenTelemetry's semantic conventions.",
            ("rpc_system_name", "rpc_method", "rpc_response_status_code"),
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._reasons = Counter(
            "grounds_calls", "Calls that have ended, by method and reason.", ("method", "reason"), registry=registry
        )
        stages = Histogram(
            "grounds_stage_duration_seconds",
            "Duration of the stages of calls; seal and commit are measured once for each batch of records.",
            ("stage",),
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._stages = {stage: stages.labels(stage) for stage in (VALIDATE, FEATURES, SCORE, SEAL, COMMIT)}
        self._commits = Histogram(
            "grounds_commit_records",
            "Number of records that were committed together.",
            buckets=_COMMIT_RECORDS,
            registry=registry,
        )
        self._decisions = Counter(
            "grounds_decisions",
            "New decisions, by market, outcome and grade; the grade is empty if the customer is not scorable.",
            ("market", "outcome", "grade"),
            registry=registry,
        )
        self._near = Counter(
            "grounds_decisions_near_cut_off",
            "New decisions with log-odds within 0.1 of a cut-off of the policy.",
            ("market",),
            registry=registry,
        )
        self._ages = Histogram(
            "grounds_features_age_seconds",
            "Age of the oldest stored feature value of each new decision.",
            ("market",),
            buckets=_AGE_SECONDS,
            registry=registry,
        )

    def count_call(self, method: str, code: str, reason: str, seconds: float, stages: dict[str, float]) -> None:
        """Count a call that has ended.

        Args:
            method: Full name of the method, without the first slash.
            code: The gRPC status code.
            reason: OK, or the reason of the error.
            seconds: Duration of the call.
            stages: Duration of each stage in seconds. The stages of the record log are counted by `count_commit`.
        """
        self._calls.labels("grpc", method, code).observe(seconds)
        self._reasons.labels(method, reason).inc()
        for stage, duration in stages.items():
            if stage not in {SEAL, COMMIT}:
                self._stages[stage].observe(duration)

    def count_commit(self, records: int, stages: dict[str, float]) -> None:
        """Count a batch of records that was committed."""
        self._commits.observe(records)
        for stage, duration in stages.items():
            self._stages[stage].observe(duration)

    def count_decision(self, market: str, outcome: str, grade: str, *, near: bool, age_seconds: float | None) -> None:
        """Count a new decision; `age_seconds` is None if no stored value was used."""
        self._decisions.labels(market, outcome, grade).inc()
        if near:
            self._near.labels(market).inc()
        if age_seconds is not None:
            self._ages.labels(market).observe(age_seconds)
