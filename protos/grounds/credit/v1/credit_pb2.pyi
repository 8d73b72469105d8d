import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.type import date_pb2 as _date_pb2
from google.type import money_pb2 as _money_pb2
from grounds.customer.v1 import customer_pb2 as _customer_pb2
from grounds.explain.v1 import explain_pb2 as _explain_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecourseStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECOURSE_STATUS_UNSPECIFIED: _ClassVar[RecourseStatus]
    RECOURSE_STATUS_FOUND: _ClassVar[RecourseStatus]
    RECOURSE_STATUS_NO_RECOURSE_FOUND: _ClassVar[RecourseStatus]
    RECOURSE_STATUS_NOT_NEEDED: _ClassVar[RecourseStatus]
    RECOURSE_STATUS_NOT_SCORABLE: _ClassVar[RecourseStatus]

class OverrideSide(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERRIDE_SIDE_UNSPECIFIED: _ClassVar[OverrideSide]
    OVERRIDE_SIDE_HIGH: _ClassVar[OverrideSide]
    OVERRIDE_SIDE_LOW: _ClassVar[OverrideSide]
    OVERRIDE_SIDE_REFERRAL: _ClassVar[OverrideSide]
    OVERRIDE_SIDE_WITHDRAWAL: _ClassVar[OverrideSide]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_APPROVE: _ClassVar[Decision]
    DECISION_APPROVE_REDUCED: _ClassVar[Decision]
    DECISION_REFER: _ClassVar[Decision]
    DECISION_DECLINE: _ClassVar[Decision]
    DECISION_NOT_SCORABLE: _ClassVar[Decision]

class InputCondition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INPUT_CONDITION_UNSPECIFIED: _ClassVar[InputCondition]
    INPUT_CONDITION_UNSEEN_LEVEL: _ClassVar[InputCondition]
    INPUT_CONDITION_OUTSIDE_RANGE: _ClassVar[InputCondition]
    INPUT_CONDITION_OLDER_THAN: _ClassVar[InputCondition]
RECOURSE_STATUS_UNSPECIFIED: RecourseStatus
RECOURSE_STATUS_FOUND: RecourseStatus
RECOURSE_STATUS_NO_RECOURSE_FOUND: RecourseStatus
RECOURSE_STATUS_NOT_NEEDED: RecourseStatus
RECOURSE_STATUS_NOT_SCORABLE: RecourseStatus
OVERRIDE_SIDE_UNSPECIFIED: OverrideSide
OVERRIDE_SIDE_HIGH: OverrideSide
OVERRIDE_SIDE_LOW: OverrideSide
OVERRIDE_SIDE_REFERRAL: OverrideSide
OVERRIDE_SIDE_WITHDRAWAL: OverrideSide
DECISION_UNSPECIFIED: Decision
DECISION_APPROVE: Decision
DECISION_APPROVE_REDUCED: Decision
DECISION_REFER: Decision
DECISION_DECLINE: Decision
DECISION_NOT_SCORABLE: Decision
INPUT_CONDITION_UNSPECIFIED: InputCondition
INPUT_CONDITION_UNSEEN_LEVEL: InputCondition
INPUT_CONDITION_OUTSIDE_RANGE: InputCondition
INPUT_CONDITION_OLDER_THAN: InputCondition

class ScoreCreditRequest(_message.Message):
    __slots__ = ("request_id", "customer", "requested_amount", "features", "locale", "product", "facts")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _explain_pb2.FeatureValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ...) -> None: ...
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _explain_pb2.FeatureValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    customer: _customer_pb2.Customer
    requested_amount: _money_pb2.Money
    features: _containers.MessageMap[str, _explain_pb2.FeatureValue]
    locale: str
    product: str
    facts: _containers.MessageMap[str, _explain_pb2.FeatureValue]
    def __init__(self, request_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., requested_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., features: _Optional[_Mapping[str, _explain_pb2.FeatureValue]] = ..., locale: _Optional[str] = ..., product: _Optional[str] = ..., facts: _Optional[_Mapping[str, _explain_pb2.FeatureValue]] = ...) -> None: ...

