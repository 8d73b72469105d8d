"""Records and sizes of the log as the contract says them."""

from grounds.audit.v1 import audit_pb2 as pb
from record.export import StoredRecord
from server.errors import TreeSizeUnknown
from server.stores.proofs import Head


def size_of(size: int, head: Head) -> int:
    """Refuse a size that the log has not reached."""
    if size > head.size:
        raise TreeSizeUnknown(f"the log has {head.size} records, not {size}", size=str(head.size))
    return size


def record_message(record: StoredRecord) -> pb.StoredRecord:
    """Write a record as stored."""
    return pb.StoredRecord(
        index=record.index,
        header=record.header,
        ciphertext=record.ciphertext,
        nodes=record.nodes,
        columns=dict(record.columns or {}),
    )
