"""Warm-up: runs the work of frequent calls once before the server listens.

Validation rules and SQL statements are compiled at their first use. Without the warm-up, the first calls would be slow.
"""

import contextlib
import gc
from collections.abc import Iterable

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor

from grounds_record.merkle import Node
from models.schema import Schema
from server.edges.audit.proofs import newest_inclusion
from server.edges.audit.readings import EVIDENCE_READING
from server.edges.credit.decision_records import runtime_message
from server.edges.credit.events import read_events
from server.edges.identity.callers import LOCAL_CALLER
from server.edges.validation import validate
from server.errors import RequestInvalid
from server.stores.database import Snapshot
from server.stores.features import FeatureStore
from server.stores.record_log.entries import EPOCH, LogEntry, Record, new_record_id
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.record_log.record_reader import RecordReader, find_request_rows
from server.stores.record_log.tree_hashes import TreeHashReader

_NO_NAME = ""  # an empty name, which no market, customer or request has


class _RollBack(Exception):
    """Raised to roll back the transaction of the warm-up."""


def warm_up(log: RecordLog, features: FeatureStore, schemas: Iterable[Schema]) -> None:
    """Run the database work of typical calls once, without a lasting change.

    First, read features. Then, in a transaction that is rolled back, append a record, look for an earlier answer, read
    the record and its events, and prove that the record is in the tree.

    Args:
        log: The server's record log.
        features: The server's feature store.
        schemas: Schemas of serving models; features are read once for each schema.

    Raises:
        StoreUnavailable: The database does not answer.
        RecordDamaged: The record log is damaged.
    """
    runtime_message()
    for schema in schemas:
        features.find_newest(_NO_NAME, _NO_NAME, schema)
        features.find_newest_of_several(_NO_NAME, (_NO_NAME,), schema)
    entry = LogEntry(
        kind=EVIDENCE_READING,
        record_id=new_record_id(EPOCH),
        time=EPOCH,
        caller=LOCAL_CALLER.name,
        request_id=_NO_NAME,
        body=b"",
    )
    with contextlib.suppress(_RollBack), log.database.writing() as connection:
        (record,), _ = log.append_within(connection, [entry])
        assert isinstance(record, Record), "the record_id is new"
        find_request_rows(connection, {(LOCAL_CALLER.name, _NO_NAME)})
        snapshot = Snapshot(connection)
        records = RecordReader(snapshot, log.key_store)
        assert records.find_stored(entry.record_id), "the record was appended above"
        # Do not use the shared cache of hashes, because the hashes of this record are rolled back.
        newest_inclusion(ProofReader(snapshot), entry.record_id)
        # If this record is the first of the log, its proof reads no hash. Therefore read one here.
        TreeHashReader(connection)([Node(0, record.index)])
        read_events(records, record)
        raise _RollBack


def compile_validation_rules(services: Iterable[ServiceDescriptor]) -> None:
    """Compile the rules of every method by validating an empty request, which takes up to 20 ms per method."""
    for service in services:
        for method in service.methods:
            with contextlib.suppress(RequestInvalid):
                validate(message_factory.GetMessageClass(method.input_type)())


def freeze_startup_objects() -> None:
    """Exempt all objects that exist at startup from garbage collection (`gc.freeze`).

    A full collection that visits modules and protobuf descriptors takes about 60 ms, and the server answers no call
    during that time. If these objects are exempt, a full collection takes 1 to 2 ms.
    """
    gc.collect()
    gc.freeze()
