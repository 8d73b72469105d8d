"""Notices to the person concerned: the reasons for a decision in their language, and what would have changed it."""

from dataclasses import replace

from grounds.credit.v1 import credit_pb2
from models.errors import AdditivityError, BundleInvalid
from models.model import Model
from models.reasons import PlaceholderValue
from server.decisions.assessment import Assessment, SourcedValue, assess
from server.decisions.policy import PolicyOutcome
from server.edges.audit.decision_evidence import find_decision
from server.edges.audit.decision_replay import ReplaySources, assess_again
from server.edges.audit.replay_results import ReplayUnavailable, flat_fields
from server.edges.credit.messages import assessment_message
from server.edges.credit.recourse import RecourseFinder
from server.edges.explanations import feature_value
from server.edges.identity.callers import Caller
from server.edges.thread_pool import StoreThreads
from server.errors import NoticeUnavailable
from server.stores.record_log.log import RecordLog

_VALUE_PATTERN = "#,##0.##"


class NoticeWriter:
    """Computes notices from records, with the recorded bundles and policies."""

    def __init__(self, log: RecordLog, sources: ReplaySources, threads: StoreThreads) -> None:
        self._log, self._sources, self._threads = log, sources, threads
        self._recourse = RecourseFinder()

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
            again = assess_again(recorded, model, policy)
            translated = assess_again(recorded, model, policy, locale)
        except (ReplayUnavailable, BundleInvalid, AdditivityError) as error:
            raise _unavailable(decision_id, str(error)) from error
        reasons = recorded.decision.assessment.reasons
        # A notice must state the recorded reasons. The translated reasons are the same ones only if the computation
        # reproduces the codes, contributions and texts in the record.
        if flat_fields("", assessment_message(again).reasons) != flat_fields("", reasons):
            raise _unavailable(decision_id, "its reasons, computed again, differ from the record; replay the decision")
        notice = credit_pb2.DecisionNotice(reasons=assessment_message(translated).reasons)
        if recorded.decision.decision != credit_pb2.DECISION_APPROVE:
            notice.recourse.CopyFrom(_approved_changes(self._recourse.find(translated), translated))
        return notice


def _approved_changes(found: credit_pb2.Recourse, assessment: Assessment) -> credit_pb2.Recourse:
    """Return the counterfactuals that the whole policy approves, with each change in words.

    The search for counterfactuals considers only the cut-off of the probability of default. A rule or a limit of the
    policy may still prevent the approval, and a notice must not promise an approval that the policy would not grant.
    """
    approved = [each for each in found.counterfactuals if _is_approved(each, assessment)]
    for counterfactual in approved:
        for change in counterfactual.changes:
            change.text = _change_text(change, assessment.model, assessment.locale)
    is_lost = found.counterfactuals and not approved
    status = credit_pb2.RECOURSE_STATUS_NO_RECOURSE_FOUND if is_lost else found.status
    return credit_pb2.Recourse(status=status, counterfactuals=approved)


def _is_approved(counterfactual: credit_pb2.Counterfactual, assessment: Assessment) -> bool:
    """Return whether the policy approves the application with the proposed values."""
    proposed = {}
    for change in counterfactual.changes:
        value, known = feature_value(change.proposed), assessment.inputs.get(change.feature)
        proposed[change.feature] = known._replace(value=value) if known else SourcedValue(value, "CALLER", None)
    question = replace(assessment.question, inputs={**assessment.inputs, **proposed})
    return assess(assessment.model, assessment.policy, question).outcome is PolicyOutcome.APPROVE


def _change_text(change: credit_pb2.FeatureChange, model: Model, locale: str) -> str:
    """Return a change as text: the name of the feature, its recorded value and its proposed value."""
    schema = model.bundle.schema
    name = schema.features[schema.position[change.feature]].name_in(locale)
    current = feature_value(change.current) if change.HasField("current") else None
    values = (PlaceholderValue(value, None, locale) for value in (current, feature_value(change.proposed)))
    now, proposed = (format(value, _VALUE_PATTERN) for value in values)
    return f"{name}: {now} → {proposed}"


def _unavailable(decision_id: str, problem: str) -> NoticeUnavailable:
    """Return the error of a decision for which no notice can be computed."""
    return NoticeUnavailable(f"no notice can be computed for this decision: {problem}", decision_id=decision_id)
