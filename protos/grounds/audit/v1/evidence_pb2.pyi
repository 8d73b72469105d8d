import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grounds.churn.v1 import churn_pb2 as _churn_pb2
from grounds.credit.v1 import credit_pb2 as _credit_pb2
from grounds.explain.v1 import explain_pb2 as _explain_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplayMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLAY_MODE_UNSPECIFIED: _ClassVar[ReplayMode]
    REPLAY_MODE_VERIFY: _ClassVar[ReplayMode]
    REPLAY_MODE_FEATURES: _ClassVar[ReplayMode]
    REPLAY_MODE_SCORE: _ClassVar[ReplayMode]
    REPLAY_MODE_EXPLANATION: _ClassVar[ReplayMode]
    REPLAY_MODE_WHAT_IF: _ClassVar[ReplayMode]

class UnavailableReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNAVAILABLE_REASON_UNSPECIFIED: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_INPUT_ERASED: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_ARTIFACT_MISSING: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_POLICY_MISSING: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_FEATURES_MISSING: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_RECORD_DAMAGED: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_PROOF_MISSING: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_TRANSACTIONS_ELSEWHERE: _ClassVar[UnavailableReason]
    UNAVAILABLE_REASON_NOT_SCORED: _ClassVar[UnavailableReason]

class BodyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BODY_STATE_UNSPECIFIED: _ClassVar[BodyState]
    BODY_STATE_READABLE: _ClassVar[BodyState]
    BODY_STATE_ERASED: _ClassVar[BodyState]
REPLAY_MODE_UNSPECIFIED: ReplayMode
REPLAY_MODE_VERIFY: ReplayMode
REPLAY_MODE_FEATURES: ReplayMode
REPLAY_MODE_SCORE: ReplayMode
REPLAY_MODE_EXPLANATION: ReplayMode
REPLAY_MODE_WHAT_IF: ReplayMode
UNAVAILABLE_REASON_UNSPECIFIED: UnavailableReason
UNAVAILABLE_REASON_INPUT_ERASED: UnavailableReason
UNAVAILABLE_REASON_ARTIFACT_MISSING: UnavailableReason
UNAVAILABLE_REASON_POLICY_MISSING: UnavailableReason
UNAVAILABLE_REASON_FEATURES_MISSING: UnavailableReason
UNAVAILABLE_REASON_RECORD_DAMAGED: UnavailableReason
UNAVAILABLE_REASON_PROOF_MISSING: UnavailableReason
UNAVAILABLE_REASON_TRANSACTIONS_ELSEWHERE: UnavailableReason
UNAVAILABLE_REASON_NOT_SCORED: UnavailableReason
BODY_STATE_UNSPECIFIED: BodyState
BODY_STATE_READABLE: BodyState
BODY_STATE_ERASED: BodyState

class ReplayDecisionRequest(_message.Message):
    __slots__ = ("decision_id", "purpose", "modes", "bundle_id")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    purpose: str
    modes: _containers.RepeatedScalarFieldContainer[ReplayMode]
    bundle_id: str
    def __init__(self, decision_id: _Optional[str] = ..., purpose: _Optional[str] = ..., modes: _Optional[_Iterable[_Union[ReplayMode, str]]] = ..., bundle_id: _Optional[str] = ...) -> None: ...

