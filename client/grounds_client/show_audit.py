"""Evidence, verdicts, lists and samples in a terminal."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table

from grounds.audit.v1 import audit_pb2, evidence_pb2, sample_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client.proof import Check
from grounds_client.show import add_row, score_line, short, show_decision
from grounds_client.show_churn import show_risk
from grounds_client.verdicts import holds, mode_name, verdict_name, verdict_text

Replay = audit_pb2.ReplayDecisionResponse | audit_pb2.ReplayChurnRiskResponse

WIDEST = 1000


def show_evidence(console: Console, evidence: audit_pb2.Evidence) -> None:
    """Show what was decided and by what; the page of HTML has everything."""
    if not evidence.HasField("record"):
        console.print(f"decision {evidence.decision_id}: what was recorded was erased; its proof stays")
        return
    record, of = evidence.record, evidence.record.runtime
    show_decision(console, evidence.decision, evidence.bundle.model if evidence.HasField("bundle") else None)
    lines = (
        f"asked by {record.caller}, request {evidence.decision.record_ref.request_id}",
        f"bundle {record.bundle_id}",
        f"policy {record.policy_version}, {record.policy_sha256}",
        f"computed by Grounds {of.grounds}, ONNX Runtime {of.onnxruntime}, Python {of.python}",
    )
    for line in lines:
        console.print(line, markup=False)


def show_churn_evidence(console: Console, evidence: audit_pb2.ChurnEvidence) -> None:
    """Show what the run says of the customer and by what; the page of HTML has everything."""
    if not evidence.HasField("churn_risk"):
        told = f"customer {evidence.customer.market} {evidence.customer.customer_id}"
        console.print(f"{told} was erased from run {evidence.run_id}; the proofs stay", markup=False)
        return
    show_risk(console, evidence.churn_risk)
    console.print(f"run {evidence.run_id}, loaded {when(evidence.record.load_time)}", markup=False)
    console.print(f"bundle {evidence.run.bundle_id}", markup=False)


def show_checks(console: Console, checks: Sequence[Check], *, given: bool) -> None:
    """Show what was checked here."""
    console.print("Checked here:", markup=False)
    for check in checks:
        console.print(f"  {'holds' if check.holds else 'FAILS'}  {check.told}", markup=False)
    if not given:
        told = "the public key is the one that this server names; give yours with --key"
        console.print(f"  note   {told}", style="dim", markup=False)


def show_replay(console: Console, replay: Replay) -> None:
    """Show the verdicts."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("replay", "verdict", "what that means"):
        table.add_column(title)
    for result in replay.results:
        style = "green" if holds(result) else "red"
        add_row(table, mode_name(result).split(":")[0], verdict_name(result), verdict_text(result), style=style)
    console.print(table)
    for result in replay.results:
        if result.HasField("what_if") and (told := what_if_text(result.what_if)):
            console.print(f"bundle {result.what_if.bundle_id[:12]} would have said: {told}", markup=False)


def what_if_text(what_if: evidence_pb2.WhatIf) -> str:
    """Say in a line what another bundle would have said; "" where it had no score."""
    if what_if.HasField("churn"):
        band = short(churn_pb2.RiskBand.Name(what_if.churn.risk_band), "RISK_BAND_")
        return f"{band}, probability of leaving {what_if.churn.churn_probability:.2%}"
    if not what_if.assessment.HasField("model_output"):
        return ""
    name = short(credit_pb2.Decision.Name(what_if.assessment.policy_result.decision), "DECISION_")
    return f"{name}, {score_line(what_if.assessment)}"


def show_decisions(console: Console, decisions: Sequence[sample_pb2.DecisionSummary]) -> None:
    """Show a list of decisions."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("decision", "place", "decided (UTC)", "market", "outcome", "grade", "bundle", "asked by"):
        table.add_column(title, no_wrap=True)
    for each in decisions:
        name = short(credit_pb2.Decision.Name(each.decision), "DECISION_")
        time = when(each.decide_time)
        cells = (
            each.decision_id,
            str(each.index),
            time,
            each.market,
            name,
            each.grade,
            each.bundle_id[:12],
            each.caller,
        )
        add_row(table, *cells)
    print_whole(console, table)


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as it is: a narrow terminal breaks its lines, where cut names could not be copied."""
    terminal = console.width
    console.width = max(terminal, console.measure(table, options=console.options.update(max_width=WIDEST)).maximum)
    console.print(table)
    console.width = terminal


def show_sample(console: Console, sample: sample_pb2.SampleDecisionsResponse, seed: str) -> None:
    """Show a sample, with what is needed to draw it again."""
    console.print(
        f"{sample.population_count:,} decisions among the first {sample.tree_size:,} records of the log; in the order of "
        f"SHA-256({seed!r} + decision_id)",
        markup=False,
    )
    for stratum in sample.strata:
        name = short(credit_pb2.Decision.Name(stratum.decision), "DECISION_") if stratum.decision else ""
        keys = " ".join(text for text in (stratum.market, name, stratum.grade) if text) or "all"
        console.print(f"{keys}: {len(stratum.decision_ids)} of {stratum.population_count:,}", markup=False)
        for decision_id in stratum.decision_ids:
            console.print(f"  {decision_id}", markup=False)


def when(time: Timestamp) -> str:
    """Write a time, UTC."""
    return f"{time.ToDatetime():%Y-%m-%d %H:%M:%S}"
