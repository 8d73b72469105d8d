"""The auditors' commands about churn risks against a real server, the checks, and the evidence page."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.json_format import Parse

from grounds.audit.v1 import audit_pb2, bodies_pb2
from grounds_client import Client
from grounds_client.evidence.checks import check_churn_evidence
from grounds_client.evidence.churn_page import render_churn_page
from grounds_record.note import SigningKey, parse_verifier_key
from server.maintenance.erasure import erase_customer
from server.stores.clock import utc_now
from tests.client.command_line import run, run_streams
from tests.client.page import Page
from tests.conftest import Serving
from tests.server.audits import PURPOSE
from tests.server.churn_runs import ChurnFamily
from tests.server.run_trees import OLD_ID, add_old_run, change_row

ME = ("FR", "C00701")


@pytest.fixture
def serving(churn_serving: Serving) -> Serving:
    """Return a server with a scoring run."""
    return churn_serving


async def read(serving: Serving, run_id: str = "") -> tuple[audit_pb2.ChurnEvidence, audit_pb2.ReplayChurnRiskResponse]:
    """Read evidence and replay with the client."""

    def both() -> tuple[audit_pb2.ChurnEvidence, audit_pb2.ReplayChurnRiskResponse]:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            name = run_id or client.get_churn_risk(*ME).run_id
            return client.get_churn_evidence(name, *ME, PURPOSE), client.replay_churn_risk(name, *ME, PURPOSE)

    return await asyncio.to_thread(both)


async def test_the_terminal_shows_the_risk_its_proofs_and_its_verdicts(serving: Serving) -> None:
    evidence, _ = await read(serving)
    words = ("evidence", evidence.run_id, *ME, "--purpose", PURPOSE)

    status, printed = await run(serving, *words, "--locale", "de")
    json_status, content, _ = await run_streams(serving, *words, "--json")

    assert (status, json_status) == (0, 0), printed
    assert printed.count("MATCH") == 3
    assert "FAILS" not in printed
    for text in (
        f"{evidence.churn_risk.churn_probability:.2%}",
        "of the 30 whose root the record names",
        "holds  the risk equals the content of the row's bytes, numbers to the bit",
        "holds  the contributions add up to the log-odds within 1e-09",
        "the public key is the one that this server reports",
        "rank and amounts, which depend on the other customers",
    ):
        assert text in re.sub(r"\s+", " ", printed).replace("holds the", "holds  the"), printed
    assert Parse(content, audit_pb2.ChurnEvidence()).churn_risk == evidence.churn_risk


async def test_a_wrong_number_of_arguments_is_rejected_with_the_rule(serving: Serving) -> None:
    status, printed = await run(serving, "evidence", "a", "b", "--purpose", PURPOSE)
    replayed, error = await run(serving, "replay", "a", "b", "c", "d", "--purpose", PURPOSE)

    assert (status, replayed) == (2, 2)
    for each in (printed, error):
        assert "RUN MARKET CUSTOMER" in re.sub(r"[\s│]+", " ", each)


def change_probability(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the probability."""
    evidence.churn_risk.churn_probability *= 1 + 2**-52


