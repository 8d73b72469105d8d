"""Answers the calls that read stored records of the log, and those that prove them. No record is decrypted."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from grounds.audit.v1 import audit_pb2 as pb
from server.edges.audit.proofs import check_tree_size, inclusion_message, newest_inclusion, record_message
from server.edges.limits import LoanDeskPriority
from server.edges.thread_pool import StoreThreads
from server.stores.record_log.proofs import PAGE_ROWS, ProofReader, stored_bytes

_PART_ROWS = 25  # encoding a part takes about a millisecond; PAGE_ROWS is a multiple of this number
_PAGE_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True)
class _PagePart:
    """An encoded part of a page of records.

    Attributes:
        content: The encoded records.
        rows: Number of records.
        size: Size of the records as `stored_bytes` counts it.
        following: Index after the last record.
    """

    content: bytes
    rows: int
    size: int
    following: int


class StoredRecords:
    """Reads stored records, checkpoints and proofs for auditors."""

    def __init__(
        self,
        proofs: ProofReader,
        threads: StoreThreads,
        priority: LoanDeskPriority,
        page_seconds_max: float = _PAGE_SECONDS_MAX,
    ) -> None:
        """Create a reader.

        Args:
            proofs: Reads stored records and proofs.
            threads: The threads for database work of auditors.
            priority: Delays the parts of a page while the loan desk is busy.
            page_seconds_max: Time in seconds after which a page ends early. The caller requests the next page.
        """
        self._proofs, self._threads, self._priority = proofs, threads, priority
        self._page_seconds_max = page_seconds_max

    async def read_checkpoint(self) -> pb.GetCheckpointResponse:
        """Return the newest checkpoint."""
        head = await self._threads.run(self._proofs.read_head)
        return pb.GetCheckpointResponse(
            checkpoint=head.checkpoint, verifier_key=head.verifier_key, key_rotations=head.key_rotations
        )

    async def prove_inclusion(self, request: pb.GetInclusionProofRequest) -> pb.GetInclusionProofResponse:
        """Prove that a record is in the tree of the requested size, or in the newest tree."""
        record_id = request.record_id.lower()
        if not request.tree_size:
            return await self._threads.run(newest_inclusion, self._proofs, record_id)
        head = await self._threads.run(self._proofs.read_head)
        size = check_tree_size(request.tree_size, head)
        record, hashes = await self._threads.run(self._proofs.prove_inclusion, record_id, size)
        return inclusion_message(record, size, hashes, head.checkpoint, head.key_rotations)

    async def prove_consistency(self, request: pb.GetConsistencyProofRequest) -> pb.GetConsistencyProofResponse:
        """Prove that the tree of an earlier checkpoint is a prefix of a later tree."""
        head = await self._threads.run(self._proofs.read_head)
        size = check_tree_size(request.new_size or head.size, head)
        hashes = await self._threads.run(self._proofs.prove_consistency, request.old_size, size)
        return pb.GetConsistencyProofResponse(new_size=size, hashes=hashes, checkpoint=head.checkpoint)

    async def list_page(self, request: pb.ListRecordsRequest) -> bytes:
        """Return an encoded page of stored records, whose content is encrypted.

        The page is read and encoded in parts, so that a call of the loan desk waits for at most one part. In protobuf,
        the concatenation of encoded messages is the encoding of one message with all elements of a repeated field.
        """
        head = await self._threads.run(self._proofs.read_head)
        end = check_tree_size(request.end or head.size, head)
        parts, rows, size, start = list[bytes](), 0, 0, request.start
        deadline = time.monotonic() + self._page_seconds_max
        while rows < PAGE_ROWS:
            part = await self._threads.run(self._encode_part, start, end, size)
            parts.append(part.content)
            rows, size, start = rows + part.rows, size + part.size, part.following
            if part.rows < _PART_ROWS or time.monotonic() > deadline:
                break
            await self._priority.wait()
        if rows and start < end:
            parts.append(pb.ListRecordsResponse(next_start=start).SerializeToString())
        return b"".join(parts)

    def _encode_part(self, start: int, end: int, bytes_before: int) -> "_PagePart":
        """Read and encode the next part of a page that already has `bytes_before` bytes."""
        records = self._proofs.read_page(start, end, _PART_ROWS, bytes_before)
        return _PagePart(
            pb.ListRecordsResponse(records=map(record_message, records)).SerializeToString(),
            rows=len(records),
            size=sum(map(stored_bytes, records)),
            following=records[-1].index + 1 if records else start,
        )

    async def prove_range(self, request: pb.GetRangeProofRequest) -> pb.GetRangeProofResponse:
        """Prove that a range of records is in the tree of the requested size."""
        head = await self._threads.run(self._proofs.read_head)
        size = check_tree_size(request.tree_size, head)
        kept_sizes: Sequence[int] = tuple(request.kept_sizes)
        proof = await self._threads.run(self._proofs.prove_range, request.start, request.end, size, kept_sizes)
        return pb.GetRangeProofResponse(
            before=proof.before,
            after=proof.after,
            retentions=[
                pb.RetentionProof(record=record_message(each.record), hashes=each.proof) for each in proof.retentions
            ],
            consistency=[pb.ConsistencyProof(old_size=old, hashes=hashes) for old, hashes in proof.consistency],
        )
