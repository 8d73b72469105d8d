"""Notices to the person concerned: the reasons for a decision in their language, and what would have changed it."""

from grounds.audit.v1 import evidence_pb2 as ev
from grounds.credit.v1 import credit_pb2
from models.model import Model
from models.reasons import choose_locale
from server.decisions.policy import Policy
from server.edges.audit.approved_changes import find_approved_changes
from server.edges.audit.decision_evidence import find_decision
from server.edges.audit.decision_replay import RecordedDecision, ReplaySources, assess_again
from server.edges.audit.replay_results import ReplayUnavailable, flat_fields
from server.edges.credit.messages import assessment_message
from server.edges.credit.recourse import RecourseFinder
from server.edges.identity.callers import Caller
from server.edges.thread_pool import StoreThreads
from server.errors import BundleNotReadable, NoticeUnavailable
from server.stores.catalog.bundle_cache import refuse_unusable_bundle
from server.stores.record_log.log import RecordLog


class NoticeWriter:
    """Computes notices from records, with the recorded bundles and policies."""

    def __init__(self, log: RecordLog, sources: ReplaySources, threads: StoreThreads) -> None:
        self._log, self._sources, self._threads = log, sources, threads

    async def write(self, decision_id: str, locale: str, caller: Caller) -> credit_pb2.DecisionNotice:
        """Return the notice of a decision.

        Args:
            decision_id: The id of the decision.
            locale: The requested language as a BCP 47 tag.
            caller: The caller, who must be allowed to ask about the market of the decision.

        Raises:
            DecisionUnknown: There is no such decision, or the caller may not ask about its market.
            NoticeUnavailable: The record, its bundle or its policy cannot be read, or they do not reproduce the
                recorded reasons.
        """
        return await self._threads.run_long(self._write, decision_id, locale, caller)

    def _write(self, decision_id: str, locale: str, caller: Caller) -> credit_pb2.DecisionNotice:
        """Compute the decision again, compare its reasons with the record, and return them in the given language."""
        found = find_decision(self._log.reader, decision_id, caller)
        try:
            recorded = self._sources.decode(found)
            model, policy = self._sources.open_model(recorded), self._sources.read_policy(recorded)
            with refuse_unusable_bundle(recorded.body.bundle_id):
                return _notice(recorded, model, policy, locale)
        except (ReplayUnavailable, BundleNotReadable) as error:
            raise NoticeUnavailable(
                f"no notice can be computed for this decision: {error}", decision_id=decision_id
            ) from error


def _notice(recorded: RecordedDecision, model: Model, policy: Policy, locale: str) -> credit_pb2.DecisionNotice:
    """Return the notice of a decision, computed with the recorded model and policy.

    Raises:
        ReplayUnavailable: The computation does not reproduce the recorded reasons.
    """
    again = assess_again(recorded, model, policy)
    # A notice must state the recorded reasons. The translated reasons are the same ones only if the computation
    # reproduces the codes, contributions and texts in the record.
    if flat_fields("", assessment_message(again).reasons) != flat_fields("", recorded.decision.assessment.reasons):
        raise ReplayUnavailable(
            ev.UNAVAILABLE_REASON_RECORD_DAMAGED,
            "its reasons, computed again, differ from the record; replay the decision",
        )
    # The texts of the model and of the policy are in one language only if both have it.
    offered = model.bundle.schema.locales & policy.locales
    chosen = choose_locale(offered, locale, recorded.customer[0])
    translated = assess_again(recorded, model, policy, chosen)
    notice = credit_pb2.DecisionNotice(reasons=assessment_message(translated).reasons)
    if recorded.decision.decision != credit_pb2.DECISION_APPROVE:
        changes = find_approved_changes(RecourseFinder(), translated)
        if changes is not None:
            notice.recourse.CopyFrom(changes)
    return notice
