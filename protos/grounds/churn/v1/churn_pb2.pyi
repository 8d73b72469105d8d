import datetime

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

class ContactChannel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTACT_CHANNEL_UNSPECIFIED: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_PHONE: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_EMAIL: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_MESSAGE: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_LETTER: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_VISIT: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_OTHER: _ClassVar[ContactChannel]
    CONTACT_CHANNEL_NONE: _ClassVar[ContactChannel]

class ChurnStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHURN_STATUS_UNSPECIFIED: _ClassVar[ChurnStatus]
    CHURN_STATUS_SCORED: _ClassVar[ChurnStatus]
    CHURN_STATUS_NOT_ENOUGH_HISTORY: _ClassVar[ChurnStatus]
    CHURN_STATUS_CLOSED: _ClassVar[ChurnStatus]
    CHURN_STATUS_BLOCKED_BY_US: _ClassVar[ChurnStatus]
    CHURN_STATUS_MOVED_ENTITY: _ClassVar[ChurnStatus]

class RiskBand(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RISK_BAND_UNSPECIFIED: _ClassVar[RiskBand]
    RISK_BAND_LOW: _ClassVar[RiskBand]
    RISK_BAND_MEDIUM: _ClassVar[RiskBand]
    RISK_BAND_HIGH: _ClassVar[RiskBand]
    RISK_BAND_CRITICAL: _ClassVar[RiskBand]

class ExportCompression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPORT_COMPRESSION_UNSPECIFIED: _ClassVar[ExportCompression]
    EXPORT_COMPRESSION_NONE: _ClassVar[ExportCompression]
    EXPORT_COMPRESSION_ZSTD: _ClassVar[ExportCompression]

class ChurnRiskOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHURN_RISK_ORDER_UNSPECIFIED: _ClassVar[ChurnRiskOrder]
    CHURN_RISK_ORDER_PROBABILITY: _ClassVar[ChurnRiskOrder]
    CHURN_RISK_ORDER_VALUE_AT_RISK: _ClassVar[ChurnRiskOrder]
CONTACT_CHANNEL_UNSPECIFIED: ContactChannel
CONTACT_CHANNEL_PHONE: ContactChannel
CONTACT_CHANNEL_EMAIL: ContactChannel
CONTACT_CHANNEL_MESSAGE: ContactChannel
CONTACT_CHANNEL_LETTER: ContactChannel
CONTACT_CHANNEL_VISIT: ContactChannel
CONTACT_CHANNEL_OTHER: ContactChannel
CONTACT_CHANNEL_NONE: ContactChannel
CHURN_STATUS_UNSPECIFIED: ChurnStatus
CHURN_STATUS_SCORED: ChurnStatus
CHURN_STATUS_NOT_ENOUGH_HISTORY: ChurnStatus
CHURN_STATUS_CLOSED: ChurnStatus
CHURN_STATUS_BLOCKED_BY_US: ChurnStatus
CHURN_STATUS_MOVED_ENTITY: ChurnStatus
RISK_BAND_UNSPECIFIED: RiskBand
RISK_BAND_LOW: RiskBand
RISK_BAND_MEDIUM: RiskBand
RISK_BAND_HIGH: RiskBand
RISK_BAND_CRITICAL: RiskBand
EXPORT_COMPRESSION_UNSPECIFIED: ExportCompression
EXPORT_COMPRESSION_NONE: ExportCompression
EXPORT_COMPRESSION_ZSTD: ExportCompression
CHURN_RISK_ORDER_UNSPECIFIED: ChurnRiskOrder
CHURN_RISK_ORDER_PROBABILITY: ChurnRiskOrder
CHURN_RISK_ORDER_VALUE_AT_RISK: ChurnRiskOrder

class GetChurnRiskRequest(_message.Message):
    __slots__ = ("customer", "locale", "family")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    locale: str
    family: str
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., locale: _Optional[str] = ..., family: _Optional[str] = ...) -> None: ...

class GetChurnRiskResponse(_message.Message):
    __slots__ = ("churn_risk",)
    CHURN_RISK_FIELD_NUMBER: _ClassVar[int]
    churn_risk: ChurnRisk
    def __init__(self, churn_risk: _Optional[_Union[ChurnRisk, _Mapping]] = ...) -> None: ...

