from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Customer(_message.Message):
    __slots__ = ("market", "customer_id")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    market: str
    customer_id: str
    def __init__(self, market: _Optional[str] = ..., customer_id: _Optional[str] = ...) -> None: ...
