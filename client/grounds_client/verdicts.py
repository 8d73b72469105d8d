"""Verdicts of a replay in words."""

from collections.abc import Mapping

from grounds.audit.v1 import evidence_pb2 as ev
from grounds_client.show import short

COMPARED = {
    ev.REPLAY_MODE_VERIFY: "VERIFY: the record as stored with the signed tree",
    ev.REPLAY_MODE_FEATURES: "FEATURES: what was fed with request and feature store",
    ev.REPLAY_MODE_SCORE: "SCORE: score, rules and outcome, computed again",
    ev.REPLAY_MODE_EXPLANATION: "EXPLANATION: contributions, points and reasons, computed again",
    ev.REPLAY_MODE_WHAT_IF: "WHAT_IF: another bundle",
}


OF_RISK = COMPARED | {
    ev.REPLAY_MODE_VERIFY: "VERIFY: the run's record with the signed tree, the row with the root of the run",
    ev.REPLAY_MODE_FEATURES: "FEATURES: what was fed with the transactions",
    ev.REPLAY_MODE_SCORE: "SCORE: probability and band, computed again",
    ev.REPLAY_MODE_EXPLANATION: "EXPLANATION: contributions and drivers, computed again",
}


def mode_name(result: ev.ReplayResult, names: Mapping[ev.ReplayMode, str] = COMPARED) -> str:
    """Say what was compared; `names` are those of a decision, or OF_RISK."""
    return names.get(result.mode, str(result.mode))


def verdict_name(result: ev.ReplayResult) -> str:
    """Give the verdict in capitals."""
    return (result.WhichOneof("verdict") or "unknown").upper()


def holds(result: ev.ReplayResult) -> bool:
    """Tell whether the verdict says that the decision is what was recorded; a what-if says nothing about it."""
    return result.WhichOneof("verdict") in {"match", "runtime_differs", "what_if"}


def verdict_text(result: ev.ReplayResult) -> str:
    """Say what the verdict means, and what it does not speak of."""
    left_out = f"; not compared: {result.left_out}" if result.left_out else ""
    return meaning(result) + left_out


def meaning(result: ev.ReplayResult) -> str:
    """Say what the verdict means."""
    match result.WhichOneof("verdict"):
        case "match":
            return f"{result.match.compared_count} values compared, equal to the bit"
        case "mismatch":
            told = result.mismatch
            more = f", and {told.differing_count - 1} more" if told.differing_count > 1 else ""
            return f"{told.field}: recorded {told.stored or 'nothing'}, now {told.recomputed or 'nothing'}{more}"
        case "unavailable":
            why = short(ev.UnavailableReason.Name(result.unavailable.why), "UNAVAILABLE_REASON_")
            return f"{why}: {result.unavailable.detail}"
        case "runtime_differs":
            differs = result.runtime_differs
            return (
                f"another runtime than the one that decided; {differs.compared_count} values compared, "
                f"{differs.differing_count} not equal to the bit, pd {differs.pd_distance:.3g} apart; "
                "everything else equal"
            )
        case _:
            return result.what_if.notice
