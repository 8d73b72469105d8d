"""Warm-up: runs the hot path once before the server listens, because rules and statements are compiled at first use."""

import contextlib
import gc
from collections.abc import Iterable

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor

from grounds_record.merkle import Node
from models.schema import Schema
from server.edges.audit.proofs import newest_inclusion
from server.edges.audit.readings import EVIDENCE_READING
from server.edges.authorization import LOCAL_CALLER
from server.edges.credit.decision_records import runtime_message
from server.edges.credit.events import read_events
from server.edges.validation import validate
from server.errors import RequestInvalid
from server.stores.database import Snapshot
from server.stores.features import FeatureStore
from server.stores.record_log.entries import EPOCH, LogEntry, Record, new_record_id
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.record_reader import RecordReader, find_request_rows
from server.stores.record_log.tree_hashes import TreeHashReader

_NO_NAME = ""  # of a market, a customer and a request that do not exist


class _RollBack(Exception):
    """Rolls a transaction back."""


def warm_up(log: RecordLog, features: FeatureStore, schemas: Iterable[Schema]) -> None:
    """Read features, look for an earlier answer, append a record, read it back, prove it, and roll all of it back.

    It raises what a database that does not answer raises, or a damaged log. Nothing is written in any case.

    Args:
        log: Of the server.
        features: Of the server.
        schemas: Of models that serve; features are read once for each.
    """
    runtime_message()
    for schema in schemas:
        features.find_newest(_NO_NAME, _NO_NAME, schema)
    entry = LogEntry(
        kind=EVIDENCE_READING,
        record_id=new_record_id(EPOCH),
        time=EPOCH,
        caller=LOCAL_CALLER,
        request_id=_NO_NAME,
        body=b"",
    )
    with contextlib.suppress(_RollBack), log.database.writing() as connection:
        (record,), _ = log.append_within(connection, [entry])
        assert isinstance(record, Record), "the record_id is new"
        find_request_rows(connection, {(LOCAL_CALLER, _NO_NAME)})
        snapshot = Snapshot(connection)
        records = RecordReader(snapshot, log.key_store)
        assert records.find_stored(entry.record_id), "it was appended above"
        newest_inclusion(
            ProofReader(snapshot), entry.record_id
        )  # with a cache of its own: these hashes are rolled back
        TreeHashReader(connection)([Node(0, record.index)])  # in an empty log the proof needs no hashes
        read_events(records, record)
        raise _RollBack


def compile_validation_rules(services: Iterable[ServiceDescriptor]) -> None:
    """Validate an empty request of every method: compiling the rules of one takes up to 20 ms."""
    for service in services:
        for method in service.methods:
            with contextlib.suppress(RequestInvalid):
                validate(message_factory.GetMessageClass(method.input_type)())


def freeze_startup_objects() -> None:
    """Exempt all objects of the start from garbage collection (`gc.freeze`).

    A full collection over modules and protos takes 60 ms, in which no call is answered; without them it takes 1 or 2.
    """
    gc.collect()
    gc.freeze()
