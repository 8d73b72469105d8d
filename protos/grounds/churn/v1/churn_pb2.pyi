import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
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

class RiskBand(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RISK_BAND_UNSPECIFIED: _ClassVar[RiskBand]
    RISK_BAND_LOW: _ClassVar[RiskBand]
    RISK_BAND_MEDIUM: _ClassVar[RiskBand]
    RISK_BAND_HIGH: _ClassVar[RiskBand]
    RISK_BAND_CRITICAL: _ClassVar[RiskBand]

class ChurnRiskOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHURN_RISK_ORDER_UNSPECIFIED: _ClassVar[ChurnRiskOrder]
    CHURN_RISK_ORDER_PROBABILITY: _ClassVar[ChurnRiskOrder]
    CHURN_RISK_ORDER_VALUE_AT_RISK: _ClassVar[ChurnRiskOrder]
RISK_BAND_UNSPECIFIED: RiskBand
RISK_BAND_LOW: RiskBand
RISK_BAND_MEDIUM: RiskBand
RISK_BAND_HIGH: RiskBand
RISK_BAND_CRITICAL: RiskBand
CHURN_RISK_ORDER_UNSPECIFIED: ChurnRiskOrder
CHURN_RISK_ORDER_PROBABILITY: ChurnRiskOrder
CHURN_RISK_ORDER_VALUE_AT_RISK: ChurnRiskOrder

class GetChurnRiskRequest(_message.Message):
    __slots__ = ("customer", "locale")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    locale: str
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., locale: _Optional[str] = ...) -> None: ...

class GetChurnRiskResponse(_message.Message):
    __slots__ = ("churn_risk",)
    CHURN_RISK_FIELD_NUMBER: _ClassVar[int]
    churn_risk: ChurnRisk
    def __init__(self, churn_risk: _Optional[_Union[ChurnRisk, _Mapping]] = ...) -> None: ...

class ListChurnRisksRequest(_message.Message):
    __slots__ = ("market", "page_size", "page_token", "order", "locale")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    market: str
    page_size: int
    page_token: str
    order: ChurnRiskOrder
    locale: str
    def __init__(self, market: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[ChurnRiskOrder, str]] = ..., locale: _Optional[str] = ...) -> None: ...

class ListChurnRisksResponse(_message.Message):
    __slots__ = ("churn_risks", "next_page_token", "total_size")
    CHURN_RISKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    churn_risks: _containers.RepeatedCompositeFieldContainer[ChurnRisk]
    next_page_token: str
    total_size: int
    def __init__(self, churn_risks: _Optional[_Iterable[_Union[ChurnRisk, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class ChurnRisk(_message.Message):
    __slots__ = ("customer", "run_id", "as_of_time", "bundle_id", "log_odds", "churn_probability", "risk_band", "rank", "value_at_risk", "drivers", "explanation")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    CHURN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    RISK_BAND_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    VALUE_AT_RISK_FIELD_NUMBER: _ClassVar[int]
    DRIVERS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    run_id: str
    as_of_time: _timestamp_pb2.Timestamp
    bundle_id: str
    log_odds: float
    churn_probability: float
    risk_band: RiskBand
    rank: int
    value_at_risk: _money_pb2.Money
    drivers: _explain_pb2.Reasons
    explanation: _explain_pb2.Explanation
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., run_id: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bundle_id: _Optional[str] = ..., log_odds: _Optional[float] = ..., churn_probability: _Optional[float] = ..., risk_band: _Optional[_Union[RiskBand, str]] = ..., rank: _Optional[int] = ..., value_at_risk: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., drivers: _Optional[_Union[_explain_pb2.Reasons, _Mapping]] = ..., explanation: _Optional[_Union[_explain_pb2.Explanation, _Mapping]] = ...) -> None: ...
