import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METHOD_UNSPECIFIED: _ClassVar[Method]
    METHOD_INTERVENTIONAL_TREE_SHAP: _ClassVar[Method]
    METHOD_PATH_DEPENDENT_TREE_SHAP: _ClassVar[Method]

class ValueSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALUE_SOURCE_UNSPECIFIED: _ClassVar[ValueSource]
    VALUE_SOURCE_STORE: _ClassVar[ValueSource]
    VALUE_SOURCE_CALLER: _ClassVar[ValueSource]

class ReasonType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_TYPE_UNSPECIFIED: _ClassVar[ReasonType]
    REASON_TYPE_MODEL: _ClassVar[ReasonType]
    REASON_TYPE_POLICY: _ClassVar[ReasonType]
    REASON_TYPE_INPUT: _ClassVar[ReasonType]
METHOD_UNSPECIFIED: Method
METHOD_INTERVENTIONAL_TREE_SHAP: Method
METHOD_PATH_DEPENDENT_TREE_SHAP: Method
VALUE_SOURCE_UNSPECIFIED: ValueSource
VALUE_SOURCE_STORE: ValueSource
VALUE_SOURCE_CALLER: ValueSource
REASON_TYPE_UNSPECIFIED: ReasonType
REASON_TYPE_MODEL: ReasonType
REASON_TYPE_POLICY: ReasonType
REASON_TYPE_INPUT: ReasonType

class Explanation(_message.Message):
    __slots__ = ("method", "baseline", "base_value", "base_points", "contributions", "residual")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    BASE_VALUE_FIELD_NUMBER: _ClassVar[int]
    BASE_POINTS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    method: Method
    baseline: Baseline
    base_value: float
    base_points: int
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    residual: float
    def __init__(self, method: _Optional[_Union[Method, str]] = ..., baseline: _Optional[_Union[Baseline, _Mapping]] = ..., base_value: _Optional[float] = ..., base_points: _Optional[int] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., residual: _Optional[float] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("feature", "group", "value", "source", "as_of_time", "log_odds", "points")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    feature: str
    group: str
    value: FeatureValue
    source: ValueSource
    as_of_time: _timestamp_pb2.Timestamp
    log_odds: float
    points: int
    def __init__(self, feature: _Optional[str] = ..., group: _Optional[str] = ..., value: _Optional[_Union[FeatureValue, _Mapping]] = ..., source: _Optional[_Union[ValueSource, str]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., log_odds: _Optional[float] = ..., points: _Optional[int] = ...) -> None: ...

class Baseline(_message.Message):
    __slots__ = ("baseline_id", "sha256", "row_count", "definition")
    BASELINE_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    baseline_id: str
    sha256: str
    row_count: int
    definition: str
    def __init__(self, baseline_id: _Optional[str] = ..., sha256: _Optional[str] = ..., row_count: _Optional[int] = ..., definition: _Optional[str] = ...) -> None: ...

class FeatureValue(_message.Message):
    __slots__ = ("number", "level")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    number: float
    level: str
    def __init__(self, number: _Optional[float] = ..., level: _Optional[str] = ...) -> None: ...

class Reasons(_message.Message):
    __slots__ = ("locale", "reasons")
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    locale: str
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    def __init__(self, locale: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "type", "text", "log_odds", "points", "features")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    code: str
    type: ReasonType
    text: str
    log_odds: float
    points: int
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[str] = ..., type: _Optional[_Union[ReasonType, str]] = ..., text: _Optional[str] = ..., log_odds: _Optional[float] = ..., points: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "feature")
    CODE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    code: str
    feature: str
    def __init__(self, code: _Optional[str] = ..., feature: _Optional[str] = ...) -> None: ...