class ScoreCreditResponse(_message.Message):
    __slots__ = ("credit_decision",)
    CREDIT_DECISION_FIELD_NUMBER: _ClassVar[int]
    credit_decision: CreditDecision
    def __init__(self, credit_decision: _Optional[_Union[CreditDecision, _Mapping]] = ...) -> None: ...

class BatchScoreCreditRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ScoreCreditRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ScoreCreditRequest, _Mapping]]] = ...) -> None: ...

class BatchScoreCreditResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchScoreCreditResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchScoreCreditResult, _Mapping]]] = ...) -> None: ...

class BatchScoreCreditResult(_message.Message):
    __slots__ = ("index", "credit_decision", "error")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CREDIT_DECISION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    index: int
    credit_decision: CreditDecision
    error: _status_pb2.Status
    def __init__(self, index: _Optional[int] = ..., credit_decision: _Optional[_Union[CreditDecision, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class SimulateCreditRequest(_message.Message):
    __slots__ = ("customer", "requested_amount", "features", "locale", "product", "facts", "counterfactuals")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _explain_pb2.FeatureValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ...) -> None: ...
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _explain_pb2.FeatureValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ...) -> None: ...
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    COUNTERFACTUALS_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    requested_amount: _money_pb2.Money
    features: _containers.MessageMap[str, _explain_pb2.FeatureValue]
    locale: str
    product: str
    facts: _containers.MessageMap[str, _explain_pb2.FeatureValue]
    counterfactuals: bool
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., requested_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., features: _Optional[_Mapping[str, _explain_pb2.FeatureValue]] = ..., locale: _Optional[str] = ..., product: _Optional[str] = ..., facts: _Optional[_Mapping[str, _explain_pb2.FeatureValue]] = ..., counterfactuals: _Optional[bool] = ...) -> None: ...

class SimulateCreditResponse(_message.Message):
    __slots__ = ("known", "simulated", "recourse")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_FIELD_NUMBER: _ClassVar[int]
    RECOURSE_FIELD_NUMBER: _ClassVar[int]
    known: CreditAssessment
    simulated: CreditAssessment
    recourse: Recourse
    def __init__(self, known: _Optional[_Union[CreditAssessment, _Mapping]] = ..., simulated: _Optional[_Union[CreditAssessment, _Mapping]] = ..., recourse: _Optional[_Union[Recourse, _Mapping]] = ...) -> None: ...

class Recourse(_message.Message):
    __slots__ = ("status", "counterfactuals")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COUNTERFACTUALS_FIELD_NUMBER: _ClassVar[int]
    status: RecourseStatus
    counterfactuals: _containers.RepeatedCompositeFieldContainer[Counterfactual]
    def __init__(self, status: _Optional[_Union[RecourseStatus, str]] = ..., counterfactuals: _Optional[_Iterable[_Union[Counterfactual, _Mapping]]] = ...) -> None: ...

class Counterfactual(_message.Message):
    __slots__ = ("changes", "pd", "score")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PD_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[FeatureChange]
    pd: float
    score: int
    def __init__(self, changes: _Optional[_Iterable[_Union[FeatureChange, _Mapping]]] = ..., pd: _Optional[float] = ..., score: _Optional[int] = ...) -> None: ...

