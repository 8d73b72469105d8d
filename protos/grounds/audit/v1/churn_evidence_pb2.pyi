from grounds.audit.v1 import evidence_pb2 as _evidence_pb2
from grounds.customer.v1 import customer_pb2 as _customer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetChurnEvidenceRequest(_message.Message):
    __slots__ = ("run_id", "customer", "purpose", "locale")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    customer: _customer_pb2.Customer
    purpose: str
    locale: str
    def __init__(self, run_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., purpose: _Optional[str] = ..., locale: _Optional[str] = ...) -> None: ...

class ReplayChurnRiskRequest(_message.Message):
    __slots__ = ("run_id", "customer", "purpose", "modes", "bundle_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    customer: _customer_pb2.Customer
    purpose: str
    modes: _containers.RepeatedScalarFieldContainer[_evidence_pb2.ReplayMode]
    bundle_id: str
    def __init__(self, run_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., purpose: _Optional[str] = ..., modes: _Optional[_Iterable[_Union[_evidence_pb2.ReplayMode, str]]] = ..., bundle_id: _Optional[str] = ...) -> None: ...

class RowProof(_message.Message):
    __slots__ = ("leaf_hash", "index", "size", "hashes")
    LEAF_HASH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    leaf_hash: bytes
    index: int
    size: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, leaf_hash: _Optional[bytes] = ..., index: _Optional[int] = ..., size: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...
