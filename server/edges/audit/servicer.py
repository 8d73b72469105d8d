"""AuditService: gives auditors the log as stored, its proofs, the evidence of decisions and risks, replays, lists, samples."""

from collections.abc import Sequence

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import audit_pb2_grpc, churn_evidence_pb2, evidence_pb2, sample_pb2
from server.edges.audit.churn_evidence import ChurnEvidenceReader
from server.edges.audit.churn_replay import ChurnReplayer
from server.edges.audit.decision_lists import DecisionSearch
from server.edges.audit.evidence import DecisionEvidenceReader
from server.edges.audit.proofs import inclusion_message, newest_inclusion, record_message, size_of
from server.edges.audit.replay import DecisionReplayer
from server.edges.context import Context
from server.edges.thread_pool import StoreThreads
from server.stores.record_log.proofs import ProofReader


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Answers auditors."""

    def __init__(
        self,
        proofs: ProofReader,
        threads: StoreThreads,
        desks: tuple[DecisionEvidenceReader, DecisionReplayer, DecisionSearch],
        churn: tuple[ChurnEvidenceReader, ChurnReplayer],
    ) -> None:
        self.proofs, self.threads = proofs, threads
        self.evidence, self.replays, self.decisions = desks
        self.churn_evidence, self.churn_replays = churn

    async def GetCheckpoint(self, _request: pb.GetCheckpointRequest, _context: Context) -> pb.GetCheckpointResponse:
        """Give the newest checkpoint."""
        head = await self.threads.run(self.proofs.read_head)
        return pb.GetCheckpointResponse(checkpoint=head.checkpoint, verifier_key=head.verifier_key)

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, _context: Context
    ) -> pb.GetInclusionProofResponse:
        """Prove one record."""
        record_id = request.record_id.lower()
        if not request.tree_size:
            return await self.threads.run(newest_inclusion, self.proofs, record_id)
        head = await self.threads.run(self.proofs.read_head)
        size = size_of(request.tree_size, head)
        record, hashes = await self.threads.run(self.proofs.prove_inclusion, record_id, size)
        return inclusion_message(record, size, hashes, head.checkpoint)

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, _context: Context
    ) -> pb.GetConsistencyProofResponse:
        """Prove that one tree begins with another."""
        head = await self.threads.run(self.proofs.read_head)
        size = size_of(request.new_size or head.size, head)
        hashes = await self.threads.run(self.proofs.prove_consistency, request.old_size, size)
        return pb.GetConsistencyProofResponse(new_size=size, hashes=hashes, checkpoint=head.checkpoint)

    async def ListRecords(self, request: pb.ListRecordsRequest, _context: Context) -> pb.ListRecordsResponse:
        """Give a page of records."""
        head = await self.threads.run(self.proofs.read_head)
        end = size_of(request.end or head.size, head)
        records = await self.threads.run(self.proofs.read_page, request.start, end)
        after = records[-1].index + 1 if records else end
        return pb.ListRecordsResponse(records=map(record_message, records), next_start=after if after < end else 0)

    async def GetRangeProof(self, request: pb.GetRangeProofRequest, _context: Context) -> pb.GetRangeProofResponse:
        """Prove a stretch."""
        head = await self.threads.run(self.proofs.read_head)
        size = size_of(request.tree_size, head)
        kept: Sequence[int] = tuple(request.kept_sizes)
        proof = await self.threads.run(self.proofs.prove_range, request.start, request.end, size, kept)
        return pb.GetRangeProofResponse(
            before=proof.before,
            after=proof.after,
            retentions=[
                pb.RetentionProof(record=record_message(each.record), hashes=each.proof) for each in proof.retentions
            ],
            consistency=[pb.ConsistencyProof(old_size=old, hashes=hashes) for old, hashes in proof.consistency],
        )

    async def GetEvidence(self, request: pb.GetEvidenceRequest, _context: Context) -> pb.GetEvidenceResponse:
        """Give the evidence of one decision."""
        return await self.evidence.give(request)

    async def ReplayDecision(
        self, request: evidence_pb2.ReplayDecisionRequest, _context: Context
    ) -> pb.ReplayDecisionResponse:
        """Compute a decision again."""
        return await self.replays.give(request)

    async def GetChurnEvidence(
        self, request: churn_evidence_pb2.GetChurnEvidenceRequest, _context: Context
    ) -> pb.GetChurnEvidenceResponse:
        """Give the evidence of one customer's risk."""
        return await self.churn_evidence.give(request)

    async def ReplayChurnRisk(
        self, request: churn_evidence_pb2.ReplayChurnRiskRequest, _context: Context
    ) -> pb.ReplayChurnRiskResponse:
        """Compute a risk again."""
        return await self.churn_replays.give(request)

    async def ListDecisions(
        self, request: sample_pb2.ListDecisionsRequest, _context: Context
    ) -> sample_pb2.ListDecisionsResponse:
        """Give a page of decisions."""
        return await self.decisions.page(request)

    async def SampleDecisions(
        self, request: sample_pb2.SampleDecisionsRequest, _context: Context
    ) -> sample_pb2.SampleDecisionsResponse:
        """Draw a sample."""
        return await self.decisions.sample(request)
