"""AuditService: proofs from the record log, evidence and replays of decisions and predictions, lists and samples."""

from grounds.audit.v1 import activation_pb2, audit_pb2_grpc, churn_evidence_pb2, evidence_pb2, sample_pb2
from grounds.audit.v1 import audit_pb2 as pb
from server.edges.audit.churn_evidence import ChurnEvidenceReader
from server.edges.audit.churn_replay import ChurnReplayer
from server.edges.audit.decision_evidence import DecisionEvidenceReader
from server.edges.audit.decision_replay import DecisionReplayer
from server.edges.audit.decision_search import DecisionSearch
from server.edges.audit.operation_history import OperationHistory
from server.edges.audit.stored_records import StoredRecords
from server.edges.received_request import ReceivedRequest


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Answers the calls of auditors."""

    def __init__(
        self,
        *,
        records: StoredRecords,
        decision_evidence: DecisionEvidenceReader,
        decision_replayer: DecisionReplayer,
        decision_search: DecisionSearch,
        churn_evidence: ChurnEvidenceReader,
        churn_replayer: ChurnReplayer,
        operations: OperationHistory,
    ) -> None:
        self._records = records
        self._decision_evidence, self._decision_replayer = decision_evidence, decision_replayer
        self._decision_search, self._operations = decision_search, operations
        self._churn_evidence, self._churn_replayer = churn_evidence, churn_replayer

    async def GetCheckpoint(
        self, _request: pb.GetCheckpointRequest, _received: ReceivedRequest
    ) -> pb.GetCheckpointResponse:
        """Return the newest checkpoint."""
        return await self._records.read_checkpoint()

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, _received: ReceivedRequest
    ) -> pb.GetInclusionProofResponse:
        """Prove that a record is in the tree of the requested size, or in the newest tree."""
        return await self._records.prove_inclusion(request)

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, _received: ReceivedRequest
    ) -> pb.GetConsistencyProofResponse:
        """Prove that the tree of an earlier checkpoint is a prefix of a later tree."""
        return await self._records.prove_consistency(request)

    async def ListRecords(self, request: pb.ListRecordsRequest, _received: ReceivedRequest) -> bytes:
        """Return an encoded page of stored records, whose content is encrypted."""
        return await self._records.list_page(request)

    async def GetRangeProof(
        self, request: pb.GetRangeProofRequest, _received: ReceivedRequest
    ) -> pb.GetRangeProofResponse:
        """Prove that a range of records is in the tree of the requested size."""
        return await self._records.prove_range(request)

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

    async def ListDecisions(self, request: sample_pb2.ListDecisionsRequest, received: ReceivedRequest) -> bytes:
        """Return an encoded page of decisions."""
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
