"""Replay of a churn prediction: scores the stored row again with the recorded bundle, and compares the results."""

from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import churn_evidence_pb2
from grounds.audit.v1 import evidence_pb2 as ev
from models.catalog import decline_companion_family
from models.errors import AdditivityError, BundleInvalid
from models.model import Model
from server.decisions.churn_replay import StoredRisk, compare_explanation, compare_score, recompute_explanation
from server.decisions.inputs import compatible_inputs, features_without_record
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch, ReplayVerdict
from server.decisions.sourced_values import SourcedValue
from server.edges.audit.churn_evidence import ROW_DAMAGED, run_reading
from server.edges.audit.proofs import verify_stored_record
from server.edges.audit.readings import ReadingRecorder
from server.edges.audit.replay_results import WHAT_IF_NOTICE, ReplayUnavailable, missing_features_text, verdict_result
from server.edges.churn.messages import BANDS
from server.edges.credit.decision_records import runtime_message
from server.edges.explanations import (
    ContributionFacts,
    baseline_message,
    contribution_message,
    explanation_message,
    timestamp,
)
from server.edges.identity.callers import Caller
from server.edges.thread_pool import StoreThreads
from server.errors import BundleNotReadable, BundleUnknown, RecordDamaged, RecordUnknown
from server.stores.catalog.bundle_cache import BundleCaches, refuse_unusable_bundle
from server.stores.float_arrays import unpack_doubles
from server.stores.record_log.entries import time_from_us
from server.stores.record_log.proofs import ProofReader
from server.stores.runs.evidence import PredictionEvidence, RunEvidenceReader
from server.stores.runs.leaves import LeavesDamaged
from server.stores.runs.predictions import SCORED
from server.stores.runs.records import manifest_sha256, run_record_id

_DEFAULT_MODES = (ev.REPLAY_MODE_VERIFY, ev.REPLAY_MODE_SCORE, ev.REPLAY_MODE_EXPLANATION)


