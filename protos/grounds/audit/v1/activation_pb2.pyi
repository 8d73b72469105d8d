import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grounds.audit.v1 import bodies_pb2 as _bodies_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListActivationsRequest(_message.Message):
    __slots__ = ("market", "family", "at_time", "page_size", "page_token")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    AT_TIME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    market: str
    family: str
    at_time: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, market: _Optional[str] = ..., family: _Optional[str] = ..., at_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListActivationsResponse(_message.Message):
    __slots__ = ("activations", "next_page_token")
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    activations: _containers.RepeatedCompositeFieldContainer[Activation]
    next_page_token: str
    def __init__(self, activations: _Optional[_Iterable[_Union[Activation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Activation(_message.Message):
    __slots__ = ("activation_id", "index", "time", "change", "proposed_change", "family", "markets", "bundle_id", "policy_sha256", "policy_version", "previous_digest", "release_verdict", "reason", "author")
    ACTIVATION_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_CHANGE_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_SHA256_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RELEASE_VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    activation_id: str
    index: int
    time: _timestamp_pb2.Timestamp
    change: _bodies_pb2.ChangeKind
    proposed_change: _bodies_pb2.ChangeKind
    family: str
    markets: _containers.RepeatedScalarFieldContainer[str]
    bundle_id: str
    policy_sha256: str
    policy_version: str
    previous_digest: str
    release_verdict: str
    reason: str
    author: _bodies_pb2.ChangeAuthor
    def __init__(self, activation_id: _Optional[str] = ..., index: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., change: _Optional[_Union[_bodies_pb2.ChangeKind, str]] = ..., proposed_change: _Optional[_Union[_bodies_pb2.ChangeKind, str]] = ..., family: _Optional[str] = ..., markets: _Optional[_Iterable[str]] = ..., bundle_id: _Optional[str] = ..., policy_sha256: _Optional[str] = ..., policy_version: _Optional[str] = ..., previous_digest: _Optional[str] = ..., release_verdict: _Optional[str] = ..., reason: _Optional[str] = ..., author: _Optional[_Union[_bodies_pb2.ChangeAuthor, _Mapping]] = ...) -> None: ...
