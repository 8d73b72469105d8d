"""Reads the file of the customers whom a campaign contacted."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.results.observed_churn import ObservedRun
from training.results.run_file import CustomerKey, RunFile
from training.sources.reader.casts import key_cast, text_cast, time_cast
from training.sources.reader.joined_lines import count_rows
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.sources.transaction_log import database_folder, temporary_database
from training.spec import ReadingSpec

_READING = ReadingSpec()
_OPTION = "--contacted"


@dataclass(frozen=True, slots=True)
class CampaignContact:
    """One contact.

    Attributes:
        customer: Market and customer.
        day: The day of the contact; None if the file has no days, so that it counts for every run.
        campaign: The campaign; "" if the file states none, so that the contact counts for every campaign.
    """

    customer: CustomerKey
    day: dt.date | None
    campaign: str

    def belongs_to(self, run: RunFile) -> bool:
        """Return whether the contact is one of the campaign of a run, within the horizon of the run."""
        if self.campaign not in ("", run.manifest.campaign):
            return False
        return self.day is None or run.as_of <= self.day < run.end


@dataclass(frozen=True, slots=True)
class Contacts:
    """The contacts of campaigns.

    Attributes:
        contacts: The contacts.
        sha256: SHA-256 of the file.
    """

    contacts: frozenset[CampaignContact]
    sha256: str


def read_contacts(path: Path) -> Contacts:
    """Read the file of contacted customers: columns market, customer_id, and optionally day and campaign.

    Raises:
        SpecInvalid: The file lacks a column.
        DataInvalid: The file is unreadable, or a row lacks a market, a customer or a day.
    """
    with temporary_database(1) as connection:
        source = open_file(path, _READING, database_folder(connection), set(), _OPTION)
        source.require({f"column {name}": name for name in ("market", "customer_id")})
        casts = {
            "market": key_cast(source, "market", "contacted.market", "market"),
            "customer_id": key_cast(source, "customer_id", "contacted.customer_id", "customer"),
        }
        values = {"day": "CAST(NULL AS DATE)", "campaign": "''"}
        if has_day := source.find("day") is not None:
            casts["day"] = time_cast(source, "day", "contacted.day", _READING, "NULL")
            values["day"] = f"CAST({casts['day'].value} AS DATE)"
        if source.find("campaign") is not None:
            casts["campaign"] = text_cast(source, "campaign", "contacted.campaign")
            values["campaign"] = f"COALESCE({casts['campaign'].value}, '')"
        columns = ", ".join([casts["market"].value, casts["customer_id"].value, *values.values()])

        def read(table: RawTable) -> list[tuple[str | None, str | None, dt.date | None, str]]:
            unreadable = find_unreadable(connection, table, casts.values())
            refuse_unreadable(table, _READING, unreadable, count_rows(connection, table))
            return connection.execute(f"SELECT DISTINCT {columns} FROM {table.sql}").fetchall()  # noqa: S608 - names are quoted

        rows = read_strictly(source, database_folder(connection), read)
    contacts = [
        CampaignContact((market, customer), day, campaign)
        for market, customer, day, campaign in rows
        if market is not None and customer is not None and (day is not None or not has_day)
    ]
    if len(contacts) < len(rows):
        required = "a market, a customer_id and a day" if has_day else "a market and a customer_id"
        raise DataInvalid(f"{path}: every row must have {required}; correct or remove the other rows")
    return Contacts(frozenset(contacts), source.digest)


def contacted_mask(observed: ObservedRun, contacts: Contacts) -> NDArray[np.bool_]:
    """Return which customers of a run were contacted by its campaign within its horizon: shape (n,)."""
    contacted = {each.customer for each in contacts.contacts if each.belongs_to(observed.run)}
    return np.array([key in contacted for key in _keys(observed.rows)], dtype=np.bool_)


def unmatched_contacts(observed: list[ObservedRun], contacts: Contacts) -> int:
    """Return the number of contacts that belong to no run: another customer, another campaign, or outside the horizon."""
    matched = set()
    for one in observed:
        customers = set(_keys(one.run.rows))
        matched |= {each for each in contacts.contacts if each.customer in customers and each.belongs_to(one.run)}
    return len(contacts.contacts - matched)


def _keys(rows: pd.DataFrame) -> list[CustomerKey]:
    """Return the customer of each row."""
    return list(zip(rows["market"], rows["customer_id"], strict=True))