class ChurnReplayer:
    """Answers ReplayChurnRisk, and records every reading before it answers."""

    def __init__(
        self,
        *,
        readings: ReadingRecorder,
        rows: RunEvidenceReader,
        proofs: ProofReader,
        bundles: BundleCaches,
        threads: StoreThreads,
    ) -> None:
        self._readings, self._rows, self._proofs = readings, rows, proofs
        self._bundles, self._threads = bundles, threads

    async def replay(
        self, request: churn_evidence_pb2.ReplayChurnRiskRequest, caller: Caller
    ) -> pb.ReplayChurnRiskResponse:
        """Return one result for each requested mode. A request without modes means VERIFY, SCORE and EXPLANATION.

        Raises:
            RunUnknown: There is no such run.
            CustomerUnknown: The run has no prediction for the customer.
            BundleUnknown, BundleNotReadable: The bundle of the what-if cannot be opened.
            StoreUnavailable: The database does not answer, or the reading was not recorded.
        """
        customer, modes = request.customer, tuple(request.modes) or _DEFAULT_MODES
        found = await self._threads.run(
            self._rows.find_prediction, request.run_id, customer.market, customer.customer_id
        )
        other = None
        if request.bundle_id:
            bundles = self._bundles.for_family(found.run.manifest["family"])
            other = await self._threads.run_long(bundles.open_model, request.bundle_id)
        reading = await self._readings.record(
            run_reading(self._rows, "ReplayChurnRisk", request, caller, modes, request.bundle_id)
        )
        answer = pb.ReplayChurnRiskResponse(
            run_id=request.run_id, customer=customer, replay_runtime=runtime_message(), reading=reading
        )
        for mode in modes:
            answer.results.append(await self._threads.run_long(self._replay_mode, mode, found, other))
        return answer

    def _replay_mode(self, mode: ev.ReplayMode, found: PredictionEvidence, other: Model | None) -> ev.ReplayResult:
        """Return the result of one mode."""
        try:
            if mode == ev.REPLAY_MODE_VERIFY:
                return verdict_result(mode, self._verify(found))
            risk = _stored_risk(found)
            if mode == ev.REPLAY_MODE_FEATURES:
                reason = ev.UNAVAILABLE_REASON_TRANSACTIONS_ELSEWHERE
                return ReplayUnavailable(reason, _rescoring_instructions(found)).result(mode)
            if mode == ev.REPLAY_MODE_WHAT_IF:
                assert other is not None, "validation requires a bundle_id for WHAT_IF"
                with refuse_unusable_bundle(other.bundle.bundle_id):
                    return self._what_if(found, risk, other)
            verdict, left_out = self._compare(mode, found, risk)
        except BundleInvalid as error:
            return ReplayUnavailable(ev.UNAVAILABLE_REASON_ARTIFACT_MISSING, str(error)).result(mode)
        except ReplayUnavailable as error:
            return error.result(mode)
        result = verdict_result(mode, verdict)
        result.left_out = left_out
        return result

    def _verify(self, found: PredictionEvidence) -> ReplayVerdict:
        """Check the run's record against the signed tree, and the row, manifest and as-of time against the record."""
        run_id = found.run.run_id
        try:
            record_verdict = verify_stored_record(self._proofs, run_record_id(run_id))
        except RecordUnknown:
            return ReplayMismatch("record", "", "the record log has no record of this run", 1)
        if not isinstance(record_verdict, ReplayMatch):
            return record_verdict
        if found.damage:
            return ReplayMismatch("record", "", found.damage, 1)
        if found.recorded is None:
            message = (
                f"run {run_id} was loaded by an earlier release, whose records do not allow proofs of single rows; "
                "to check all rows of the run together, run: python -m server doctor"
            )
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_PROOF_MISSING, message)
        if found.row is not None and not found.content:
            return ReplayMismatch("row", "", ROW_DAMAGED, 1)
        try:
            self._rows.prove_row(found)
        except LeavesDamaged as error:
            return ReplayMismatch(error.field, error.stored, error.recomputed, 1)
        return self._verify_manifest(found, record_verdict.compared + 1)

    def _verify_manifest(self, found: PredictionEvidence, compared: int) -> ReplayVerdict:
        """Compare the run's manifest and as-of time with the body of its record, if the body is still stored.

        Args:
            found: The prediction with its run.
            compared: Number of fields that were compared before. The verdict adds its own comparisons to this number.
        """
        try:
            body = self._rows.find_run_record(found.run.run_id)
        except RecordDamaged as error:
            return ReplayMismatch("record", "", str(error), 1)
        if body is None:
            return ReplayMatch(compared)
        stored_sha256 = manifest_sha256(found.manifest)
        if body.manifest_sha256 != stored_sha256:
            return ReplayMismatch("manifest", body.manifest_sha256, stored_sha256, 1)
        market = {each.market: each for each in body.markets}.get(found.run.market)
        recorded, stored = market.as_of_time if market else Timestamp(), timestamp(found.run.as_of)
        if recorded != stored:
            return ReplayMismatch("run.as_of_time", recorded.ToJsonString(), stored.ToJsonString(), 1)
        return ReplayMatch(compared + 2)

    def _compare(self, mode: ev.ReplayMode, found: PredictionEvidence, risk: StoredRisk) -> tuple[ReplayVerdict, str]:
        """Score the row again, and compare the fields that the mode SCORE or EXPLANATION covers.

        Returns:
            The verdict, and a text that lists the fields that were not compared; "" if all fields were compared.
        """
        model = self._open_model(found)
        names = list(model.bundle.schema.names)
        if risk.names != names:
            return ReplayMismatch("feature_names", ", ".join(risk.names), ", ".join(names), 1), ""
        try:
            answer = recompute_explanation(model, risk)
        except AdditivityError as error:
            return ReplayMismatch("residual", "", str(error), 1), ""
        if mode == ev.REPLAY_MODE_EXPLANATION:
            return compare_explanation(risk, answer, model)
        return compare_score(risk, answer, self._open_decline_model(found))

    def _open_model(self, found: PredictionEvidence) -> Model:
        """Open the bundle that scored the run.

        Raises:
            ReplayUnavailable: The bundle is not in the catalog, or cannot be read.
        """
        manifest = found.run.manifest
        try:
            return self._bundles.for_family(manifest["family"]).open_model(manifest["bundle_id"])
        except (BundleUnknown, BundleNotReadable) as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_ARTIFACT_MISSING, str(error)) from error

    def _open_decline_model(self, found: PredictionEvidence) -> Model | None:
        """Open the bundle of the decline probability; return None if no such bundle exists or can be opened."""
        bundle_id = found.run.manifest.get("decline_bundle_id")
        if not bundle_id:
            return None
        try:
            return self._bundles.for_family(decline_companion_family(found.run.manifest["family"])).open_model(
                bundle_id
            )
        except (BundleUnknown, BundleNotReadable):
            return None

    def _what_if(self, found: PredictionEvidence, risk: StoredRisk, other: Model) -> ev.ReplayResult:
        """Score the row with a different bundle. A feature that the row does not contain counts as missing."""
        as_of = found.run.as_of
        # The row stores a level as a number. Decode it with the recorded bundle's schema, because the other bundle may
        # use a different number for the same level.
        own, schema = self._open_model(found).bundle.schema, other.bundle.schema
        values = {name: SourcedValue(value, "STORE", as_of) for name, value in risk.values(own).items()}
        inputs = compatible_inputs(schema, values)
        answer = other.explain({name: schema.encode_value(name, given.value) for name, given in inputs.items()})
        contributions = []
        for feature, log_odds in zip(schema.features, answer.contributions, strict=True):
            given = inputs.get(feature.name)
            value, source = (given.value, given.source) if given else (None, None)
            facts = ContributionFacts(feature.name, feature.group, value, source, as_of, log_odds, None)
            contributions.append(contribution_message(facts))
        baseline = other.bundle.baseline
        churn = ev.ChurnWhatIf(
            log_odds=answer.log_odds,
            churn_probability=answer.pd,
            risk_band=BANDS.get(answer.grade, BANDS[None]),
            explanation=explanation_message(
                method=baseline.method,
                baseline=baseline_message(other.bundle.baseline_sha256, baseline.row_count, baseline.definition),
                base_value=answer.base_value,
                residual=answer.residual,
                contributions=contributions,
            ),
        )
        what_if = ev.WhatIf(notice=WHAT_IF_NOTICE, bundle_id=other.bundle.bundle_id, churn=churn)
        unrecorded = features_without_record(schema, own.names, values)
        return ev.ReplayResult(mode=ev.REPLAY_MODE_WHAT_IF, what_if=what_if, left_out=missing_features_text(unrecorded))


