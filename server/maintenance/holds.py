"""Places and releases legal holds.

An operator specifies a hold by its id or by a prefix of the id. A reason must not contain the customer number.
"""

import datetime as dt
import re

from sqlalchemy import select

from server.errors import ErasureRefused
from server.maintenance.erasure import CustomerKey, ErasurePlan, check_reason, read_plan
from server.stores.record_log.holds import LEGAL_HOLD, place_hold, read_hold_subject, release_hold
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS

_PREFIX_CHARACTERS_MIN = 8
_ID_RULE = f"specify a hold by its id or by an unambiguous prefix of {_PREFIX_CHARACTERS_MIN} or more characters"
_ID_CHARACTERS = re.compile(r"[0-9a-f-]+")
_WORD = re.compile(r"[^\s,;:()'\"]*[^\s,;:()'\".]")  # without the punctuation that ends or quotes a word


def hold_customer(
    log: RecordLog, customer: CustomerKey, reason: str, at: dt.datetime, *, allow_unknown: bool
) -> tuple[str, ErasurePlan]:
    """Place a hold on a customer.

    Args:
        log: The record log.
        customer: The pair (market, customer_id).
        reason: The reason, which is recorded permanently.
        at: The time of the record.
        allow_unknown: Whether to accept a customer without any data, so that the hold covers only future records.

    Returns:
        The hold id, and the data that the hold covers at present.

    Raises:
        ErasureRefused: The reason is invalid, or the customer has no data and `allow_unknown` is false.
    """
    check_reason(reason, customer)
    with log.database.reading() as connection:
        plan = read_plan(connection, log, customer)
    if not (plan.is_new or plan.erased_before or allow_unknown):
        raise ErasureRefused(
            f"{' '.join(customer)}: the database has no data of this customer; check the market and the number, "
            "or add --unknown to hold future records of this customer"
        )
    return place_hold(log, *customer, reason, at), plan


def release_by_id(log: RecordLog, name: str, reason: str, at: dt.datetime) -> str:
    """Release the hold with this id or id prefix, and return its id.

    Raises:
        ErasureRefused: The id matches no hold or several holds, the hold was already released, or the reason is invalid.
    """
    hold_id = _find_hold_id(log, name)
    market, tag = read_hold_subject(log, hold_id)
    # A hold contains the tag of the customer but not the number, so the number cannot be compared with the reason.
    # Instead, compute the tag of each word of the reason. A word whose tag equals the hold's tag is the customer
    # number.
    numbers = [word for word in (reason, *_WORD.findall(reason)) if log.customer_tag(market, word) == tag]
    check_reason(reason, (market, numbers[0]) if numbers else None)
    release_hold(log, hold_id, reason, at)
    return hold_id


def _find_hold_id(log: RecordLog, name: str) -> str:
    """Return the id of the hold whose id starts with `name`, even if the hold was released.

    Raises:
        ErasureRefused: `name` is too short, or matches no hold or several holds.
    """
    prefix = name.lower()
    if len(prefix) < _PREFIX_CHARACTERS_MIN or not _ID_CHARACTERS.fullmatch(prefix):
        raise ErasureRefused(f"{name!r} is not a hold id; {_ID_RULE}")
    condition = RECORDS.c.kind == LEGAL_HOLD, RECORDS.c.record_id.startswith(prefix)
    with log.database.reading() as connection:
        ids = connection.execute(select(RECORDS.c.record_id).where(*condition).limit(2)).scalars().all()
    if len(ids) != 1:
        count = "no hold" if not ids else "more than one hold"
        raise ErasureRefused(
            f"{name!r} matches {count}; {_ID_RULE}. `hold` printed the id, and so does an erasure that the hold forbids"
        )
    return str(ids[0])
