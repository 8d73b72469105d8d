"""AuditService: proofs from the record log, evidence and replays of decisions and predictions, lists and samples."""

from collections.abc import Sequence

from grounds.audit.v1 import activation_pb2, audit_pb2_grpc, churn_evidence_pb2, evidence_pb2, sample_pb2
from grounds.audit.v1 import audit_pb2 as pb
from server.edges.audit.churn_evidence import ChurnEvidenceReader
from server.edges.audit.churn_replay import ChurnReplayer
from server.edges.audit.decision_evidence import DecisionEvidenceReader
from server.edges.audit.decision_replay import DecisionReplayer
from server.edges.audit.decision_search import DecisionSearch
from server.edges.audit.operation_history import OperationHistory
from server.edges.audit.proofs import check_tree_size, inclusion_message, newest_inclusion, record_message
from server.edges.received_request import ReceivedRequest
from server.edges.thread_pool import StoreThreads
from server.stores.record_log.proofs import ProofReader


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Answers the calls of auditors."""

    def __init__(
        self,
        *,
        proofs: ProofReader,
        threads: StoreThreads,
        decision_evidence: DecisionEvidenceReader,
        decision_replayer: DecisionReplayer,
        decision_search: DecisionSearch,
        churn_evidence: ChurnEvidenceReader,
        churn_replayer: ChurnReplayer,
        operations: OperationHistory,
    ) -> None:
        self._proofs, self._threads = proofs, threads
        self._decision_evidence, self._decision_replayer = decision_evidence, decision_replayer
        self._decision_search, self._operations = decision_search, operations
        self._churn_evidence, self._churn_replayer = churn_evidence, churn_replayer

    async def GetCheckpoint(
        self, _request: pb.GetCheckpointRequest, _received: ReceivedRequest
    ) -> pb.GetCheckpointResponse:
        """Return the newest checkpoint."""
        head = await self._threads.run(self._proofs.read_head)
        return pb.GetCheckpointResponse(
            checkpoint=head.checkpoint, verifier_key=head.verifier_key, key_rotations=head.key_rotations
        )

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, _received: ReceivedRequest
    ) -> pb.GetInclusionProofResponse:
        """Prove that a record is in the tree of the requested size, or in the newest tree."""
        record_id = request.record_id.lower()
        if not request.tree_size:
            return await self._threads.run(newest_inclusion, self._proofs, record_id)
        head = await self._threads.run(self._proofs.read_head)
        size = check_tree_size(request.tree_size, head)
        record, hashes = await self._threads.run(self._proofs.prove_inclusion, record_id, size)
        return inclusion_message(record, size, hashes, head.checkpoint, head.key_rotations)

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, _received: ReceivedRequest
    ) -> pb.GetConsistencyProofResponse:
        """Prove that the tree of an earlier checkpoint is a prefix of a later tree."""
        head = await self._threads.run(self._proofs.read_head)
        size = check_tree_size(request.new_size or head.size, head)
        hashes = await self._threads.run(self._proofs.prove_consistency, request.old_size, size)
        return pb.GetConsistencyProofResponse(new_size=size, hashes=hashes, checkpoint=head.checkpoint)

    async def ListRecords(self, request: pb.ListRecordsRequest, _received: ReceivedRequest) -> bytes:
        """Return an encoded page of stored records, whose content is encrypted."""
        head = await self._threads.run(self._proofs.read_head)
        end = check_tree_size(request.end or head.size, head)
        return await self._threads.run(self._encode_page, request.start, end)

    def _encode_page(self, start: int, end: int) -> bytes:
        """Read and encode a page. This takes several milliseconds, so it runs in a thread instead of the event loop."""
        records = self._proofs.read_page(start, end)
        following = records[-1].index + 1 if records else end
        page = pb.ListRecordsResponse(
            records=map(record_message, records), next_start=following if following < end else 0
        )
        return page.SerializeToString()

    async def GetRangeProof(
        self, request: pb.GetRangeProofRequest, _received: ReceivedRequest
    ) -> pb.GetRangeProofResponse:
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

    async def GetEvidence(self, request: pb.GetEvidenceRequest, received: ReceivedRequest) -> pb.GetEvidenceResponse:
        """Return the evidence of a decision."""
        return await self._decision_evidence.read(request, received.caller)

    async def ReplayDecision(
        self, request: evidence_pb2.ReplayDecisionRequest, received: ReceivedRequest
    ) -> pb.ReplayDecisionResponse:
        """Compute a decision again, and compare the result with the record."""
        return await self._decision_replayer.replay(request, received.caller)

    async def GetChurnEvidence(
        self, request: churn_evidence_pb2.GetChurnEvidenceRequest, received: ReceivedRequest
    ) -> pb.GetChurnEvidenceResponse:
        """Return the evidence of a churn prediction."""
        return await self._churn_evidence.read(request, received.caller)

    async def ReplayChurnRisk(
        self, request: churn_evidence_pb2.ReplayChurnRiskRequest, received: ReceivedRequest
    ) -> pb.ReplayChurnRiskResponse:
        """Compute a churn prediction again, and compare the result with the stored row."""
        return await self._churn_replayer.replay(request, received.caller)

    async def ListDecisions(
        self, request: sample_pb2.ListDecisionsRequest, received: ReceivedRequest
    ) -> sample_pb2.ListDecisionsResponse:
        """Return a page of decisions."""
        return await self._decision_search.list_page(request, received.caller)

    async def SampleDecisions(
        self, request: sample_pb2.SampleDecisionsRequest, _received: ReceivedRequest
    ) -> sample_pb2.SampleDecisionsResponse:
        """Draw a sample of decisions."""
        return await self._decision_search.draw_sample(request)

    async def ListActivations(
        self, request: activation_pb2.ListActivationsRequest, received: ReceivedRequest
    ) -> activation_pb2.ListActivationsResponse:
        """Return a page of the changes of bundles and policies."""
        return await self._operations.list_activations(request, received.caller)

    async def CountRefusedCalls(
        self, request: pb.CountRefusedCallsRequest, _received: ReceivedRequest
    ) -> pb.CountRefusedCallsResponse:
        """Count the calls that were denied or refused."""
        return await self._operations.count_refused_calls(request)