def _stored_risk(found: PredictionEvidence) -> StoredRisk:
    """Return the stored prediction of a scored customer.

    Raises:
        ReplayUnavailable: The customer was erased, the customer has no score, or the row is damaged.
    """
    row = found.row
    if row is None:
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_INPUT_ERASED, "the customer was erased")
    if not found.content:
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_RECORD_DAMAGED, ROW_DAMAGED)
    if row.status != SCORED:
        message = f"the customer has no score in this run; the status is {row.status}"
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_NOT_SCORED, message)
    return StoredRisk(
        log_odds=row.log_odds,
        pd=row.pd,
        band=row.band or "",
        had_same_band=row.band_since is not None and time_from_us(row.band_since) < found.run.as_of,
        decline_pd=row.decline_pd,
        features=unpack_doubles(row.features),
        contributions=unpack_doubles(row.contributions),
        drivers=row.drivers,
        manifest=found.run.manifest,
    )


def _rescoring_instructions(found: PredictionEvidence) -> str:
    """Return instructions for computing the features of a run again from the transactions."""
    return (
        "the features were computed from transactions, which this server does not have; on a machine that has the "
        f"transactions, run: python -m training score SPEC.toml --at {found.run.as_of:%Y-%m-%d}, with the same bundle "
        f"and lists; if the command writes run {found.run.run_id}, the features are the same"
    )