class ReplayResult(_message.Message):
    __slots__ = ("mode", "match", "mismatch", "unavailable", "runtime_differs", "what_if", "left_out")
    MODE_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    MISMATCH_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_DIFFERS_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    mode: ReplayMode
    match: Match
    mismatch: Mismatch
    unavailable: Unavailable
    runtime_differs: RuntimeDiffers
    what_if: WhatIf
    left_out: str
    def __init__(self, mode: _Optional[_Union[ReplayMode, str]] = ..., match: _Optional[_Union[Match, _Mapping]] = ..., mismatch: _Optional[_Union[Mismatch, _Mapping]] = ..., unavailable: _Optional[_Union[Unavailable, _Mapping]] = ..., runtime_differs: _Optional[_Union[RuntimeDiffers, _Mapping]] = ..., what_if: _Optional[_Union[WhatIf, _Mapping]] = ..., left_out: _Optional[str] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("compared_count",)
    COMPARED_COUNT_FIELD_NUMBER: _ClassVar[int]
    compared_count: int
    def __init__(self, compared_count: _Optional[int] = ...) -> None: ...

class Mismatch(_message.Message):
    __slots__ = ("field", "stored", "recomputed", "differing_count")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    RECOMPUTED_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_COUNT_FIELD_NUMBER: _ClassVar[int]
    field: str
    stored: str
    recomputed: str
    differing_count: int
    def __init__(self, field: _Optional[str] = ..., stored: _Optional[str] = ..., recomputed: _Optional[str] = ..., differing_count: _Optional[int] = ...) -> None: ...

class Unavailable(_message.Message):
    __slots__ = ("why", "detail")
    WHY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    why: UnavailableReason
    detail: str
    def __init__(self, why: _Optional[_Union[UnavailableReason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class RuntimeDiffers(_message.Message):
    __slots__ = ("pd_distance", "differing_count", "compared_count")
    PD_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPARED_COUNT_FIELD_NUMBER: _ClassVar[int]
    pd_distance: float
    differing_count: int
    compared_count: int
    def __init__(self, pd_distance: _Optional[float] = ..., differing_count: _Optional[int] = ..., compared_count: _Optional[int] = ...) -> None: ...

class WhatIf(_message.Message):
    __slots__ = ("notice", "bundle_id", "assessment", "churn")
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    CHURN_FIELD_NUMBER: _ClassVar[int]
    notice: str
    bundle_id: str
    assessment: _credit_pb2.CreditAssessment
    churn: ChurnWhatIf
    def __init__(self, notice: _Optional[str] = ..., bundle_id: _Optional[str] = ..., assessment: _Optional[_Union[_credit_pb2.CreditAssessment, _Mapping]] = ..., churn: _Optional[_Union[ChurnWhatIf, _Mapping]] = ...) -> None: ...

class ChurnWhatIf(_message.Message):
    __slots__ = ("log_odds", "churn_probability", "risk_band", "explanation")
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    CHURN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    RISK_BAND_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    log_odds: float
    churn_probability: float
    risk_band: _churn_pb2.RiskBand
    explanation: _explain_pb2.Explanation
    def __init__(self, log_odds: _Optional[float] = ..., churn_probability: _Optional[float] = ..., risk_band: _Optional[_Union[_churn_pb2.RiskBand, str]] = ..., explanation: _Optional[_Union[_explain_pb2.Explanation, _Mapping]] = ...) -> None: ...

class EvidenceReading(_message.Message):
    __slots__ = ("record_id", "index")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    index: int
    def __init__(self, record_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class EvidenceReadingRecord(_message.Message):
    __slots__ = ("decision_id", "method", "purpose", "modes", "bundle_id", "caller", "read_time", "run_id", "market", "start_time", "end_time", "decision_count", "policy_sha256", "operator")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_COUNT_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    method: str
    purpose: str
    modes: _containers.RepeatedScalarFieldContainer[ReplayMode]
    bundle_id: str
    caller: str
    read_time: _timestamp_pb2.Timestamp
    run_id: str
    market: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    decision_count: int
    policy_sha256: str
    operator: str
    def __init__(self, decision_id: _Optional[str] = ..., method: _Optional[str] = ..., purpose: _Optional[str] = ..., modes: _Optional[_Iterable[_Union[ReplayMode, str]]] = ..., bundle_id: _Optional[str] = ..., caller: _Optional[str] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., run_id: _Optional[str] = ..., market: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decision_count: _Optional[int] = ..., policy_sha256: _Optional[str] = ..., operator: _Optional[str] = ...) -> None: ...
