"""Terminal output of evidence, checks, verdicts, lists of decisions, and samples."""

from collections.abc import Sequence

from rich.console import Console

from grounds.audit.v1 import activation_pb2, audit_pb2, bodies_pb2, evidence_pb2, sample_pb2
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.verdicts import mode_text, verdict_holds, verdict_name, verdict_text
from grounds_client.formatting import (
    BUNDLE_ID_SHOWN,
    author_text,
    band_name,
    change_text,
    changes_text,
    decision_name,
    probability_text,
    score_text,
    time_text,
)
from grounds_client.terminal.churn import show_risk
from grounds_client.terminal.console import add_row, make_table, print_line, print_uncut
from grounds_client.terminal.credit import show_decision


def show_decision_evidence(console: Console, evidence: audit_pb2.Evidence) -> None:
    """Print the decision, its bundle, policy and runtime. The HTML page has all of the evidence."""
    if not evidence.HasField("record"):
        print_line(console, f"decision {evidence.decision_id}: its content was erased; its proof remains")
        return
    record, runtime = evidence.record, evidence.record.runtime
    show_decision(console, evidence.decision, evidence.bundle.model if evidence.HasField("bundle") else None)
    lines = (
        f"caller {record.caller}, request {evidence.decision.record_ref.request_id}",
        f"bundle {record.bundle_id}{_activation_text(record.activation_id)}",
        f"policy {record.policy_version}, {record.policy_sha256}{_activation_text(record.policy_activation_id)}",
        f"computed by Grounds {runtime.grounds}, ONNX Runtime {runtime.onnxruntime}, Python {runtime.python}",
    )
    for line in lines:
        print_line(console, line)


def _activation_text(activation_id: str) -> str:
    """Return the activation as the end of a line; "" for a decision of a release that recorded no activations."""
    return f", activation {activation_id}" if activation_id else ""


def show_churn_evidence(console: Console, evidence: audit_pb2.ChurnEvidence) -> None:
    """Print the prediction, its run and bundle. The HTML page has all of the evidence."""
    if not evidence.HasField("churn_risk"):
        customer = f"customer {evidence.customer.market} {evidence.customer.customer_id}"
        print_line(console, f"{customer} was erased from run {evidence.run_id}; the proofs remain")
        return
    show_risk(console, evidence.churn_risk)
    print_line(console, f"run {evidence.run_id}, loaded {time_text(evidence.record.load_time)}")
    print_line(console, f"bundle {evidence.run.bundle_id}")


def show_checks(console: Console, checks: Sequence[EvidenceCheck], *, given: bool) -> None:
    """Print the checks. `given` is True if the reader supplied the public key."""
    print_line(console, "Checked here:")
    for check in checks:
        print_line(console, f"  {'holds' if check.holds else 'FAILS'}  {check.claim}")
    if not given:
        note = "the public key is the one that this server reports, so the checks prove only that the server agrees with itself"
        print_line(console, f"  note   {note}; specify your own copy with --key", style="dim")


def show_replay(console: Console, replay: audit_pb2.ReplayDecisionResponse | audit_pb2.ReplayChurnRiskResponse) -> None:
    """Print the verdicts, and the what-if result of another bundle if it was requested."""
    table = make_table()
    for title in ("replay", "verdict", "what that means"):
        table.add_column(title)
    for result in replay.results:
        mode, style = mode_text(result).split(":")[0], "green" if verdict_holds(result) else "red"
        add_row(table, mode, verdict_name(result), verdict_text(result), style=style)
    console.print(table)
    if isinstance(replay, audit_pb2.ReplayDecisionResponse):
        for counterfactual in replay.recourse.counterfactuals:
            print_line(console, f"would have been approved with {changes_text(counterfactual)}")
    for result in replay.results:
        if result.HasField("what_if") and (text := _what_if_text(result.what_if)):
            bundle_id = result.what_if.bundle_id[:BUNDLE_ID_SHOWN]
            print_line(console, f"bundle {bundle_id} would have returned: {text}")


def show_decisions(console: Console, decisions: Sequence[sample_pb2.DecisionSummary]) -> None:
    """Print a list of decisions."""
    table = make_table()
    for title in ("decision id", "index", "decided (UTC)", "market", "decision", "grade", "bundle", "caller"):
        table.add_column(title, no_wrap=True)
    for decision in decisions:
        add_row(
            table,
            decision.decision_id,
            str(decision.index),
            time_text(decision.decide_time),
            decision.market,
            decision_name(decision.decision),
            decision.grade,
            decision.bundle_id[:BUNDLE_ID_SHOWN],
            decision.caller,
        )
    print_uncut(console, table)


def show_activations(console: Console, changes: Sequence[activation_pb2.Activation]) -> None:
    """Print changes of bundles and policies, and who made them."""
    table = make_table()
    for title in ("time (UTC)", "change", "family", "markets", "bundle or policy", "before", "by", "reason"):
        table.add_column(title, no_wrap=True)
    for each in changes:
        digest = each.bundle_id or each.policy_sha256
        version = f"{each.policy_version} " if each.policy_version else ""
        add_row(
            table,
            time_text(each.time),
            change_text(each),
            each.family,
            ", ".join(each.markets),
            f"{version}{digest[:BUNDLE_ID_SHOWN]}",
            each.previous_digest[:BUNDLE_ID_SHOWN],
            author_text(each.author),
            each.reason,
        )
    print_uncut(console, table)


def show_refusals(console: Console, refusals: Sequence[bodies_pb2.RefusedCalls]) -> None:
    """Print the numbers of refused calls."""
    table = make_table()
    for title in ("calls", "reason", "caller", "method"):
        table.add_column(title, no_wrap=True)
    for each in refusals:
        add_row(table, f"{each.count:,}", each.reason, each.caller or "(not identified)", each.method)
    print_uncut(console, table)


def show_sample(console: Console, sample: sample_pb2.SampleDecisionsResponse, seed: str) -> None:
    """Print a sample, with the inputs that are needed to draw it again."""
    print_line(
        console,
        f"{sample.population_count:,} decisions among the first {sample.tree_size:,} records of the log, ordered by "
        f"SHA-256({seed!r} + decision_id)",
    )
    for stratum in sample.strata:
        name = decision_name(stratum.decision) if stratum.decision else ""
        keys = " ".join(text for text in (stratum.market, name, stratum.grade) if text) or "all"
        print_line(console, f"{keys}: {len(stratum.decision_ids)} of {stratum.population_count:,}")
        for decision_id in stratum.decision_ids:
            print_line(console, f"  {decision_id}")


def _what_if_text(what_if: evidence_pb2.WhatIf) -> str:
    """Return the what-if result of another bundle as one line; "" if it has no score."""
    if what_if.HasField("churn"):
        return f"{band_name(what_if.churn.risk_band)}, probability of leaving {probability_text(what_if.churn.churn_probability)}"
    if not what_if.assessment.HasField("model_output"):
        return ""
    return f"{decision_name(what_if.assessment.policy_result.decision)}, {score_text(what_if.assessment)}"
