"""Evidence of a churn prediction: the stored row, the record of its scoring run, the bundle, and inclusion proofs."""

import math

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import bodies_pb2, churn_evidence_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from grounds.customer.v1 import customer_pb2
from grounds.explain.v1 import explain_pb2
from grounds_record.leaf_tiles import LeafProof
from server.edges.audit.decision_evidence import BundleEvidenceCache
from server.edges.audit.proofs import newest_inclusion
from server.edges.audit.readings import CustomerReading, Reading, ReadingRecorder
from server.edges.churn.messages import RiskWriter, risk_explanation_message, run_message
from server.edges.explanations import timestamp
from server.edges.identity.callers import Caller
from server.edges.thread_pool import StoreThreads
from server.errors import RecordDamaged
from server.stores.float_arrays import unpack_doubles
from server.stores.record_log.proofs import ProofReader
from server.stores.runs.evidence import PredictionEvidence, RunEvidenceReader
from server.stores.runs.leaves import LeavesDamaged
from server.stores.runs.predictions import SCORED
from server.stores.runs.records import run_record_id

ROW_DAMAGED = "the stored row differs from the row that was loaded; run: python -m server doctor"


class ChurnEvidenceReader:
    """Answers GetChurnEvidence, and records every reading before it answers."""

    def __init__(
        self,
        *,
        readings: ReadingRecorder,
        rows: RunEvidenceReader,
        proofs: ProofReader,
        bundles: BundleEvidenceCache,
        threads: StoreThreads,
    ) -> None:
        self._readings, self._rows, self._proofs, self._threads = readings, rows, proofs, threads
        self._bundles = bundles

    async def read(
        self, request: churn_evidence_pb2.GetChurnEvidenceRequest, caller: Caller
    ) -> pb.GetChurnEvidenceResponse:
        """Return the evidence of a customer's prediction in a run.

        Raises:
            RunUnknown: There is no such run.
            CustomerUnknown: The run has no prediction for the customer.
            RecordDamaged: The row or the record of the run was changed after the run was loaded.
            StoreUnavailable: The database does not answer, or the reading was not recorded.
        """
        customer = request.customer
        found = await self._threads.run(
            self._rows.find_prediction, request.run_id, customer.market, customer.customer_id
        )
        body, proof = await self._threads.run(self._prove_row, found)
        reading = await self._readings.record(run_reading(self._rows, "GetChurnEvidence", request, caller))
        evidence = await self._threads.run(self._evidence_message, customer, found, body, request.locale)
        if proof is not None:
            evidence.row_proof.CopyFrom(_row_proof_message(proof, found.leaf))
        evidence.reading.CopyFrom(reading)
        return pb.GetChurnEvidenceResponse(evidence=evidence)

    def _prove_row(self, found: PredictionEvidence) -> tuple[bodies_pb2.RunRecord | None, LeafProof | None]:
        """Read the record of the run, and prove that the row is in the Merkle root in that record.

        Returns:
            The body of the record, or None if the body is no longer stored; and the proof, or None if an earlier
            release recorded the run.

        Raises:
            RecordDamaged: The row or the record was changed, so neither can serve as evidence.
        """
        run_id = found.run.run_id
        if found.damage or (found.row is not None and not found.content):
            raise RecordDamaged(found.damage or ROW_DAMAGED, run_id=run_id)
        try:
            return self._rows.find_run_record(run_id), self._rows.prove_row(found)
        except LeavesDamaged as error:
            message = f"the row is not in the Merkle root of its run: {error}; run: python -m server doctor"
            raise RecordDamaged(message, run_id=run_id) from error

    def _evidence_message(
        self, customer: customer_pb2.Customer, found: PredictionEvidence, body: bodies_pb2.RunRecord | None, locale: str
    ) -> pb.ChurnEvidence:
        """Build the evidence, except for the row proof and the reading, which `read` adds."""
        run = found.run
        evidence = pb.ChurnEvidence(
            run_id=run.run_id,
            customer=customer,
            body_state=evidence_pb2.BODY_STATE_ERASED,
            run=run_message(run),
            record=body,
            bundle=self._bundles.find(run.manifest["family"], run.manifest["bundle_id"]),
            proof=newest_inclusion(self._proofs, run_record_id(run.run_id)),
            verifier_key=self._rows.log.verifier.text(),
        )
        if found.row is not None:
            evidence.body_state = evidence_pb2.BODY_STATE_READABLE
            evidence.row = found.content
            evidence.churn_risk.CopyFrom(_risk_message(found, locale))
            if found.row.status == SCORED:
                evidence.features.extend(self._model_inputs(found))
        return evidence

    def _model_inputs(self, found: PredictionEvidence) -> list[pb.FedFeature]:
        """Build one message for each model input.

        The row stores a level as a number. The message contains the name of the level if the catalog still has the
        bundle, and otherwise the number.
        """
        run, messages = found.run, []
        schema = self._bundles.schema(run.manifest["family"], run.manifest["bundle_id"])
        assert found.row is not None
        for name, number in zip(run.manifest["feature_names"], unpack_doubles(found.row.features), strict=True):
            message = pb.FedFeature(feature=name, number=number)
            if not math.isnan(number):
                value = schema.decode_value(name, number) if schema and name in schema.position else number
                if isinstance(value, str):
                    message.value.level = value
                else:
                    message.value.number = value
                message.source = explain_pb2.VALUE_SOURCE_STORE
                message.as_of_time.CopyFrom(timestamp(run.as_of))
            messages.append(message)
        return messages


def run_reading(
    rows: RunEvidenceReader,
    method: str,
    request: churn_evidence_pb2.GetChurnEvidenceRequest | churn_evidence_pb2.ReplayChurnRiskRequest,
    caller: Caller,
    modes: tuple[evidence_pb2.ReplayMode, ...] = (),
    bundle_id: str = "",
) -> Reading:
    """Return the reading to record for a request of GetChurnEvidence or ReplayChurnRisk."""
    customer = request.customer
    tag = rows.log.customer_tag(customer.market, customer.customer_id)
    about = CustomerReading(customer.market, tag, request.run_id)
    return Reading(caller.name, run_record_id(request.run_id), method, request.purpose, modes, bundle_id, about)


def _risk_message(found: PredictionEvidence, locale: str) -> churn_pb2.ChurnRisk:
    """Build the message of the prediction with its explanation, as GetChurnRisk of ChurnService returns it."""
    assert found.row is not None
    risk = RiskWriter(found.run, locale).message(found.row)
    if found.row.status == SCORED:
        risk.explanation.CopyFrom(risk_explanation_message(found.run, found.row))
    return risk


def _row_proof_message(proof: LeafProof, leaf: bytes) -> churn_evidence_pb2.RowProof:
    """Build the message of a row's proof."""
    return churn_evidence_pb2.RowProof(leaf_hash=leaf, index=proof.index, size=proof.size, hashes=proof.hashes)
