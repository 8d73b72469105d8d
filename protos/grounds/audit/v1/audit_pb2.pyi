import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grounds.audit.v1 import activation_pb2 as _activation_pb2
from grounds.audit.v1 import bodies_pb2 as _bodies_pb2
from grounds.audit.v1 import churn_evidence_pb2 as _churn_evidence_pb2
from grounds.audit.v1 import evidence_pb2 as _evidence_pb2
from grounds.audit.v1 import sample_pb2 as _sample_pb2
from grounds.churn.v1 import churn_pb2 as _churn_pb2
from grounds.credit.v1 import credit_pb2 as _credit_pb2
from grounds.customer.v1 import customer_pb2 as _customer_pb2
from grounds.explain.v1 import explain_pb2 as _explain_pb2
from grounds.model.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CountRefusedCallsRequest(_message.Message):
    __slots__ = ("start_time", "end_time")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CountRefusedCallsResponse(_message.Message):
    __slots__ = ("refusals", "record_count", "next_end_time")
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_END_TIME_FIELD_NUMBER: _ClassVar[int]
    refusals: _containers.RepeatedCompositeFieldContainer[_bodies_pb2.RefusedCalls]
    record_count: int
    next_end_time: _timestamp_pb2.Timestamp
    def __init__(self, refusals: _Optional[_Iterable[_Union[_bodies_pb2.RefusedCalls, _Mapping]]] = ..., record_count: _Optional[int] = ..., next_end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "verifier_key", "key_rotations")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    checkpoint: str
    verifier_key: str
    key_rotations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, checkpoint: _Optional[str] = ..., verifier_key: _Optional[str] = ..., key_rotations: _Optional[_Iterable[str]] = ...) -> None: ...

class GetInclusionProofRequest(_message.Message):
    __slots__ = ("record_id", "tree_size")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    tree_size: int
    def __init__(self, record_id: _Optional[str] = ..., tree_size: _Optional[int] = ...) -> None: ...

class GetInclusionProofResponse(_message.Message):
    __slots__ = ("record", "tree_size", "hashes", "checkpoint", "key_rotations")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    KEY_ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    record: StoredRecord
    tree_size: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: str
    key_rotations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, record: _Optional[_Union[StoredRecord, _Mapping]] = ..., tree_size: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[str] = ..., key_rotations: _Optional[_Iterable[str]] = ...) -> None: ...

class GetConsistencyProofRequest(_message.Message):
    __slots__ = ("old_size", "new_size")
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    NEW_SIZE_FIELD_NUMBER: _ClassVar[int]
    old_size: int
    new_size: int
    def __init__(self, old_size: _Optional[int] = ..., new_size: _Optional[int] = ...) -> None: ...

