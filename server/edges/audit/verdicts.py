"""Verdicts of replays as the contract says them."""

from grounds.audit.v1 import evidence_pb2 as ev
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch, ReplayRuntimeDiffers, ReplayVerdict


def verdict_result(mode: ev.ReplayMode, verdict: ReplayVerdict) -> ev.ReplayResult:
    """Write a verdict."""
    result = ev.ReplayResult(mode=mode)
    match verdict:
        case ReplayMatch():
            result.match.compared_count = verdict.compared
        case ReplayMismatch():
            result.mismatch.CopyFrom(
                ev.Mismatch(
                    field=verdict.field,
                    stored=verdict.stored,
                    recomputed=verdict.recomputed,
                    differing_count=verdict.differing,
                )
            )
        case ReplayRuntimeDiffers():
            result.runtime_differs.CopyFrom(
                ev.RuntimeDiffers(
                    pd_distance=verdict.pd_distance,
                    differing_count=verdict.differing,
                    compared_count=verdict.compared,
                )
            )
    return result


def unavailable(mode: ev.ReplayMode, why: ev.UnavailableReason, detail: str) -> ev.ReplayResult:
    """Say why there is no verdict."""
    return ev.ReplayResult(mode=mode, unavailable=ev.Unavailable(why=why, detail=detail))
