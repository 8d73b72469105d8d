"""Finds one customer of one run for those who audit: the row, or what an erasure left of it, and its proof."""

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

DOUBLE_BYTES = 8


@dataclass(frozen=True, slots=True)
class PredictionEvidence:
    """A customer of a run.

    Attributes:
        manifest: Of the run, as the table keeps it.
        row: Of RISKS; None where an erasure has taken it.
        content: The row as it is hashed; b"" where it was erased, or cannot be what was loaded.
        leaf: Its hash; of an erased one, the hash that the erasure's record kept.
        recorded: What the header of the run's record says of the rows; None where an earlier release wrote it.
        damage: What is wrong with the run's record; "" where nothing is.
    """

    run: ScoringRun
    manifest: str
    row: Row[Any] | None
    content: bytes
    leaf: bytes
    recorded: RowsRoot | None
    damage: str = ""


class RunEvidenceReader:
    """Reads rows of runs with their proofs. Its methods may be called from any thread."""

    def __init__(self, log: RecordLog) -> None:
        self.log = log

    def find_prediction(self, run_id: str, market: str, customer_id: str) -> PredictionEvidence:
        """Find a customer.

        Raises:
            RunUnknown: No run of this name is loaded in the market.
            CustomerUnknown: The run never had this customer.
        """
        wanted = select(RISKS).where(RISKS.c.customer_id == customer_id)
        header, damage = None, ""
        with self.log.database.reading() as connection:
            run = kept_run(connection, run_id, market)
            line = select(RUNS.c.header).where(RUNS.c.run_number == run.number)
            manifest: str = connection.execute(line).scalar_one()
            row = connection.execute(wanted.where(RISKS.c.run_number == run.number)).first()
            try:
                header = read_run_header(connection, run_id)
                damage = "" if header else "the run has no record; run: python -m server doctor"
            except RecordDamaged as error:
                damage = str(error)
            kept_run(connection, run_id, market)  # asked after reading: a row goes only after its run's state changes
        recorded = recorded_root(header, market) if header else None
        if row is None:
            leaf = self.erased_leaf(run_id, market, customer_id)
            if leaf is None:
                told = f"run {run_id} has no such customer in {market}"
                raise CustomerUnknown(told, run_id=run_id, market=market)
            return PredictionEvidence(run, manifest, None, b"", leaf, recorded, damage)
        content, leaf = self.hashed(run, header, row)
        return PredictionEvidence(run, manifest, row, content, leaf, recorded, damage)

    def hashed(self, run: ScoringRun, header: Header | None, row: Row[Any]) -> tuple[bytes, bytes]:
        """Give a row as it is hashed, and its hash; b"" for both where it cannot be what was loaded."""
        columns, key = row._mapping, run_salt_key(self.log, run.run_id, run.market)  # noqa: SLF001 - SQLAlchemy's public name
        width = DOUBLE_BYTES * len(run.manifest["feature_names"]) if row.status == SCORED else 0
        if not len(row.features) == len(row.contributions) == width or (row.status == SCORED) != (row.pd is not None):
            return b"", b""
        leaf = row_leaf(columns, key)
        if not leaf:
            return b"", b""
        is_old = header is not None and recorded_root(header, run.market) is None
        return encode_row(columns, key), legacy_row_sha256(columns) if is_old else leaf

    def erased_leaf(self, run_id: str, market: str, customer_id: str) -> bytes | None:
        """Give the hash of a row that an erasure has taken; None where none has.

        Raises:
            RecordDamaged: The record of an erasure is not what was written.
        """
        for kept in self.log.reader.read_related(self.log.customer_tag(market, customer_id), (ERASURE,), {}):
            for each in pb.ErasureRecord.FromString(kept.body).run_rows:
                if (each.run_id, each.market) == (run_id, market):
                    return each.row_sha256
        return None

    def find_run_record(self, run_id: str) -> pb.RunRecord | None:
        """Give the body of a run's record; None where retention has removed it, or there is none.

        Raises:
            RecordDamaged: It is not what was written.
        """
        try:
            kept = self.log.find_by_id(run_record_id(run_id))
        except RecordRemoved:
            return None
        return None if kept is None else pb.RunRecord.FromString(kept.body)

    def prove_row(self, found: PredictionEvidence) -> LeafProof | None:
        """Prove a row; None where an earlier release has recorded the run.

        Raises:
            LeavesDamaged: The row, or the leaves, are not those that were recorded.
            RunUnknown: The run went meanwhile.
        """
        if found.recorded is None:
            return None
        with self.log.database.reading() as connection:
            try:
                return prove_row(connection, found.run.number, found.leaf, found.recorded)
            except LeavesDamaged:
                kept_run(connection, found.run.run_id, found.run.market)
                raise


def kept_run(connection: Connection, run_id: str, market: str) -> ScoringRun:
    """Give a run that readers see."""
    run = find_first_run(connection, RUNS.c.run_id == run_id, RUNS.c.market == market)
    if run is None:
        told = f"no run {run_id} is loaded in {market}; of one that is no longer kept, the record remains"
        raise RunUnknown(told, run_id=run_id, market=market, record_id=run_record_id(run_id))
    return run
