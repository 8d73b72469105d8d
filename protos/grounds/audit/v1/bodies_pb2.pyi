import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_SOURCE_UNSPECIFIED: _ClassVar[ChangeSource]
    CHANGE_SOURCE_COMMAND: _ClassVar[ChangeSource]
    CHANGE_SOURCE_SERVER: _ClassVar[ChangeSource]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_ACTIVATION: _ClassVar[ChangeKind]
    CHANGE_KIND_ROLLBACK: _ClassVar[ChangeKind]
    CHANGE_KIND_DEACTIVATION: _ClassVar[ChangeKind]
    CHANGE_KIND_RETIREMENT: _ClassVar[ChangeKind]
    CHANGE_KIND_POLICY_ACTIVATION: _ClassVar[ChangeKind]
    CHANGE_KIND_POLICY_ROLLBACK: _ClassVar[ChangeKind]
    CHANGE_KIND_PROPOSAL: _ClassVar[ChangeKind]
CHANGE_SOURCE_UNSPECIFIED: ChangeSource
CHANGE_SOURCE_COMMAND: ChangeSource
CHANGE_SOURCE_SERVER: ChangeSource
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_ACTIVATION: ChangeKind
CHANGE_KIND_ROLLBACK: ChangeKind
CHANGE_KIND_DEACTIVATION: ChangeKind
CHANGE_KIND_RETIREMENT: ChangeKind
CHANGE_KIND_POLICY_ACTIVATION: ChangeKind
CHANGE_KIND_POLICY_ROLLBACK: ChangeKind
CHANGE_KIND_PROPOSAL: ChangeKind

