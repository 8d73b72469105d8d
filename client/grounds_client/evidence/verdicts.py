"""Verdicts of a replay as text."""

from collections.abc import Mapping

from grounds.audit.v1 import evidence_pb2
from grounds_client.formatting import enum_name

DECISION_MODES = {
    evidence_pb2.REPLAY_MODE_VERIFY: "VERIFY: the stored record, compared with the signed tree",
    evidence_pb2.REPLAY_MODE_FEATURES: "FEATURES: the inputs of the model, compared with the request and the feature store",
    evidence_pb2.REPLAY_MODE_SCORE: "SCORE: score, rules and decision, recomputed",
    evidence_pb2.REPLAY_MODE_EXPLANATION: "EXPLANATION: contributions, points and reasons, recomputed",
    evidence_pb2.REPLAY_MODE_WHAT_IF: "WHAT_IF: another bundle",
}
CHURN_MODES = DECISION_MODES | {
    evidence_pb2.REPLAY_MODE_VERIFY: "VERIFY: the run's record, compared with the signed tree, and the row, compared with the root of the run",
    evidence_pb2.REPLAY_MODE_FEATURES: "FEATURES: the inputs of the model, compared with the transactions",
    evidence_pb2.REPLAY_MODE_SCORE: "SCORE: probability and band, recomputed",
    evidence_pb2.REPLAY_MODE_EXPLANATION: "EXPLANATION: contributions and drivers, recomputed",
}


def mode_text(result: evidence_pb2.ReplayResult, modes: Mapping[evidence_pb2.ReplayMode, str] = DECISION_MODES) -> str:
    """Return what was compared; `modes` is DECISION_MODES or CHURN_MODES."""
    return modes.get(result.mode, str(result.mode))


def verdict_name(result: evidence_pb2.ReplayResult) -> str:
    """Return the verdict in uppercase letters, such as MATCH."""
    return (result.WhichOneof("verdict") or "unknown").upper()


def verdict_holds(result: evidence_pb2.ReplayResult) -> bool:
    """Return True for a match, a difference caused only by the runtime, or a what-if, which compares nothing."""
    return result.WhichOneof("verdict") in {"match", "runtime_differs", "what_if"}


def verdict_text(result: evidence_pb2.ReplayResult) -> str:
    """Return what the verdict means, and what was not compared or, in a what-if, not recorded."""
    if not result.left_out:
        return _meaning(result)
    left_out = result.left_out if result.HasField("what_if") else f"not compared: {result.left_out}"
    return f"{_meaning(result)}; {left_out}"


def _meaning(result: evidence_pb2.ReplayResult) -> str:
    """Return what the verdict means."""
    match result.WhichOneof("verdict"):
        case "match":
            return f"{result.match.compared_count} values compared, equal to the bit"
        case "mismatch":
            mismatch = result.mismatch
            more = f", and {mismatch.differing_count - 1} more" if mismatch.differing_count > 1 else ""
            return f"{mismatch.field}: recorded {mismatch.stored or 'nothing'}, now {mismatch.recomputed or 'nothing'}{more}"
        case "unavailable":
            reason = enum_name(evidence_pb2.UnavailableReason, result.unavailable.why)
            return f"{reason}: {result.unavailable.detail}"
        case "runtime_differs":
            differs = result.runtime_differs
            return (
                f"the replay ran on a different runtime than the decision; {differs.compared_count} values compared, "
                f"{differs.differing_count} not equal to the bit, pd {differs.pd_distance:.3g} apart; "
                "everything else equal"
            )
        case _:
            return result.what_if.notice
