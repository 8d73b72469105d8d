"""Notices to the person concerned: the reasons for a decision in their language, and what would have changed it."""

from dataclasses import replace
from decimal import Decimal

from grounds.audit.v1 import evidence_pb2 as ev
from grounds.credit.v1 import credit_pb2
from models.model import Model
from models.reasons import DEFAULT_LOCALE, PlaceholderValue, choose_locale
from models.schema import FeatureInput
from server.decisions.assessment import Assessment, assess
from server.decisions.policy import Policy, PolicyOutcome
from server.decisions.sourced_values import SourcedValue
from server.edges.audit.decision_evidence import find_decision
from server.edges.audit.decision_replay import RecordedDecision, ReplaySources, assess_again
from server.edges.audit.replay_results import ReplayUnavailable, flat_fields
from server.edges.credit.messages import assessment_message
from server.edges.credit.recourse import RecourseFinder
from server.edges.explanations import feature_value
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
        found = RecourseFinder().find(translated, _approvable_pd(translated))
        changes = _approved_changes(found, translated)
        if changes is not None:
            notice.recourse.CopyFrom(changes)
    return notice


def _approvable_pd(assessment: Assessment) -> float:
    """Return the largest pd with which the policy may approve the requested amount; the cut-off if no grade allows it."""
    section, amount = assessment.section, assessment.question.amount
    grades = assessment.model.bundle.scorecard.grades
    allowed = [each.max_pd for each in grades if section.grade_limit(each.grade) >= amount]
    return min([section.approve_max_pd, *([max(allowed)] if allowed else [])])


def _approved_changes(found: credit_pb2.Recourse, assessment: Assessment) -> credit_pb2.Recourse | None:
    """Return the counterfactuals that the whole policy approves, with each change in words.

    The search for counterfactuals considers only the probability of default. A rule of the policy may still prevent the
    approval, and a notice must not promise an approval that the policy would not grant.

    Returns:
        None if nothing can be said: no search was needed or possible, or a feature has no name in the language.
    """
    if found.status not in {credit_pb2.RECOURSE_STATUS_FOUND, credit_pb2.RECOURSE_STATUS_NO_RECOURSE_FOUND}:
        return None
    approved = [each for each in found.counterfactuals if _is_approved(each, assessment)]
    schema, locale = assessment.model.bundle.schema, assessment.locale
    for change in (change for each in approved for change in each.changes):
        feature = schema.features[schema.position[change.feature]]
        if locale != DEFAULT_LOCALE and locale not in feature.names:
            return None
        change.text = _change_text(change, feature.name_in(locale), locale)
    status = credit_pb2.RECOURSE_STATUS_FOUND if approved else credit_pb2.RECOURSE_STATUS_NO_RECOURSE_FOUND
    return credit_pb2.Recourse(status=status, counterfactuals=approved)


def _is_approved(counterfactual: credit_pb2.Counterfactual, assessment: Assessment) -> bool:
    """Return whether the policy approves the application with the proposed values."""
    proposed = {}
    for change in counterfactual.changes:
        value, known = feature_value(change.proposed), assessment.inputs.get(change.feature)
        proposed[change.feature] = known._replace(value=value) if known else SourcedValue(value, "CALLER", None)
    question = replace(assessment.question, inputs={**assessment.inputs, **proposed})
    return assess(assessment.model, assessment.policy, question).outcome is PolicyOutcome.APPROVE


def _change_text(change: credit_pb2.FeatureChange, name: str, locale: str) -> str:
    """Return a change as text: the name of the feature, its recorded value and its proposed value.

    The proposed value has all its decimal places, because a rounded value may not suffice. The recorded value has as many, or more
    if the two would look the same.
    """
    now = feature_value(change.current) if change.HasField("current") else None
    proposed = feature_value(change.proposed)
    places = [_decimal_places(proposed), max(_decimal_places(proposed), _decimal_places(now))]
    texts = [_value_texts((now, proposed), each, locale) for each in places]
    return f"{name}: {' → '.join(next((each for each in texts if each[0] != each[1]), texts[-1]))}"


def _value_texts(values: tuple[FeatureInput | None, ...], places: int, locale: str) -> list[str]:
    """Return values as text with at most so many decimal places."""
    pattern = f"#,##0.{'#' * places}" if places else "#,##0"
    return [format(PlaceholderValue(value, None, locale), pattern) for value in values]


def _decimal_places(value: FeatureInput | None) -> int:
    """Return the number of decimal places that a number needs to be exact; 0 for a level or a missing value."""
    if not isinstance(value, float):
        return 0
    return max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))