class FeatureChange(_message.Message):
    __slots__ = ("feature", "current", "proposed", "text")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    feature: str
    current: _explain_pb2.FeatureValue
    proposed: _explain_pb2.FeatureValue
    text: str
    def __init__(self, feature: _Optional[str] = ..., current: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ..., proposed: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class GetCreditDecisionRequest(_message.Message):
    __slots__ = ("decision_id", "notice_locale")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    NOTICE_LOCALE_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    notice_locale: str
    def __init__(self, decision_id: _Optional[str] = ..., notice_locale: _Optional[str] = ...) -> None: ...

class GetCreditDecisionResponse(_message.Message):
    __slots__ = ("credit_decision", "overrides", "outcomes", "notice")
    CREDIT_DECISION_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    credit_decision: CreditDecision
    overrides: _containers.RepeatedCompositeFieldContainer[Override]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    notice: DecisionNotice
    def __init__(self, credit_decision: _Optional[_Union[CreditDecision, _Mapping]] = ..., overrides: _Optional[_Iterable[_Union[Override, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., notice: _Optional[_Union[DecisionNotice, _Mapping]] = ...) -> None: ...

class ListCustomerDecisionsRequest(_message.Message):
    __slots__ = ("customer", "page_size", "page_token")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    page_size: int
    page_token: str
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCustomerDecisionsResponse(_message.Message):
    __slots__ = ("decisions", "next_page_token")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[CustomerDecision]
    next_page_token: str
    def __init__(self, decisions: _Optional[_Iterable[_Union[CustomerDecision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CustomerDecision(_message.Message):
    __slots__ = ("decision_id", "decide_time", "decision", "grade", "content_removed", "requested_amount", "expire_time", "override", "outcome")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_REMOVED_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    decide_time: _timestamp_pb2.Timestamp
    decision: Decision
    grade: str
    content_removed: bool
    requested_amount: _money_pb2.Money
    expire_time: _timestamp_pb2.Timestamp
    override: Override
    outcome: Outcome
    def __init__(self, decision_id: _Optional[str] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decision: _Optional[_Union[Decision, str]] = ..., grade: _Optional[str] = ..., content_removed: _Optional[bool] = ..., requested_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., override: _Optional[_Union[Override, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class DecisionNotice(_message.Message):
    __slots__ = ("reasons", "recourse")
    REASONS_FIELD_NUMBER: _ClassVar[int]
    RECOURSE_FIELD_NUMBER: _ClassVar[int]
    reasons: _explain_pb2.Reasons
    recourse: Recourse
    def __init__(self, reasons: _Optional[_Union[_explain_pb2.Reasons, _Mapping]] = ..., recourse: _Optional[_Union[Recourse, _Mapping]] = ...) -> None: ...

class RecordOverrideRequest(_message.Message):
    __slots__ = ("request_id", "decision_id", "decision", "granted_amount", "reason_code", "user_id", "user_role", "authority_limit", "second_user_id", "comment", "locale", "previous_override_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    GRANTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ROLE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SECOND_USER_ID_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_OVERRIDE_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    decision_id: str
    decision: Decision
    granted_amount: _money_pb2.Money
    reason_code: str
    user_id: str
    user_role: str
    authority_limit: _money_pb2.Money
    second_user_id: str
    comment: str
    locale: str
    previous_override_id: str
    def __init__(self, request_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., decision: _Optional[_Union[Decision, str]] = ..., granted_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., reason_code: _Optional[str] = ..., user_id: _Optional[str] = ..., user_role: _Optional[str] = ..., authority_limit: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., second_user_id: _Optional[str] = ..., comment: _Optional[str] = ..., locale: _Optional[str] = ..., previous_override_id: _Optional[str] = ...) -> None: ...

class RecordOverrideResponse(_message.Message):
    __slots__ = ("override",)
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    override: Override
    def __init__(self, override: _Optional[_Union[Override, _Mapping]] = ...) -> None: ...

class Override(_message.Message):
    __slots__ = ("override_id", "request_id", "decision_id", "override_time", "side", "decision", "granted_amount", "reason_code", "reason_text", "locale", "user_id", "user_role", "authority_limit", "second_user_id", "comment", "policy_version", "policy_sha256")
    OVERRIDE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    GRANTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_TEXT_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ROLE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SECOND_USER_ID_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    override_id: str
    request_id: str
    decision_id: str
    override_time: _timestamp_pb2.Timestamp
    side: OverrideSide
    decision: Decision
    granted_amount: _money_pb2.Money
    reason_code: str
    reason_text: str
    locale: str
    user_id: str
    user_role: str
    authority_limit: _money_pb2.Money
    second_user_id: str
    comment: str
    policy_version: str
    policy_sha256: str
    def __init__(self, override_id: _Optional[str] = ..., request_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., override_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., side: _Optional[_Union[OverrideSide, str]] = ..., decision: _Optional[_Union[Decision, str]] = ..., granted_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., reason_code: _Optional[str] = ..., reason_text: _Optional[str] = ..., locale: _Optional[str] = ..., user_id: _Optional[str] = ..., user_role: _Optional[str] = ..., authority_limit: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., second_user_id: _Optional[str] = ..., comment: _Optional[str] = ..., policy_version: _Optional[str] = ..., policy_sha256: _Optional[str] = ...) -> None: ...

class RecordOutcomeRequest(_message.Message):
    __slots__ = ("request_id", "decision_id", "event_date", "booked", "days_past_due", "default", "cure", "corrects_outcome_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_DATE_FIELD_NUMBER: _ClassVar[int]
    BOOKED_FIELD_NUMBER: _ClassVar[int]
    DAYS_PAST_DUE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    CURE_FIELD_NUMBER: _ClassVar[int]
    CORRECTS_OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    decision_id: str
    event_date: _date_pb2.Date
    booked: Booked
    days_past_due: DaysPastDue
    default: Default
    cure: Cure
    corrects_outcome_id: str
    def __init__(self, request_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., event_date: _Optional[_Union[_date_pb2.Date, _Mapping]] = ..., booked: _Optional[_Union[Booked, _Mapping]] = ..., days_past_due: _Optional[_Union[DaysPastDue, _Mapping]] = ..., default: _Optional[_Union[Default, _Mapping]] = ..., cure: _Optional[_Union[Cure, _Mapping]] = ..., corrects_outcome_id: _Optional[str] = ...) -> None: ...

class Booked(_message.Message):
    __slots__ = ("amount",)
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    amount: _money_pb2.Money
    def __init__(self, amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class DaysPastDue(_message.Message):
    __slots__ = ("days",)
    DAYS_FIELD_NUMBER: _ClassVar[int]
    days: int
    def __init__(self, days: _Optional[int] = ...) -> None: ...

class Default(_message.Message):
    __slots__ = ("trigger_code",)
    TRIGGER_CODE_FIELD_NUMBER: _ClassVar[int]
    trigger_code: str
    def __init__(self, trigger_code: _Optional[str] = ...) -> None: ...

class Cure(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordOutcomeResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    def __init__(self, outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("outcome_id", "request_id", "decision_id", "record_time", "event_date", "booked", "days_past_due", "default", "cure", "corrects_outcome_id")
    OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_DATE_FIELD_NUMBER: _ClassVar[int]
    BOOKED_FIELD_NUMBER: _ClassVar[int]
    DAYS_PAST_DUE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    CURE_FIELD_NUMBER: _ClassVar[int]
    CORRECTS_OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    outcome_id: str
    request_id: str
    decision_id: str
    record_time: _timestamp_pb2.Timestamp
    event_date: _date_pb2.Date
    booked: Booked
    days_past_due: DaysPastDue
    default: Default
    cure: Cure
    corrects_outcome_id: str
    def __init__(self, outcome_id: _Optional[str] = ..., request_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_date: _Optional[_Union[_date_pb2.Date, _Mapping]] = ..., booked: _Optional[_Union[Booked, _Mapping]] = ..., days_past_due: _Optional[_Union[DaysPastDue, _Mapping]] = ..., default: _Optional[_Union[Default, _Mapping]] = ..., cure: _Optional[_Union[Cure, _Mapping]] = ..., corrects_outcome_id: _Optional[str] = ...) -> None: ...

class CreditDecision(_message.Message):
    __slots__ = ("record_ref", "customer", "requested_amount", "decision", "assessment", "expire_time")
    RECORD_REF_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    record_ref: RecordRef
    customer: _customer_pb2.Customer
    requested_amount: _money_pb2.Money
    decision: Decision
    assessment: CreditAssessment
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, record_ref: _Optional[_Union[RecordRef, _Mapping]] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., requested_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., decision: _Optional[_Union[Decision, str]] = ..., assessment: _Optional[_Union[CreditAssessment, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreditAssessment(_message.Message):
    __slots__ = ("model_output", "explanation", "recommendation", "policy_result", "reasons", "warnings")
    MODEL_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_RESULT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    model_output: ModelOutput
    explanation: _explain_pb2.Explanation
    recommendation: Recommendation
    policy_result: PolicyResult
    reasons: _explain_pb2.Reasons
    warnings: _containers.RepeatedCompositeFieldContainer[_explain_pb2.Warning]
    def __init__(self, model_output: _Optional[_Union[ModelOutput, _Mapping]] = ..., explanation: _Optional[_Union[_explain_pb2.Explanation, _Mapping]] = ..., recommendation: _Optional[_Union[Recommendation, _Mapping]] = ..., policy_result: _Optional[_Union[PolicyResult, _Mapping]] = ..., reasons: _Optional[_Union[_explain_pb2.Reasons, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_explain_pb2.Warning, _Mapping]]] = ...) -> None: ...

class ModelOutput(_message.Message):
    __slots__ = ("bundle_id", "log_odds", "pd", "score", "grade")
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    PD_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    bundle_id: str
    log_odds: float
    pd: float
    score: int
    grade: str
    def __init__(self, bundle_id: _Optional[str] = ..., log_odds: _Optional[float] = ..., pd: _Optional[float] = ..., score: _Optional[int] = ..., grade: _Optional[str] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("decision", "approve_max_pd", "refer_max_pd")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    APPROVE_MAX_PD_FIELD_NUMBER: _ClassVar[int]
    REFER_MAX_PD_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    approve_max_pd: float
    refer_max_pd: float
    def __init__(self, decision: _Optional[_Union[Decision, str]] = ..., approve_max_pd: _Optional[float] = ..., refer_max_pd: _Optional[float] = ...) -> None: ...

class PolicyResult(_message.Message):
    __slots__ = ("policy_version", "policy_sha256", "decision", "rules", "product", "effective_from", "approvable_amount", "expected_loss", "lgd")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FROM_FIELD_NUMBER: _ClassVar[int]
    APPROVABLE_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_LOSS_FIELD_NUMBER: _ClassVar[int]
    LGD_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    policy_sha256: str
    decision: Decision
    rules: _containers.RepeatedCompositeFieldContainer[PolicyRule]
    product: str
    effective_from: str
    approvable_amount: _money_pb2.Money
    expected_loss: _money_pb2.Money
    lgd: float
    def __init__(self, policy_version: _Optional[str] = ..., policy_sha256: _Optional[str] = ..., decision: _Optional[_Union[Decision, str]] = ..., rules: _Optional[_Iterable[_Union[PolicyRule, _Mapping]]] = ..., product: _Optional[str] = ..., effective_from: _Optional[str] = ..., approvable_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., expected_loss: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., lgd: _Optional[float] = ...) -> None: ...

class PolicyRule(_message.Message):
    __slots__ = ("code", "passed", "best_decision")
    CODE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    BEST_DECISION_FIELD_NUMBER: _ClassVar[int]
    code: str
    passed: bool
    best_decision: Decision
    def __init__(self, code: _Optional[str] = ..., passed: _Optional[bool] = ..., best_decision: _Optional[_Union[Decision, str]] = ...) -> None: ...

class RecordRef(_message.Message):
    __slots__ = ("decision_id", "request_id", "decide_time", "content_sha256")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    request_id: str
    decide_time: _timestamp_pb2.Timestamp
    content_sha256: str
    def __init__(self, decision_id: _Optional[str] = ..., request_id: _Optional[str] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., content_sha256: _Optional[str] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("market", "product", "locale")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    market: str
    product: str
    locale: str
    def __init__(self, market: _Optional[str] = ..., product: _Optional[str] = ..., locale: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy_version", "policy_sha256", "sections")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    policy_sha256: str
    sections: _containers.RepeatedCompositeFieldContainer[PolicySection]
    def __init__(self, policy_version: _Optional[str] = ..., policy_sha256: _Optional[str] = ..., sections: _Optional[_Iterable[_Union[PolicySection, _Mapping]]] = ...) -> None: ...

class PolicySection(_message.Message):
    __slots__ = ("market", "product", "effective_from", "effective_until", "in_force", "currency_code", "approve_max_pd", "refer_max_pd", "largest_amount", "limits", "mandatory_inputs", "features_max_age_days", "valid_days", "hard_rules", "overrides", "input_rules")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FROM_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    APPROVE_MAX_PD_FIELD_NUMBER: _ClassVar[int]
    REFER_MAX_PD_FIELD_NUMBER: _ClassVar[int]
    LARGEST_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MANDATORY_INPUTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_MAX_AGE_DAYS_FIELD_NUMBER: _ClassVar[int]
    VALID_DAYS_FIELD_NUMBER: _ClassVar[int]
    HARD_RULES_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    INPUT_RULES_FIELD_NUMBER: _ClassVar[int]
    market: str
    product: str
    effective_from: str
    effective_until: str
    in_force: bool
    currency_code: str
    approve_max_pd: float
    refer_max_pd: float
    largest_amount: _money_pb2.Money
    limits: _containers.RepeatedCompositeFieldContainer[GradeLimit]
    mandatory_inputs: _containers.RepeatedScalarFieldContainer[str]
    features_max_age_days: int
    valid_days: int
    hard_rules: _containers.RepeatedCompositeFieldContainer[HardRule]
    overrides: OverrideRules
    input_rules: _containers.RepeatedCompositeFieldContainer[InputRule]
    def __init__(self, market: _Optional[str] = ..., product: _Optional[str] = ..., effective_from: _Optional[str] = ..., effective_until: _Optional[str] = ..., in_force: _Optional[bool] = ..., currency_code: _Optional[str] = ..., approve_max_pd: _Optional[float] = ..., refer_max_pd: _Optional[float] = ..., largest_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[GradeLimit, _Mapping]]] = ..., mandatory_inputs: _Optional[_Iterable[str]] = ..., features_max_age_days: _Optional[int] = ..., valid_days: _Optional[int] = ..., hard_rules: _Optional[_Iterable[_Union[HardRule, _Mapping]]] = ..., overrides: _Optional[_Union[OverrideRules, _Mapping]] = ..., input_rules: _Optional[_Iterable[_Union[InputRule, _Mapping]]] = ...) -> None: ...

class GradeLimit(_message.Message):
    __slots__ = ("grade", "largest_amount")
    GRADE_FIELD_NUMBER: _ClassVar[int]
    LARGEST_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    grade: str
    largest_amount: _money_pb2.Money
    def __init__(self, grade: _Optional[str] = ..., largest_amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class HardRule(_message.Message):
    __slots__ = ("code", "fact", "below", "above", "level", "passing_levels", "best_decision", "best_decision_if_missing")
    CODE_FIELD_NUMBER: _ClassVar[int]
    FACT_FIELD_NUMBER: _ClassVar[int]
    BELOW_FIELD_NUMBER: _ClassVar[int]
    ABOVE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PASSING_LEVELS_FIELD_NUMBER: _ClassVar[int]
    BEST_DECISION_FIELD_NUMBER: _ClassVar[int]
    BEST_DECISION_IF_MISSING_FIELD_NUMBER: _ClassVar[int]
    code: str
    fact: str
    below: float
    above: float
    level: str
    passing_levels: _containers.RepeatedScalarFieldContainer[str]
    best_decision: Decision
    best_decision_if_missing: Decision
    def __init__(self, code: _Optional[str] = ..., fact: _Optional[str] = ..., below: _Optional[float] = ..., above: _Optional[float] = ..., level: _Optional[str] = ..., passing_levels: _Optional[_Iterable[str]] = ..., best_decision: _Optional[_Union[Decision, str]] = ..., best_decision_if_missing: _Optional[_Union[Decision, str]] = ...) -> None: ...

class InputRule(_message.Message):
    __slots__ = ("code", "condition", "features", "max_age_days")
    CODE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_DAYS_FIELD_NUMBER: _ClassVar[int]
    code: str
    condition: InputCondition
    features: _containers.RepeatedScalarFieldContainer[str]
    max_age_days: int
    def __init__(self, code: _Optional[str] = ..., condition: _Optional[_Union[InputCondition, str]] = ..., features: _Optional[_Iterable[str]] = ..., max_age_days: _Optional[int] = ...) -> None: ...

class OverrideRules(_message.Message):
    __slots__ = ("second_person_above", "high_side_reasons", "low_side_reasons")
    SECOND_PERSON_ABOVE_FIELD_NUMBER: _ClassVar[int]
    HIGH_SIDE_REASONS_FIELD_NUMBER: _ClassVar[int]
    LOW_SIDE_REASONS_FIELD_NUMBER: _ClassVar[int]
    second_person_above: _money_pb2.Money
    high_side_reasons: _containers.RepeatedCompositeFieldContainer[OverrideReason]
    low_side_reasons: _containers.RepeatedCompositeFieldContainer[OverrideReason]
    def __init__(self, second_person_above: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., high_side_reasons: _Optional[_Iterable[_Union[OverrideReason, _Mapping]]] = ..., low_side_reasons: _Optional[_Iterable[_Union[OverrideReason, _Mapping]]] = ...) -> None: ...

class OverrideReason(_message.Message):
    __slots__ = ("code", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