def change_driver(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the text of a driver."""
    evidence.churn_risk.drivers.reasons[0].text += "!"


def change_row_and_risk(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the prediction and the row in the same way, so that only the check of the root can detect the change."""
    row = bodies_pb2.ChurnRiskRow.FromString(evidence.row)
    row.rank += 1
    evidence.churn_risk.rank += 1
    evidence.row = row.SerializeToString(deterministic=True)


def change_index(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the index of the row."""
    evidence.row_proof.index ^= 1


def remove_proof(evidence: audit_pb2.ChurnEvidence) -> None:
    """Remove the proof of the row."""
    evidence.ClearField("row_proof")


def change_customer(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the customer."""
    evidence.churn_risk.customer.customer_id = "C00702"


def change_run(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the run."""
    evidence.run_id = "f" * 32


def change_root(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change the root in the record's header."""
    header = evidence.proof.record.header
    root = re.search(rb'"rows_fr":"30:([0-9a-f]{64})"', header)
    assert root is not None
    evidence.proof.record.header = header.replace(root.group(1), b"0" * 64)


def change_contribution(evidence: audit_pb2.ChurnEvidence) -> None:
    """Change a contribution."""
    evidence.churn_risk.explanation.contributions[0].log_odds += 1e-6


FAULTS = (
    (change_probability, "the risk equals the content of the row's bytes"),
    (change_driver, "the risk equals the content of the row's bytes"),
    (change_customer, "the risk equals the content of the row's bytes"),
    (change_contribution, "the contributions add up"),
    (change_row_and_risk, "the row with index"),
    (change_index, "the row with index"),
    (remove_proof, "the row with index"),
    (change_run, "the record is the one of this run"),
    (change_root, "the record with index"),
)


async def test_the_checks_detect_every_change(serving: Serving) -> None:
    evidence, _ = await read(serving)
    key = parse_verifier_key(evidence.verifier_key)
    assert all(check.holds for check in check_churn_evidence(evidence, key))
    for plant, claim in FAULTS:
        assert claim in failures(evidence, plant), plant.__name__


def failures(evidence: audit_pb2.ChurnEvidence, plant: Callable[[audit_pb2.ChurnEvidence], None]) -> str:
    """Return the claims that fail after a fault is planted in a copy of the evidence."""
    copy = audit_pb2.ChurnEvidence()
    copy.CopyFrom(evidence)
    plant(copy)
    key = parse_verifier_key(evidence.verifier_key)
    return "; ".join(check.claim for check in check_churn_evidence(copy, key) if not check.holds)


async def test_a_key_other_than_the_logs_key_fails_the_check_and_the_command(serving: Serving) -> None:
    evidence, _ = await read(serving)
    other = SigningKey("example.com/other", b"\x07" * 32).verifier().text()

    status, printed = await run(serving, "evidence", evidence.run_id, *ME, "--purpose", PURPOSE, "--key", other)

    assert status == 1
    assert "FAILS  the checkpoint is signed by the log's key" in printed


async def test_a_changed_row_fails_the_replay_and_is_not_evidence(serving: Serving) -> None:
    evidence, _ = await read(serving)
    assert serving.application.log is not None
    change_row(serving.application.log, ME[1], rank=4000)
    words = (evidence.run_id, *ME, "--purpose", PURPOSE)

    status, printed = await run(serving, "replay", *words, "--mode", "verify")
    refused, _ = await run(serving, "evidence", *words)

    assert (status, refused) == (1, 1)
    assert "row: recorded nothing, now" in re.sub(r"\s+", " ", printed)


async def test_evidence_of_an_erased_customer_and_of_an_old_run_states_what_is_not_checked(
    serving: Serving, tmp_path: Path
) -> None:
    evidence, _ = await read(serving)
    assert serving.application.log is not None
    add_old_run(serving.application.log, "FR")

    old, old_printed = await run(serving, "evidence", OLD_ID, *ME, "--purpose", PURPOSE)
    erase_customer(serving.application.log, ME, "request 7", utc_now())
    to = tmp_path / "erased.html"
    status, printed = await run(serving, "evidence", evidence.run_id, *ME, "--purpose", PURPOSE, "--html", str(to))

    assert old == status == 1, "not everything could be replayed"
    assert "PROOF_MISSING" in old_printed
    assert "an earlier release loaded the run" in re.sub(r"\s+", " ", old_printed)
    assert printed.count("INPUT_ERASED") == 2
    assert "FAILS" not in printed + old_printed
    page = Page(to)
    assert "The customer was erased from this run. The proofs remain." in page.text
    assert page.unclosed == []


async def test_the_result_of_another_bundle_is_marked_as_not_being_evidence(
    serving: Serving, churn_family: ChurnFamily
) -> None:
    evidence, _ = await read(serving)
    bundle_id = churn_family.model.bundle.bundle_id

    status, printed = await run(serving, "replay", evidence.run_id, *ME, "--purpose", PURPOSE, "--what-if", bundle_id)

    assert status == 0
    assert "NOT EVIDENCE" in printed
    assert f"probability of leaving {evidence.churn_risk.churn_probability:.2%}" in printed


async def test_the_page_shows_customer_run_drivers_and_model_and_its_sums_add_up(
    serving: Serving, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    evidence, _ = await read(serving)
    to = tmp_path / "risk.html"

    status, printed = await run(serving, "evidence", evidence.run_id, *ME, "--purpose", PURPOSE, "--html", str(to))
    page, risk, bundle = Page(to), evidence.churn_risk, churn_family.model.bundle

    assert status == 0, printed
    expected = [
        *(PURPOSE, f"customer {' '.join(ME)}", evidence.run_id, f"{risk.churn_probability:.2%}", f"rank {risk.rank}"),
        *(reason.text for reason in risk.drivers.reasons),
        *(bundle.bundle_id, bundle.baseline_sha256, bundle.card.splitlines()[0]),
        *(evidence.row.hex(), evidence.row_proof.leaf_hash.hex(), "of the 30 whose root the record names"),
        "The server opened the record with the log's own key",
    ]
    assert [text for text in expected if text not in page.text] == []
    base, *contributions, total = page.rows("how the log-odds add up")
    so_far = float(base[2])
    for row in contributions:
        so_far += float(row[2])
        assert float(row[3]) == pytest.approx(so_far, abs=len(contributions) * 1e-6)
    assert so_far == pytest.approx(risk.log_odds, abs=len(contributions) * 1e-6)
    assert total[2] == f"{risk.log_odds:+.6f}"
    assert [row[1] for row in page.rows("compared")] == ["MATCH"] * 3
    assert [row[0].partition(":")[0] for row in page.rows("feature")] == list(bundle.schema.names)
    text = to.read_text(encoding="utf-8")
    assert page.unclosed == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link|<img|<iframe|\bsrc=|\bhref=", text)


async def test_recorded_texts_are_escaped_in_the_page(serving: Serving, tmp_path: Path) -> None:
    evidence, replay = await read(serving)
    evil = "<script>alert(1)</script>\"'&"
    evidence.churn_risk.drivers.reasons[0].text = evil
    evidence.churn_risk.customer.customer_id = evil
    evidence.features[0].feature = evil
    evidence.run.campaign = evil
    to = tmp_path / "planted.html"

    to.write_text(render_churn_page(evidence, replay, [], purpose="<b>why</b>", key="<b>key</b>"), encoding="utf-8")

    page = Page(to)
    assert page.unclosed == []
    assert page.text.count(evil) == 4
    assert "<b>why</b>" in page.text
    assert "<script" not in to.read_text(encoding="utf-8")


async def test_a_prefix_of_its_run_id_selects_the_run(serving: Serving) -> None:
    evidence, _ = await read(serving)

    status, printed = await run(serving, "replay", evidence.run_id[:8], *ME, "--purpose", PURPOSE)
    short, error = await run(serving, "replay", evidence.run_id[:7], *ME, "--purpose", PURPOSE)

    assert (status, short) == (0, 2), printed
    assert "at least its first 8 characters" in re.sub(r"[\s│]+", " ", error)
