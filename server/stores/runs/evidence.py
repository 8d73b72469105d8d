"""Reads one customer's row in a scoring run, with its proof, for auditors.

Of an erased row, only the leaf hash remains.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import Header
from grounds_record.leaf_tiles import LeafProof
from grounds_record.rows_root import RowsRoot
from server.errors import CustomerUnknown, RecordDamaged, RecordRemoved, RunUnknown
from server.stores.record_log.erased_customers import ERASURE
from server.stores.record_log.log import RecordLog
from server.stores.runs.leaves import LeavesDamaged, prove_row
from server.stores.runs.predictions import SCORED, ScoringRun, find_first_run
from server.stores.runs.records import read_run_header, recorded_root, run_record_id, run_salt_key
from server.stores.runs.row_encoding import encode_row, legacy_row_sha256, row_leaf
from server.stores.tables import RISKS, RUNS

_DOUBLE_BYTES = 8


@dataclass(frozen=True, slots=True)
class PredictionEvidence:
    """A customer's row in a run.

    Attributes:
        run: The run in the customer's market.
        manifest: Manifest of the run, as stored in RUNS.
        row: Row of RISKS; None if it was erased.
        content: Encoded row, from which the hash is computed; b"" if the row was erased or is invalid.
        leaf: Leaf hash of the row. The leaf hash of an erased row is read from the record of the erasure.
        recorded: Number of rows and their root, from the header of the run's record; None if the record is missing,
            invalid, or in the format of earlier releases.
        damage: Problem of the run's record; "" if the record is valid.
    """

    run: ScoringRun
    manifest: str
    row: Row[Any] | None
    content: bytes
    leaf: bytes
    recorded: RowsRoot | None
    damage: str = ""


class RunEvidenceReader:
    """Reads rows of runs with their proofs. Its methods may be called from any thread.

    Attributes:
        log: Log in the database of the runs.
    """

    def __init__(self, log: RecordLog) -> None:
        self.log = log

    def find_prediction(self, run_id: str, market: str, customer_id: str) -> PredictionEvidence:
        """Return a customer's row in a run. If the row was erased, return only its leaf hash.

        Raises:
            RunUnknown: No run with this id is published in the market.
            CustomerUnknown: The run has no row of this customer, and no erasure record lists such a row.
            RecordDamaged: The record of an erasure was changed after it was written.
        """
        wanted = select(RISKS).where(RISKS.c.customer_id == customer_id)
        header, damage = None, ""
        with self.log.database.reading() as connection:
            run = _read_run(connection, run_id, market)
            line = select(RUNS.c.header).where(RUNS.c.run_number == run.number)
            manifest: str = connection.execute(line).scalar_one()
            row = connection.execute(wanted.where(RISKS.c.run_number == run.number)).first()
            try:
                header = read_run_header(connection, run_id)
                damage = "" if header else "the run has no record; run: python -m server doctor"
            except RecordDamaged as error:
                damage = str(error)
            # Check that the run is still published. If so, pruning did not delete the row, because pruning changes the
            # state before it deletes rows.
            _read_run(connection, run_id, market)
        recorded = recorded_root(header, market) if header else None
        if row is None:
            leaf = self._erased_leaf(run_id, market, customer_id)
            if leaf is None:
                problem = f"run {run_id} has no such customer in {market}"
                raise CustomerUnknown(problem, run_id=run_id, market=market)
            return PredictionEvidence(run, manifest, None, b"", leaf, recorded, damage)
        content, leaf = self._encode(run, header, row)
        return PredictionEvidence(run, manifest, row, content, leaf, recorded, damage)

    def _encode(self, run: ScoringRun, header: Header | None, row: Row[Any]) -> tuple[bytes, bytes]:
        """Return the encoded row and its hash; b"" for both if the row is invalid and so was changed after the load."""
        columns, key = row._mapping, run_salt_key(self.log, run.run_id, run.market)  # noqa: SLF001 - SQLAlchemy's public name
        width = _DOUBLE_BYTES * len(run.manifest["feature_names"]) if row.status == SCORED else 0
        if not len(row.features) == len(row.contributions) == width or (row.status == SCORED) != (row.pd is not None):
            return b"", b""
        leaf = row_leaf(columns, key)
        if not leaf:
            return b"", b""
        is_legacy = header is not None and recorded_root(header, run.market) is None
        return encode_row(columns, key), legacy_row_sha256(columns) if is_legacy else leaf

    def _erased_leaf(self, run_id: str, market: str, customer_id: str) -> bytes | None:
        """Return the hash of an erased row from the record of the erasure; None if no such record lists the row.

        Raises:
            RecordDamaged: The record of an erasure was changed after it was written.
        """
        for record in self.log.reader.read_related(self.log.customer_tag(market, customer_id), (ERASURE,)):
            for each in pb.ErasureRecord.FromString(record.body).run_rows:
                if (each.run_id, each.market) == (run_id, market):
                    return each.row_sha256
        return None

    def find_run_record(self, run_id: str) -> pb.RunRecord | None:
        """Return the body of a run's record; None if retention removed the body or the run has no record.

        Raises:
            RecordDamaged: The record was changed after it was written.
        """
        try:
            record = self.log.find_by_id(run_record_id(run_id))
        except RecordRemoved:
            return None
        return None if record is None else pb.RunRecord.FromString(record.body)

    def prove_row(self, evidence: PredictionEvidence) -> LeafProof | None:
        """Return the proof that a row leads to the recorded root; None if `evidence.recorded` is None.

        Raises:
            LeavesDamaged: The row or the leaf hashes differ from the record of the run.
            RunUnknown: The run was pruned in the meantime.
        """
        if evidence.recorded is None:
            return None
        with self.log.database.reading() as connection:
            try:
                return prove_row(connection, evidence.run.number, evidence.leaf, evidence.recorded)
            except LeavesDamaged:
                # If the run is being pruned, missing leaf hashes are not damage; raise RunUnknown instead.
                _read_run(connection, evidence.run.run_id, evidence.run.market)
                raise


def _read_run(connection: Connection, run_id: str, market: str) -> ScoringRun:
    """Return a published run; raise RunUnknown if there is none."""
    run = find_first_run(connection, RUNS.c.run_id == run_id, RUNS.c.market == market)
    if run is None:
        problem = f"no run {run_id} is loaded in {market}; if the run was pruned, its record remains in the log"
        raise RunUnknown(problem, run_id=run_id, market=market, record_id=run_record_id(run_id))
    return run