class BatchGetChurnRisksRequest(_message.Message):
    __slots__ = ("customers", "locale", "family")
    CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    customers: _containers.RepeatedCompositeFieldContainer[_customer_pb2.Customer]
    locale: str
    family: str
    def __init__(self, customers: _Optional[_Iterable[_Union[_customer_pb2.Customer, _Mapping]]] = ..., locale: _Optional[str] = ..., family: _Optional[str] = ...) -> None: ...

class BatchGetChurnRisksResponse(_message.Message):
    __slots__ = ("churn_risks",)
    CHURN_RISKS_FIELD_NUMBER: _ClassVar[int]
    churn_risks: _containers.RepeatedCompositeFieldContainer[ChurnRisk]
    def __init__(self, churn_risks: _Optional[_Iterable[_Union[ChurnRisk, _Mapping]]] = ...) -> None: ...

class ListChurnRisksRequest(_message.Message):
    __slots__ = ("market", "page_size", "page_token", "order", "locale", "risk_bands", "value_at_risk_minor_min", "status", "include_withheld", "family")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    RISK_BANDS_FIELD_NUMBER: _ClassVar[int]
    VALUE_AT_RISK_MINOR_MIN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    market: str
    page_size: int
    page_token: str
    order: ChurnRiskOrder
    locale: str
    risk_bands: _containers.RepeatedScalarFieldContainer[RiskBand]
    value_at_risk_minor_min: int
    status: ChurnStatus
    include_withheld: bool
    family: str
    def __init__(self, market: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[ChurnRiskOrder, str]] = ..., locale: _Optional[str] = ..., risk_bands: _Optional[_Iterable[_Union[RiskBand, str]]] = ..., value_at_risk_minor_min: _Optional[int] = ..., status: _Optional[_Union[ChurnStatus, str]] = ..., include_withheld: _Optional[bool] = ..., family: _Optional[str] = ...) -> None: ...

