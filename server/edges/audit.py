"""AuditService: gives auditors the log as stored, and its proofs."""

from collections.abc import Sequence

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import audit_pb2_grpc
from record.export import StoredRecord
from server.edges.context import Context
from server.edges.threads import Threads
from server.errors import TreeSizeUnknown
from server.stores.proofs import Head, Proofs


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Answers auditors."""

    def __init__(self, proofs: Proofs, threads: Threads) -> None:
        self.proofs, self.threads = proofs, threads

    async def GetCheckpoint(self, _request: pb.GetCheckpointRequest, _context: Context) -> pb.GetCheckpointResponse:
        """Give the newest checkpoint."""
        head = await self.threads.run(self.proofs.head)
        return pb.GetCheckpointResponse(checkpoint=head.checkpoint, verifier_key=head.verifier_key)

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, _context: Context
    ) -> pb.GetInclusionProofResponse:
        """Prove one record."""
        head = await self.threads.run(self.proofs.head)
        size = size_of(request.tree_size or head.size, head)
        record, hashes = await self.threads.run(self.proofs.inclusion, request.record_id.lower(), size)
        return pb.GetInclusionProofResponse(
            record=record_message(record), tree_size=size, hashes=hashes, checkpoint=head.checkpoint
        )

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, _context: Context
    ) -> pb.GetConsistencyProofResponse:
        """Prove that one tree begins with another."""
        head = await self.threads.run(self.proofs.head)
        size = size_of(request.new_size or head.size, head)
        hashes = await self.threads.run(self.proofs.consistency, request.old_size, size)
        return pb.GetConsistencyProofResponse(new_size=size, hashes=hashes, checkpoint=head.checkpoint)

    async def ListRecords(self, request: pb.ListRecordsRequest, _context: Context) -> pb.ListRecordsResponse:
        """Give a page of records."""
        head = await self.threads.run(self.proofs.head)
        end = size_of(request.end or head.size, head)
        records = await self.threads.run(self.proofs.page, request.start, end)
        after = records[-1].index + 1 if records else end
        return pb.ListRecordsResponse(records=map(record_message, records), next_start=after if after < end else 0)

    async def GetRangeProof(self, request: pb.GetRangeProofRequest, _context: Context) -> pb.GetRangeProofResponse:
        """Prove a stretch."""
        head = await self.threads.run(self.proofs.head)
        size = size_of(request.tree_size, head)
        kept: Sequence[int] = tuple(request.kept_sizes)
        proof = await self.threads.run(self.proofs.range, request.start, request.end, size, kept)
        return pb.GetRangeProofResponse(
            before=proof.before,
            after=proof.after,
            retentions=[
                pb.RetentionProof(record=record_message(each.record), hashes=each.proof) for each in proof.retentions
            ],
            consistency=[pb.ConsistencyProof(old_size=old, hashes=hashes) for old, hashes in proof.consistency],
        )


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
