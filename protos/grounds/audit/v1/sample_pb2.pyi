import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grounds.audit.v1 import evidence_pb2 as _evidence_pb2
from grounds.credit.v1 import credit_pb2 as _credit_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StratumKey(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATUM_KEY_UNSPECIFIED: _ClassVar[StratumKey]
    STRATUM_KEY_MARKET: _ClassVar[StratumKey]
    STRATUM_KEY_DECISION: _ClassVar[StratumKey]
    STRATUM_KEY_GRADE: _ClassVar[StratumKey]
STRATUM_KEY_UNSPECIFIED: StratumKey
STRATUM_KEY_MARKET: StratumKey
STRATUM_KEY_DECISION: StratumKey
STRATUM_KEY_GRADE: StratumKey

class DecisionFilter(_message.Message):
    __slots__ = ("start_time", "end_time", "market", "bundle_id", "decision", "grade", "caller")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    market: str
    bundle_id: str
    decision: _credit_pb2.Decision
    grade: str
    caller: str
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., market: _Optional[str] = ..., bundle_id: _Optional[str] = ..., decision: _Optional[_Union[_credit_pb2.Decision, str]] = ..., grade: _Optional[str] = ..., caller: _Optional[str] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "customer_id", "purpose")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    filter: DecisionFilter
    page_size: int
    page_token: str
    customer_id: str
    purpose: str
    def __init__(self, filter: _Optional[_Union[DecisionFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., customer_id: _Optional[str] = ..., purpose: _Optional[str] = ...) -> None: ...

class ListDecisionsResponse(_message.Message):
    __slots__ = ("decisions", "next_page_token", "reading")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[DecisionSummary]
    next_page_token: str
    reading: _evidence_pb2.EvidenceReading
    def __init__(self, decisions: _Optional[_Iterable[_Union[DecisionSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., reading: _Optional[_Union[_evidence_pb2.EvidenceReading, _Mapping]] = ...) -> None: ...

class DecisionSummary(_message.Message):
    __slots__ = ("decision_id", "index", "decide_time", "market", "bundle_id", "decision", "grade", "caller")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    index: int
    decide_time: _timestamp_pb2.Timestamp
    market: str
    bundle_id: str
    decision: _credit_pb2.Decision
    grade: str
    caller: str
    def __init__(self, decision_id: _Optional[str] = ..., index: _Optional[int] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., market: _Optional[str] = ..., bundle_id: _Optional[str] = ..., decision: _Optional[_Union[_credit_pb2.Decision, str]] = ..., grade: _Optional[str] = ..., caller: _Optional[str] = ...) -> None: ...

class SampleDecisionsRequest(_message.Message):
    __slots__ = ("filter", "seed", "size", "tree_size", "stratify_by")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    STRATIFY_BY_FIELD_NUMBER: _ClassVar[int]
    filter: DecisionFilter
    seed: str
    size: int
    tree_size: int
    stratify_by: _containers.RepeatedScalarFieldContainer[StratumKey]
    def __init__(self, filter: _Optional[_Union[DecisionFilter, _Mapping]] = ..., seed: _Optional[str] = ..., size: _Optional[int] = ..., tree_size: _Optional[int] = ..., stratify_by: _Optional[_Iterable[_Union[StratumKey, str]]] = ...) -> None: ...

class SampleDecisionsResponse(_message.Message):
    __slots__ = ("tree_size", "population_count", "strata", "checkpoint")
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    POPULATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    STRATA_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    tree_size: int
    population_count: int
    strata: _containers.RepeatedCompositeFieldContainer[SampleStratum]
    checkpoint: str
    def __init__(self, tree_size: _Optional[int] = ..., population_count: _Optional[int] = ..., strata: _Optional[_Iterable[_Union[SampleStratum, _Mapping]]] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class SampleStratum(_message.Message):
    __slots__ = ("market", "decision", "grade", "population_count", "decision_ids")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    POPULATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    DECISION_IDS_FIELD_NUMBER: _ClassVar[int]
    market: str
    decision: _credit_pb2.Decision
    grade: str
    population_count: int
    decision_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, market: _Optional[str] = ..., decision: _Optional[_Union[_credit_pb2.Decision, str]] = ..., grade: _Optional[str] = ..., population_count: _Optional[int] = ..., decision_ids: _Optional[_Iterable[str]] = ...) -> None: ...