class ListChurnRisksResponse(_message.Message):
    __slots__ = ("churn_risks", "next_page_token", "total_size")
    CHURN_RISKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    churn_risks: _containers.RepeatedCompositeFieldContainer[ChurnRisk]
    next_page_token: str
    total_size: int
    def __init__(self, churn_risks: _Optional[_Iterable[_Union[ChurnRisk, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class ListChurnRiskChangesRequest(_message.Message):
    __slots__ = ("market", "page_size", "page_token", "delta_token", "locale", "include_withheld", "family")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DELTA_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    market: str
    page_size: int
    page_token: str
    delta_token: str
    locale: str
    include_withheld: bool
    family: str
    def __init__(self, market: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., delta_token: _Optional[str] = ..., locale: _Optional[str] = ..., include_withheld: _Optional[bool] = ..., family: _Optional[str] = ...) -> None: ...

class ListChurnRiskChangesResponse(_message.Message):
    __slots__ = ("run", "churn_risks", "removed_customers", "next_page_token", "delta_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CHURN_RISKS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DELTA_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: ChurnRun
    churn_risks: _containers.RepeatedCompositeFieldContainer[ChurnRisk]
    removed_customers: _containers.RepeatedCompositeFieldContainer[_customer_pb2.Customer]
    next_page_token: str
    delta_token: str
    def __init__(self, run: _Optional[_Union[ChurnRun, _Mapping]] = ..., churn_risks: _Optional[_Iterable[_Union[ChurnRisk, _Mapping]]] = ..., removed_customers: _Optional[_Iterable[_Union[_customer_pb2.Customer, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., delta_token: _Optional[str] = ...) -> None: ...

class ExportChurnRisksRequest(_message.Message):
    __slots__ = ("market", "resume_token", "locale", "compression", "include_withheld", "family")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    market: str
    resume_token: str
    locale: str
    compression: ExportCompression
    include_withheld: bool
    family: str
    def __init__(self, market: _Optional[str] = ..., resume_token: _Optional[str] = ..., locale: _Optional[str] = ..., compression: _Optional[_Union[ExportCompression, str]] = ..., include_withheld: _Optional[bool] = ..., family: _Optional[str] = ...) -> None: ...

class ExportChurnRisksResponse(_message.Message):
    __slots__ = ("run", "arrow_stream", "resume_token", "delta_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ARROW_STREAM_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DELTA_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: ChurnRun
    arrow_stream: bytes
    resume_token: str
    delta_token: str
    def __init__(self, run: _Optional[_Union[ChurnRun, _Mapping]] = ..., arrow_stream: _Optional[bytes] = ..., resume_token: _Optional[str] = ..., delta_token: _Optional[str] = ...) -> None: ...

class ListChurnRunsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListChurnRunsResponse(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[ChurnRun]
    def __init__(self, runs: _Optional[_Iterable[_Union[ChurnRun, _Mapping]]] = ...) -> None: ...

class ListChurnBandCountsRequest(_message.Message):
    __slots__ = ("market", "family", "run_count_max")
    MARKET_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_MAX_FIELD_NUMBER: _ClassVar[int]
    market: str
    family: str
    run_count_max: int
    def __init__(self, market: _Optional[str] = ..., family: _Optional[str] = ..., run_count_max: _Optional[int] = ...) -> None: ...

class ListChurnBandCountsResponse(_message.Message):
    __slots__ = ("runs", "kept_run_count")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    KEPT_RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunBandCounts]
    kept_run_count: int
    def __init__(self, runs: _Optional[_Iterable[_Union[RunBandCounts, _Mapping]]] = ..., kept_run_count: _Optional[int] = ...) -> None: ...

class RunBandCounts(_message.Message):
    __slots__ = ("run", "bands", "unscored_count")
    RUN_FIELD_NUMBER: _ClassVar[int]
    BANDS_FIELD_NUMBER: _ClassVar[int]
    UNSCORED_COUNT_FIELD_NUMBER: _ClassVar[int]
    run: ChurnRun
    bands: _containers.RepeatedCompositeFieldContainer[BandCount]
    unscored_count: int
    def __init__(self, run: _Optional[_Union[ChurnRun, _Mapping]] = ..., bands: _Optional[_Iterable[_Union[BandCount, _Mapping]]] = ..., unscored_count: _Optional[int] = ...) -> None: ...

class BandCount(_message.Message):
    __slots__ = ("band", "customer_count")
    BAND_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_COUNT_FIELD_NUMBER: _ClassVar[int]
    band: RiskBand
    customer_count: int
    def __init__(self, band: _Optional[_Union[RiskBand, str]] = ..., customer_count: _Optional[int] = ...) -> None: ...

class RecordContactRequest(_message.Message):
    __slots__ = ("request_id", "customer", "run_id", "contact_time", "channel", "campaign", "corrects_contact_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONTACT_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    CORRECTS_CONTACT_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    customer: _customer_pb2.Customer
    run_id: str
    contact_time: _timestamp_pb2.Timestamp
    channel: ContactChannel
    campaign: str
    corrects_contact_id: str
    def __init__(self, request_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., run_id: _Optional[str] = ..., contact_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., channel: _Optional[_Union[ContactChannel, str]] = ..., campaign: _Optional[str] = ..., corrects_contact_id: _Optional[str] = ...) -> None: ...

class RecordContactResponse(_message.Message):
    __slots__ = ("contact",)
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    contact: Contact
    def __init__(self, contact: _Optional[_Union[Contact, _Mapping]] = ...) -> None: ...

class ListContactsRequest(_message.Message):
    __slots__ = ("customer", "page_size", "page_token")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    page_size: int
    page_token: str
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListContactsResponse(_message.Message):
    __slots__ = ("contacts", "next_page_token")
    CONTACTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    contacts: _containers.RepeatedCompositeFieldContainer[RecordedContact]
    next_page_token: str
    def __init__(self, contacts: _Optional[_Iterable[_Union[RecordedContact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RecordedContact(_message.Message):
    __slots__ = ("contact_id", "record_time", "contact", "corrected_by_contact_id", "content_removed")
    CONTACT_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_BY_CONTACT_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_REMOVED_FIELD_NUMBER: _ClassVar[int]
    contact_id: str
    record_time: _timestamp_pb2.Timestamp
    contact: Contact
    corrected_by_contact_id: str
    content_removed: bool
    def __init__(self, contact_id: _Optional[str] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., contact: _Optional[_Union[Contact, _Mapping]] = ..., corrected_by_contact_id: _Optional[str] = ..., content_removed: _Optional[bool] = ...) -> None: ...

class Contact(_message.Message):
    __slots__ = ("contact_id", "request_id", "customer", "run_id", "record_time", "contact_time", "channel", "campaign", "corrects_contact_id", "withheld")
    CONTACT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTACT_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    CORRECTS_CONTACT_ID_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    contact_id: str
    request_id: str
    customer: _customer_pb2.Customer
    run_id: str
    record_time: _timestamp_pb2.Timestamp
    contact_time: _timestamp_pb2.Timestamp
    channel: ContactChannel
    campaign: str
    corrects_contact_id: str
    withheld: bool
    def __init__(self, contact_id: _Optional[str] = ..., request_id: _Optional[str] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., run_id: _Optional[str] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., contact_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., channel: _Optional[_Union[ContactChannel, str]] = ..., campaign: _Optional[str] = ..., corrects_contact_id: _Optional[str] = ..., withheld: _Optional[bool] = ...) -> None: ...

class ChurnRun(_message.Message):
    __slots__ = ("run_id", "market", "as_of_time", "valid_until_time", "bundle_id", "currency_code", "previous_run_id", "customer_count", "horizon_days", "campaign", "family")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_COUNT_FIELD_NUMBER: _ClassVar[int]
    HORIZON_DAYS_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    market: str
    as_of_time: _timestamp_pb2.Timestamp
    valid_until_time: _timestamp_pb2.Timestamp
    bundle_id: str
    currency_code: str
    previous_run_id: str
    customer_count: int
    horizon_days: int
    campaign: str
    family: str
    def __init__(self, run_id: _Optional[str] = ..., market: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bundle_id: _Optional[str] = ..., currency_code: _Optional[str] = ..., previous_run_id: _Optional[str] = ..., customer_count: _Optional[int] = ..., horizon_days: _Optional[int] = ..., campaign: _Optional[str] = ..., family: _Optional[str] = ...) -> None: ...

class ChurnRisk(_message.Message):
    __slots__ = ("customer", "run_id", "as_of_time", "bundle_id", "log_odds", "churn_probability", "risk_band", "rank", "value_at_risk", "drivers", "explanation", "status", "previous_band", "band_since_time", "valid_until_time", "decline_probability", "expected_spend", "hold_out", "suppressions", "action_allowed")
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
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_BAND_FIELD_NUMBER: _ClassVar[int]
    BAND_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    DECLINE_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SPEND_FIELD_NUMBER: _ClassVar[int]
    HOLD_OUT_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSIONS_FIELD_NUMBER: _ClassVar[int]
    ACTION_ALLOWED_FIELD_NUMBER: _ClassVar[int]
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
    status: ChurnStatus
    previous_band: RiskBand
    band_since_time: _timestamp_pb2.Timestamp
    valid_until_time: _timestamp_pb2.Timestamp
    decline_probability: float
    expected_spend: _money_pb2.Money
    hold_out: bool
    suppressions: _containers.RepeatedScalarFieldContainer[str]
    action_allowed: bool
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., run_id: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bundle_id: _Optional[str] = ..., log_odds: _Optional[float] = ..., churn_probability: _Optional[float] = ..., risk_band: _Optional[_Union[RiskBand, str]] = ..., rank: _Optional[int] = ..., value_at_risk: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., drivers: _Optional[_Union[_explain_pb2.Reasons, _Mapping]] = ..., explanation: _Optional[_Union[_explain_pb2.Explanation, _Mapping]] = ..., status: _Optional[_Union[ChurnStatus, str]] = ..., previous_band: _Optional[_Union[RiskBand, str]] = ..., band_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decline_probability: _Optional[float] = ..., expected_spend: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., hold_out: _Optional[bool] = ..., suppressions: _Optional[_Iterable[str]] = ..., action_allowed: _Optional[bool] = ...) -> None: ...
