"""What every answer does, done once before the first of them waits for it: statements are put together at first use."""

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
from server.edges.credit.events import events_after
from server.edges.validation import validate
from server.errors import RequestInvalid
from server.stores.database import Snapshot
from server.stores.features import FeatureStore
from server.stores.record_log.entries import EPOCH, LogEntry, Record, new_record_id
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.record_reader import RecordReader, find_request_rows
from server.stores.record_log.tree_hashes import TreeHashReader

_NO_NAME = ""  # a market, a customer and a request that there are not


class _RollBack(Exception):
    """Ends a transaction of which nothing is to stay."""


def warm_up(log: RecordLog, features: FeatureStore, schemas: Iterable[Schema]) -> None:
    """Read features, look for an earlier answer, append a record, read it back, prove it, and undo all of it.

    Whatever it raises, of a database that does not answer or a log that is damaged, nothing stays.
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
        (kept,), _ = log.append_within(connection, [entry])
        assert isinstance(kept, Record), "the name is new"
        find_request_rows(connection, {(LOCAL_CALLER, _NO_NAME)})
        then = Snapshot(connection)
        records = RecordReader(then, log.key_store)
        assert records.find_stored(entry.record_id), "it was just appended"
        newest_inclusion(ProofReader(then), entry.record_id)  # with a stock of hashes of its own: these are undone
        TreeHashReader(connection)([Node(0, kept.index)])  # of a log that was empty the proof asks for nothing
        events_after(records, kept)
        raise _RollBack


def compile_validation_rules(services: Iterable[ServiceDescriptor]) -> None:
    """Have the rules of the contract put together: those of one request take up to 20 ms."""
    for service in services:
        for method in service.methods:
            with contextlib.suppress(RequestInvalid):
                validate(message_factory.GetMessageClass(method.input_type)())


def freeze_startup_objects() -> None:
    """Leave what is there to the end out of Python's search for garbage.

    A search of everything takes 60 ms, in which no call is answered; one of what calls make takes 1 or 2.
    """
    gc.collect()
    gc.freeze()
