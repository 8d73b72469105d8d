"""The evidence of one customer's risk in one run, put together from the row, the run's record, the bundle and both proofs."""

import math

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import bodies_pb2, churn_evidence_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from grounds.customer.v1 import customer_pb2
from grounds.explain.v1 import explain_pb2
from grounds_record.leaf_tiles import LeafProof
from server.edges.audit.evidence import BundleEvidenceCache
from server.edges.audit.proofs import newest_inclusion
from server.edges.audit.readings import Reading, ReadingRecorder, RunReading
from server.edges.churn.messages import RiskWriter, risk_explanation_message, run_message
from server.edges.explanations import timestamp
from server.edges.thread_pool import StoreThreads
from server.errors import RecordDamaged
from server.stores.float_arrays import unpack_doubles
from server.stores.record_log.proofs import ProofReader
from server.stores.runs.evidence import PredictionEvidence, RunEvidenceReader
from server.stores.runs.leaves import LeavesDamaged
from server.stores.runs.predictions import SCORED
from server.stores.runs.records import run_record_id

ALTERED = "the row is not what was loaded; run: python -m server doctor"


class ChurnEvidenceReader:
    """Gives evidence of churn risks, and has it recorded that it did."""

    def __init__(
        self,
        readings: ReadingRecorder,
        rows: RunEvidenceReader,
        proofs: ProofReader,
        bundles: BundleEvidenceCache,
        threads: StoreThreads,
    ) -> None:
        self.readings, self.rows, self.proofs, self.threads = readings, rows, proofs, threads
        self.bundles = bundles

    async def give(self, request: churn_evidence_pb2.GetChurnEvidenceRequest) -> pb.GetChurnEvidenceResponse:
        """Give the evidence, once the reading is durable."""
        customer = request.customer
        found = await self.threads.run(self.rows.find_prediction, request.run_id, customer.market, customer.customer_id)
        body, proof = await self.threads.run(self.proved, found)
        reading = await self.readings.record(reading_of(self.rows, "GetChurnEvidence", request))
        evidence = await self.threads.run(self.evidence, customer, found, body, request.locale)
        if proof is not None:
            evidence.row_proof.CopyFrom(proof_message(proof, found.leaf))
        evidence.reading.CopyFrom(reading)
        return pb.GetChurnEvidenceResponse(evidence=evidence)

    def proved(self, found: PredictionEvidence) -> tuple[bodies_pb2.RunRecord | None, LeafProof | None]:
        """Read the record of the run, and prove the row in its root; what is damaged is no evidence."""
        if found.damage or (found.row is not None and not found.content):
            raise RecordDamaged(found.damage or ALTERED, run_id=found.run.run_id)
        try:
            return self.rows.find_run_record(found.run.run_id), self.rows.prove_row(found)
        except LeavesDamaged as error:
            told = f"the row is not in the root of its run: {error}; run: python -m server doctor"
            raise RecordDamaged(told, run_id=found.run.run_id) from error

    def evidence(
        self, customer: customer_pb2.Customer, found: PredictionEvidence, body: bodies_pb2.RunRecord | None, locale: str
    ) -> pb.ChurnEvidence:
        """Put it together."""
        run = found.run
        evidence = pb.ChurnEvidence(
            run_id=run.run_id,
            customer=customer,
            body_state=evidence_pb2.BODY_STATE_ERASED,
            run=run_message(run),
            record=body,
            bundle=self.bundles.of(run.manifest["family"], run.manifest["bundle_id"]),
            proof=newest_inclusion(self.proofs, run_record_id(run.run_id)),
            verifier_key=self.rows.log.verifier.text(),
        )
        if found.row is not None:
            evidence.body_state = evidence_pb2.BODY_STATE_READABLE
            evidence.row = found.content
            evidence.churn_risk.CopyFrom(risk_of(found, locale))
            if found.row.status == SCORED:
                evidence.features.extend(self.fed(found))
        return evidence

    def fed(self, found: PredictionEvidence) -> list[pb.FedFeature]:
        """Give the features as fed; a level by its name, where the catalog still has the bundle."""
        run, lines = found.run, []
        schema = self.bundles.schema(run.manifest["family"], run.manifest["bundle_id"])
        assert found.row is not None
        for name, number in zip(run.manifest["feature_names"], unpack_doubles(found.row.features), strict=True):
            line = pb.FedFeature(feature=name, number=number)
            if not math.isnan(number):
                value = schema.decode_value(name, number) if schema and name in schema.position else number
                if isinstance(value, str):
                    line.value.level = value
                else:
                    line.value.number = value
                line.source = explain_pb2.VALUE_SOURCE_STORE
                line.as_of_time.CopyFrom(timestamp(run.as_of))
            lines.append(line)
        return lines


def reading_of(
    rows: RunEvidenceReader,
    method: str,
    request: churn_evidence_pb2.GetChurnEvidenceRequest | churn_evidence_pb2.ReplayChurnRiskRequest,
    modes: tuple[evidence_pb2.ReplayMode, ...] = (),
    bundle_id: str = "",
) -> Reading:
    """Say what is read, by whom and why."""
    customer = request.customer
    of_run = RunReading(request.run_id, customer.market, rows.log.customer_tag(customer.market, customer.customer_id))
    return Reading(run_record_id(request.run_id), method, request.purpose, modes, bundle_id, of_run)


def risk_of(found: PredictionEvidence, locale: str) -> churn_pb2.ChurnRisk:
    """Write the risk as the CRM is told it, with its explanation."""
    assert found.row is not None
    risk = RiskWriter(found.run, locale).message(found.row)
    if found.row.status == SCORED:
        risk.explanation.CopyFrom(risk_explanation_message(found.run, found.row))
    return risk


def proof_message(proof: LeafProof, leaf: bytes) -> churn_evidence_pb2.RowProof:
    """Write the proof of a row."""
    return churn_evidence_pb2.RowProof(leaf_hash=leaf, index=proof.index, size=proof.size, hashes=proof.hashes)
