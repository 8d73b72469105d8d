from grounds.explain.v1 import explain_pb2 as _explain_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_SERVING: _ClassVar[ModelState]
    MODEL_STATE_AVAILABLE: _ClassVar[ModelState]
    MODEL_STATE_REFUSED: _ClassVar[ModelState]

class FeatureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_KIND_UNSPECIFIED: _ClassVar[FeatureKind]
    FEATURE_KIND_NUMBER: _ClassVar[FeatureKind]
    FEATURE_KIND_CATEGORY: _ClassVar[FeatureKind]

class FeatureSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_SOURCE_UNSPECIFIED: _ClassVar[FeatureSource]
    FEATURE_SOURCE_STORE: _ClassVar[FeatureSource]
    FEATURE_SOURCE_CALLER: _ClassVar[FeatureSource]
    FEATURE_SOURCE_EITHER: _ClassVar[FeatureSource]
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_SERVING: ModelState
MODEL_STATE_AVAILABLE: ModelState
MODEL_STATE_REFUSED: ModelState
FEATURE_KIND_UNSPECIFIED: FeatureKind
FEATURE_KIND_NUMBER: FeatureKind
FEATURE_KIND_CATEGORY: FeatureKind
FEATURE_SOURCE_UNSPECIFIED: FeatureSource
FEATURE_SOURCE_STORE: FeatureSource
FEATURE_SOURCE_CALLER: FeatureSource
FEATURE_SOURCE_EITHER: FeatureSource

class ListModelsRequest(_message.Message):
    __slots__ = ("family",)
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    family: str
    def __init__(self, family: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("bundle_id",)
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    bundle_id: str
    def __init__(self, bundle_id: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class GetModelReportRequest(_message.Message):
    __slots__ = ("bundle_id",)
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    bundle_id: str
    def __init__(self, bundle_id: _Optional[str] = ...) -> None: ...

class GetModelReportResponse(_message.Message):
    __slots__ = ("html", "sha256")
    HTML_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    html: bytes
    sha256: str
    def __init__(self, html: _Optional[bytes] = ..., sha256: _Optional[str] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("family", "bundle_id", "state", "serving_markets", "markets", "refusal")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SERVING_MARKETS_FIELD_NUMBER: _ClassVar[int]
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    family: str
    bundle_id: str
    state: ModelState
    serving_markets: _containers.RepeatedScalarFieldContainer[str]
    markets: _containers.RepeatedScalarFieldContainer[str]
    refusal: str
    def __init__(self, family: _Optional[str] = ..., bundle_id: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., serving_markets: _Optional[_Iterable[str]] = ..., markets: _Optional[_Iterable[str]] = ..., refusal: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("summary", "features", "baseline", "scorecard", "metrics", "card")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    SCORECARD_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    summary: ModelSummary
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    baseline: _explain_pb2.Baseline
    scorecard: Scorecard
    metrics: _containers.ScalarMap[str, float]
    card: str
    def __init__(self, summary: _Optional[_Union[ModelSummary, _Mapping]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., baseline: _Optional[_Union[_explain_pb2.Baseline, _Mapping]] = ..., scorecard: _Optional[_Union[Scorecard, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., card: _Optional[str] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "description", "kind", "unit", "min", "max", "source", "mandatory", "monotone_sign", "group", "levels")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MANDATORY_FIELD_NUMBER: _ClassVar[int]
    MONOTONE_SIGN_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    kind: FeatureKind
    unit: str
    min: float
    max: float
    source: FeatureSource
    mandatory: bool
    monotone_sign: int
    group: str
    levels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., kind: _Optional[_Union[FeatureKind, str]] = ..., unit: _Optional[str] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., source: _Optional[_Union[FeatureSource, str]] = ..., mandatory: _Optional[bool] = ..., monotone_sign: _Optional[int] = ..., group: _Optional[str] = ..., levels: _Optional[_Iterable[str]] = ...) -> None: ...

class Scorecard(_message.Message):
    __slots__ = ("calibration_slope", "calibration_intercept", "base_score", "base_odds", "pdo", "grades")
    CALIBRATION_SLOPE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_INTERCEPT_FIELD_NUMBER: _ClassVar[int]
    BASE_SCORE_FIELD_NUMBER: _ClassVar[int]
    BASE_ODDS_FIELD_NUMBER: _ClassVar[int]
    PDO_FIELD_NUMBER: _ClassVar[int]
    GRADES_FIELD_NUMBER: _ClassVar[int]
    calibration_slope: float
    calibration_intercept: float
    base_score: int
    base_odds: float
    pdo: float
    grades: _containers.RepeatedCompositeFieldContainer[Grade]
    def __init__(self, calibration_slope: _Optional[float] = ..., calibration_intercept: _Optional[float] = ..., base_score: _Optional[int] = ..., base_odds: _Optional[float] = ..., pdo: _Optional[float] = ..., grades: _Optional[_Iterable[_Union[Grade, _Mapping]]] = ...) -> None: ...

class Grade(_message.Message):
    __slots__ = ("grade", "max_pd")
    GRADE_FIELD_NUMBER: _ClassVar[int]
    MAX_PD_FIELD_NUMBER: _ClassVar[int]
    grade: str
    max_pd: float
    def __init__(self, grade: _Optional[str] = ..., max_pd: _Optional[float] = ...) -> None: ...