class GetConsistencyProofResponse(_message.Message):
    __slots__ = ("new_size", "hashes", "checkpoint")
    NEW_SIZE_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    new_size: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: str
    def __init__(self, new_size: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class ListRecordsRequest(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class ListRecordsResponse(_message.Message):
    __slots__ = ("records", "next_start")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_START_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[StoredRecord]
    next_start: int
    def __init__(self, records: _Optional[_Iterable[_Union[StoredRecord, _Mapping]]] = ..., next_start: _Optional[int] = ...) -> None: ...

class StoredRecord(_message.Message):
    __slots__ = ("index", "header", "ciphertext", "nodes", "columns")
    class ColumnsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    index: int
    header: bytes
    ciphertext: bytes
    nodes: _containers.RepeatedScalarFieldContainer[bytes]
    columns: _containers.ScalarMap[str, str]
    def __init__(self, index: _Optional[int] = ..., header: _Optional[bytes] = ..., ciphertext: _Optional[bytes] = ..., nodes: _Optional[_Iterable[bytes]] = ..., columns: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetRangeProofRequest(_message.Message):
    __slots__ = ("start", "end", "tree_size", "kept_sizes")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    KEPT_SIZES_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    tree_size: int
    kept_sizes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., tree_size: _Optional[int] = ..., kept_sizes: _Optional[_Iterable[int]] = ...) -> None: ...

class GetRangeProofResponse(_message.Message):
    __slots__ = ("before", "after", "retentions", "consistency")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    RETENTIONS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    before: _containers.RepeatedScalarFieldContainer[bytes]
    after: _containers.RepeatedScalarFieldContainer[bytes]
    retentions: _containers.RepeatedCompositeFieldContainer[RetentionProof]
    consistency: _containers.RepeatedCompositeFieldContainer[ConsistencyProof]
    def __init__(self, before: _Optional[_Iterable[bytes]] = ..., after: _Optional[_Iterable[bytes]] = ..., retentions: _Optional[_Iterable[_Union[RetentionProof, _Mapping]]] = ..., consistency: _Optional[_Iterable[_Union[ConsistencyProof, _Mapping]]] = ...) -> None: ...

class RetentionProof(_message.Message):
    __slots__ = ("record", "hashes")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    record: StoredRecord
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, record: _Optional[_Union[StoredRecord, _Mapping]] = ..., hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ConsistencyProof(_message.Message):
    __slots__ = ("old_size", "hashes")
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    old_size: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, old_size: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetEvidenceRequest(_message.Message):
    __slots__ = ("decision_id", "purpose")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    purpose: str
    def __init__(self, decision_id: _Optional[str] = ..., purpose: _Optional[str] = ...) -> None: ...

class GetEvidenceResponse(_message.Message):
    __slots__ = ("evidence",)
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    evidence: Evidence
    def __init__(self, evidence: _Optional[_Union[Evidence, _Mapping]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("decision_id", "body_state", "request", "decision", "record", "bundle", "policy", "proof", "verifier_key", "reading", "overrides", "outcomes")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_STATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_KEY_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    body_state: _evidence_pb2.BodyState
    request: _credit_pb2.ScoreCreditRequest
    decision: _credit_pb2.CreditDecision
    record: DecisionRecord
    bundle: BundleEvidence
    policy: PolicyEvidence
    proof: GetInclusionProofResponse
    verifier_key: str
    reading: _evidence_pb2.EvidenceReading
    overrides: _containers.RepeatedCompositeFieldContainer[_credit_pb2.Override]
    outcomes: _containers.RepeatedCompositeFieldContainer[_credit_pb2.Outcome]
    def __init__(self, decision_id: _Optional[str] = ..., body_state: _Optional[_Union[_evidence_pb2.BodyState, str]] = ..., request: _Optional[_Union[_credit_pb2.ScoreCreditRequest, _Mapping]] = ..., decision: _Optional[_Union[_credit_pb2.CreditDecision, _Mapping]] = ..., record: _Optional[_Union[DecisionRecord, _Mapping]] = ..., bundle: _Optional[_Union[BundleEvidence, _Mapping]] = ..., policy: _Optional[_Union[PolicyEvidence, _Mapping]] = ..., proof: _Optional[_Union[GetInclusionProofResponse, _Mapping]] = ..., verifier_key: _Optional[str] = ..., reading: _Optional[_Union[_evidence_pb2.EvidenceReading, _Mapping]] = ..., overrides: _Optional[_Iterable[_Union[_credit_pb2.Override, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[_credit_pb2.Outcome, _Mapping]]] = ...) -> None: ...

class GetChurnEvidenceResponse(_message.Message):
    __slots__ = ("evidence",)
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    evidence: ChurnEvidence
    def __init__(self, evidence: _Optional[_Union[ChurnEvidence, _Mapping]] = ...) -> None: ...

class ChurnEvidence(_message.Message):
    __slots__ = ("run_id", "customer", "body_state", "churn_risk", "run", "record", "row", "row_proof", "features", "bundle", "proof", "verifier_key", "reading")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    BODY_STATE_FIELD_NUMBER: _ClassVar[int]
    CHURN_RISK_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    ROW_PROOF_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_KEY_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    customer: _customer_pb2.Customer
    body_state: _evidence_pb2.BodyState
    churn_risk: _churn_pb2.ChurnRisk
    run: _churn_pb2.ChurnRun
    record: _bodies_pb2.RunRecord
    row: bytes
    row_proof: _churn_evidence_pb2.RowProof
    features: _containers.RepeatedCompositeFieldContainer[FedFeature]
    bundle: BundleEvidence
    proof: GetInclusionProofResponse
    verifier_key: str
    reading: _evidence_pb2.EvidenceReading
    def __init__(self, run_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., body_state: _Optional[_Union[_evidence_pb2.BodyState, str]] = ..., churn_risk: _Optional[_Union[_churn_pb2.ChurnRisk, _Mapping]] = ..., run: _Optional[_Union[_churn_pb2.ChurnRun, _Mapping]] = ..., record: _Optional[_Union[_bodies_pb2.RunRecord, _Mapping]] = ..., row: _Optional[bytes] = ..., row_proof: _Optional[_Union[_churn_evidence_pb2.RowProof, _Mapping]] = ..., features: _Optional[_Iterable[_Union[FedFeature, _Mapping]]] = ..., bundle: _Optional[_Union[BundleEvidence, _Mapping]] = ..., proof: _Optional[_Union[GetInclusionProofResponse, _Mapping]] = ..., verifier_key: _Optional[str] = ..., reading: _Optional[_Union[_evidence_pb2.EvidenceReading, _Mapping]] = ...) -> None: ...

class BundleEvidence(_message.Message):
    __slots__ = ("model", "files", "made_from")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MadeFromEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    MADE_FROM_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    files: _containers.ScalarMap[str, str]
    made_from: _containers.ScalarMap[str, str]
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ..., files: _Optional[_Mapping[str, str]] = ..., made_from: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PolicyEvidence(_message.Message):
    __slots__ = ("version", "sha256", "content", "section")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    version: str
    sha256: str
    content: bytes
    section: _credit_pb2.PolicySection
    def __init__(self, version: _Optional[str] = ..., sha256: _Optional[str] = ..., content: _Optional[bytes] = ..., section: _Optional[_Union[_credit_pb2.PolicySection, _Mapping]] = ...) -> None: ...

class ReplayDecisionResponse(_message.Message):
    __slots__ = ("decision_id", "results", "recorded_runtime", "replay_runtime", "reading", "recourse")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    REPLAY_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    RECOURSE_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    results: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.ReplayResult]
    recorded_runtime: Runtime
    replay_runtime: Runtime
    reading: _evidence_pb2.EvidenceReading
    recourse: _credit_pb2.Recourse
    def __init__(self, decision_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[_evidence_pb2.ReplayResult, _Mapping]]] = ..., recorded_runtime: _Optional[_Union[Runtime, _Mapping]] = ..., replay_runtime: _Optional[_Union[Runtime, _Mapping]] = ..., reading: _Optional[_Union[_evidence_pb2.EvidenceReading, _Mapping]] = ..., recourse: _Optional[_Union[_credit_pb2.Recourse, _Mapping]] = ...) -> None: ...

class ReplayChurnRiskResponse(_message.Message):
    __slots__ = ("run_id", "customer", "results", "replay_runtime", "reading")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    REPLAY_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    customer: _customer_pb2.Customer
    results: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.ReplayResult]
    replay_runtime: Runtime
    reading: _evidence_pb2.EvidenceReading
    def __init__(self, run_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., results: _Optional[_Iterable[_Union[_evidence_pb2.ReplayResult, _Mapping]]] = ..., replay_runtime: _Optional[_Union[Runtime, _Mapping]] = ..., reading: _Optional[_Union[_evidence_pb2.EvidenceReading, _Mapping]] = ...) -> None: ...

class DecisionRecord(_message.Message):
    __slots__ = ("request", "answer", "features", "bundle_id", "feature_set_digest", "baseline_sha256", "policy_version", "policy_sha256", "runtime", "numbers", "caller", "receive_time", "decide_time", "activation_id", "policy_activation_id")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BASELINE_SHA256_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_ACTIVATION_ID_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    answer: bytes
    features: _containers.RepeatedCompositeFieldContainer[FedFeature]
    bundle_id: str
    feature_set_digest: str
    baseline_sha256: str
    policy_version: str
    policy_sha256: str
    runtime: Runtime
    numbers: ModelNumbers
    caller: str
    receive_time: _timestamp_pb2.Timestamp
    decide_time: _timestamp_pb2.Timestamp
    activation_id: str
    policy_activation_id: str
    def __init__(self, request: _Optional[bytes] = ..., answer: _Optional[bytes] = ..., features: _Optional[_Iterable[_Union[FedFeature, _Mapping]]] = ..., bundle_id: _Optional[str] = ..., feature_set_digest: _Optional[str] = ..., baseline_sha256: _Optional[str] = ..., policy_version: _Optional[str] = ..., policy_sha256: _Optional[str] = ..., runtime: _Optional[_Union[Runtime, _Mapping]] = ..., numbers: _Optional[_Union[ModelNumbers, _Mapping]] = ..., caller: _Optional[str] = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., activation_id: _Optional[str] = ..., policy_activation_id: _Optional[str] = ...) -> None: ...

class FedFeature(_message.Message):
    __slots__ = ("feature", "value", "number", "source", "as_of_time")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    feature: str
    value: _explain_pb2.FeatureValue
    number: float
    source: _explain_pb2.ValueSource
    as_of_time: _timestamp_pb2.Timestamp
    def __init__(self, feature: _Optional[str] = ..., value: _Optional[_Union[_explain_pb2.FeatureValue, _Mapping]] = ..., number: _Optional[float] = ..., source: _Optional[_Union[_explain_pb2.ValueSource, str]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ModelNumbers(_message.Message):
    __slots__ = ("margin", "log_odds", "pd", "base_value", "contributions", "residual")
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    PD_FIELD_NUMBER: _ClassVar[int]
    BASE_VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    margin: float
    log_odds: float
    pd: float
    base_value: float
    contributions: _containers.RepeatedScalarFieldContainer[float]
    residual: float
    def __init__(self, margin: _Optional[float] = ..., log_odds: _Optional[float] = ..., pd: _Optional[float] = ..., base_value: _Optional[float] = ..., contributions: _Optional[_Iterable[float]] = ..., residual: _Optional[float] = ...) -> None: ...

class Runtime(_message.Message):
    __slots__ = ("grounds", "onnxruntime", "python", "platform")
    GROUNDS_FIELD_NUMBER: _ClassVar[int]
    ONNXRUNTIME_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    grounds: str
    onnxruntime: str
    python: str
    platform: str
    def __init__(self, grounds: _Optional[str] = ..., onnxruntime: _Optional[str] = ..., python: _Optional[str] = ..., platform: _Optional[str] = ...) -> None: ...
