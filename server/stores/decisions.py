"""Every decision as it was answered. Nothing is answered that is not here first."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from server.stores.database import Database
from server.stores.tables import DECISIONS


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision on its way into the store, or out of it.

    Attributes:
        answer: The serialized CreditDecision, byte for byte as answered.
    """

    decision_id: str
    caller: str
    request_id: str
    content_sha256: str
    decide_time: dt.datetime
    answer: bytes


class DecisionStore:
    """Keeps decisions; unique on caller and request_id."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def keep(self, decision: KeptDecision) -> KeptDecision:
        """Keep a decision durably, and give the one that counts: this one, or the one that was first.

        When the same request is answered twice at once, one of the two is kept, and both callers get it.
        """
        try:
            with self.database.writing() as connection:
                connection.execute(
                    DECISIONS.insert().values({name: getattr(decision, name) for name in DECISIONS.c.keys()})  # noqa: SIM118 - a ColumnCollection iterates over columns
                )
        except IntegrityError:
            first = self.of_request(decision.caller, decision.request_id)
            if first is None:
                raise
            return first
        return decision

    def of_request(self, caller: str, request_id: str) -> KeptDecision | None:
        """Give what this caller got for this request_id, if anything."""
        return self.first(DECISIONS.c.caller == caller, DECISIONS.c.request_id == request_id)

    def of_id(self, decision_id: str) -> KeptDecision | None:
        """Give a decision by its name."""
        return self.first(DECISIONS.c.decision_id == decision_id)

    def first(self, *conditions: object) -> KeptDecision | None:
        """Give the one decision that fits."""
        with self.database.reading() as connection:
            found = connection.execute(select(DECISIONS).where(*conditions)).first()  # type: ignore[arg-type]
        return None if found is None else KeptDecision(**found._mapping)  # noqa: SLF001 - SQLAlchemy's public name