class EventRecord(_message.Message):
    __slots__ = ("request", "answer", "caller", "receive_time")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    answer: bytes
    caller: str
    receive_time: _timestamp_pb2.Timestamp
    def __init__(self, request: _Optional[bytes] = ..., answer: _Optional[bytes] = ..., caller: _Optional[str] = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RunRecord(_message.Message):
    __slots__ = ("run_id", "bundle_id", "baseline_sha256", "markets", "load_time", "manifest_sha256")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    BASELINE_SHA256_FIELD_NUMBER: _ClassVar[int]
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    bundle_id: str
    baseline_sha256: str
    markets: _containers.RepeatedCompositeFieldContainer[RunInMarket]
    load_time: _timestamp_pb2.Timestamp
    manifest_sha256: str
    def __init__(self, run_id: _Optional[str] = ..., bundle_id: _Optional[str] = ..., baseline_sha256: _Optional[str] = ..., markets: _Optional[_Iterable[_Union[RunInMarket, _Mapping]]] = ..., load_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., manifest_sha256: _Optional[str] = ...) -> None: ...

class RunInMarket(_message.Message):
    __slots__ = ("market", "as_of_time", "customer_count", "rows_sha256", "rows_root")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROWS_SHA256_FIELD_NUMBER: _ClassVar[int]
    ROWS_ROOT_FIELD_NUMBER: _ClassVar[int]
    market: str
    as_of_time: _timestamp_pb2.Timestamp
    customer_count: int
    rows_sha256: bytes
    rows_root: bytes
    def __init__(self, market: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., customer_count: _Optional[int] = ..., rows_sha256: _Optional[bytes] = ..., rows_root: _Optional[bytes] = ...) -> None: ...

class ChurnRiskRow(_message.Message):
    __slots__ = ("customer_id", "status", "log_odds", "pd", "band", "previous_band", "band_since_us", "rank", "value_at_risk_minor", "expected_spend_minor", "decline_pd", "hold_out", "suppressions", "drivers", "features", "contributions", "salt")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    PD_FIELD_NUMBER: _ClassVar[int]
    BAND_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_BAND_FIELD_NUMBER: _ClassVar[int]
    BAND_SINCE_US_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    VALUE_AT_RISK_MINOR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SPEND_MINOR_FIELD_NUMBER: _ClassVar[int]
    DECLINE_PD_FIELD_NUMBER: _ClassVar[int]
    HOLD_OUT_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSIONS_FIELD_NUMBER: _ClassVar[int]
    DRIVERS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    status: str
    log_odds: float
    pd: float
    band: str
    previous_band: str
    band_since_us: int
    rank: int
    value_at_risk_minor: int
    expected_spend_minor: int
    decline_pd: float
    hold_out: bool
    suppressions: str
    drivers: str
    features: bytes
    contributions: bytes
    salt: bytes
    def __init__(self, customer_id: _Optional[str] = ..., status: _Optional[str] = ..., log_odds: _Optional[float] = ..., pd: _Optional[float] = ..., band: _Optional[str] = ..., previous_band: _Optional[str] = ..., band_since_us: _Optional[int] = ..., rank: _Optional[int] = ..., value_at_risk_minor: _Optional[int] = ..., expected_spend_minor: _Optional[int] = ..., decline_pd: _Optional[float] = ..., hold_out: _Optional[bool] = ..., suppressions: _Optional[str] = ..., drivers: _Optional[str] = ..., features: _Optional[bytes] = ..., contributions: _Optional[bytes] = ..., salt: _Optional[bytes] = ...) -> None: ...

class ErasureRecord(_message.Message):
    __slots__ = ("reason", "feature_rows", "run_rows")
    REASON_FIELD_NUMBER: _ClassVar[int]
    FEATURE_ROWS_FIELD_NUMBER: _ClassVar[int]
    RUN_ROWS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    feature_rows: int
    run_rows: _containers.RepeatedCompositeFieldContainer[ErasedRow]
    def __init__(self, reason: _Optional[str] = ..., feature_rows: _Optional[int] = ..., run_rows: _Optional[_Iterable[_Union[ErasedRow, _Mapping]]] = ...) -> None: ...

class ErasedRow(_message.Message):
    __slots__ = ("run_id", "market", "row_sha256")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    ROW_SHA256_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    market: str
    row_sha256: bytes
    def __init__(self, run_id: _Optional[str] = ..., market: _Optional[str] = ..., row_sha256: _Optional[bytes] = ...) -> None: ...

class HoldRecord(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ForkAdoptionRecord(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ClockConfirmationRecord(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class PolicyActivationRecord(_message.Message):
    __slots__ = ("policy_version", "policy_sha256", "previous_policy_sha256", "reason", "author")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    policy_version: str
    policy_sha256: str
    previous_policy_sha256: str
    reason: str
    author: ChangeAuthor
    def __init__(self, policy_version: _Optional[str] = ..., policy_sha256: _Optional[str] = ..., previous_policy_sha256: _Optional[str] = ..., reason: _Optional[str] = ..., author: _Optional[_Union[ChangeAuthor, _Mapping]] = ...) -> None: ...

class BundleActivationRecord(_message.Message):
    __slots__ = ("family", "market", "bundle_id", "previous_bundle_id", "rollback", "release_verdict", "reason", "author")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    RELEASE_VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    family: str
    market: str
    bundle_id: str
    previous_bundle_id: str
    rollback: bool
    release_verdict: str
    reason: str
    author: ChangeAuthor
    def __init__(self, family: _Optional[str] = ..., market: _Optional[str] = ..., bundle_id: _Optional[str] = ..., previous_bundle_id: _Optional[str] = ..., rollback: _Optional[bool] = ..., release_verdict: _Optional[str] = ..., reason: _Optional[str] = ..., author: _Optional[_Union[ChangeAuthor, _Mapping]] = ...) -> None: ...

class BundleRetirementRecord(_message.Message):
    __slots__ = ("family", "bundle_id", "reason", "author")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    family: str
    bundle_id: str
    reason: str
    author: ChangeAuthor
    def __init__(self, family: _Optional[str] = ..., bundle_id: _Optional[str] = ..., reason: _Optional[str] = ..., author: _Optional[_Union[ChangeAuthor, _Mapping]] = ...) -> None: ...

class ChangeProposalRecord(_message.Message):
    __slots__ = ("change", "family", "markets", "digest", "previous_digests", "policy_version", "release_verdict", "reason", "operator")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    RELEASE_VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    change: ChangeKind
    family: str
    markets: _containers.RepeatedScalarFieldContainer[str]
    digest: str
    previous_digests: _containers.RepeatedScalarFieldContainer[str]
    policy_version: str
    release_verdict: str
    reason: str
    operator: str
    def __init__(self, change: _Optional[_Union[ChangeKind, str]] = ..., family: _Optional[str] = ..., markets: _Optional[_Iterable[str]] = ..., digest: _Optional[str] = ..., previous_digests: _Optional[_Iterable[str]] = ..., policy_version: _Optional[str] = ..., release_verdict: _Optional[str] = ..., reason: _Optional[str] = ..., operator: _Optional[str] = ...) -> None: ...

class ChangeAuthor(_message.Message):
    __slots__ = ("operator", "approver", "proposal_id", "source")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    operator: str
    approver: str
    proposal_id: str
    source: ChangeSource
    def __init__(self, operator: _Optional[str] = ..., approver: _Optional[str] = ..., proposal_id: _Optional[str] = ..., source: _Optional[_Union[ChangeSource, str]] = ...) -> None: ...

class RetentionRecord(_message.Message):
    __slots__ = ("table_version", "table_sha256", "lines")
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TABLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    table_version: str
    table_sha256: str
    lines: _containers.RepeatedCompositeFieldContainer[RetentionLine]
    def __init__(self, table_version: _Optional[str] = ..., table_sha256: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[RetentionLine, _Mapping]]] = ...) -> None: ...

class RetentionLine(_message.Message):
    __slots__ = ("market", "kind", "years", "before_time", "count")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    YEARS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    market: str
    kind: str
    years: int
    before_time: _timestamp_pb2.Timestamp
    count: int
    def __init__(self, market: _Optional[str] = ..., kind: _Optional[str] = ..., years: _Optional[int] = ..., before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...

class SigningKeyRotationRecord(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RefusedCallsRecord(_message.Message):
    __slots__ = ("start_time", "end_time", "refusals")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    refusals: _containers.RepeatedCompositeFieldContainer[RefusedCalls]
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refusals: _Optional[_Iterable[_Union[RefusedCalls, _Mapping]]] = ...) -> None: ...

class RefusedCalls(_message.Message):
    __slots__ = ("caller", "method", "reason", "count")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    caller: str
    method: str
    reason: str
    count: int
    def __init__(self, caller: _Optional[str] = ..., method: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
