"""The auditors' commands about decisions against a real server, and the parsed evidence page."""

import asyncio
import hashlib
import json
import re
from pathlib import Path

import pytest
from google.protobuf.json_format import Parse
from sqlalchemy import delete

from grounds.audit.v1 import audit_pb2, sample_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client import Client
from grounds_client.evidence.checks import check_decision_evidence
from grounds_client.evidence.decision_page import render_decision_page
from grounds_record.note import SigningKey, parse_verifier_key
from server.stores.key_tables import WRAPPED_KEYS
from tests.client.command_line import run, run_streams
from tests.client.page import Page
from tests.conftest import START_RECORDS, Serving
from tests.server.audits import PURPOSE, read_evidence, read_readings, read_row, score_customer, set_columns
from tests.server.events import override_request, score_with_outcome
from tests.server.requests import euros, numbers
from tests.server.servers import copy_bundle
from tests.small import SmallFamily

OTHER_KEY = SigningKey("example.com/other", b"\x07" * 32).verifier().text()


async def score_with_reasons(serving: Serving) -> credit_pb2.CreditDecision:
    """Request a decision that has reasons from the model and from the policy."""
    decision = await score_customer(serving, 4, requested_amount=euros(60_000), features=numbers(turnover=9_000.0))
    assert len(decision.assessment.reasons.reasons) >= 2
    return decision


async def read_page(serving: Serving, decision_id: str, folder: Path) -> Page:
    """Write the evidence page of a decision and parse it."""
    to = folder / "evidence.html"
    status, printed = await run(serving, "evidence", decision_id, "--purpose", PURPOSE, "--html", str(to))
    assert (status, f"{to}: the evidence of decision {decision_id}" in printed.replace("\n", "")) == (0, True), printed
    return Page(to)


async def test_the_page_shows_caller_inputs_reasons_model_and_policy(
    serving: Serving, small: SmallFamily, tmp_path: Path
) -> None:
    decision = await score_with_reasons(serving)

    page = await read_page(serving, decision.record_ref.decision_id, tmp_path)

    ref, output = decision.record_ref, decision.assessment.model_output
    expected = [
        *(ref.decision_id, ref.request_id, ref.content_sha256, PURPOSE, "DE C00004", "60,000.00 EUR", "local"),
        *(f"{output.score} points", f"{output.pd:.2%}", f"grade {output.grade}"),
        *(reason.text for reason in decision.assessment.reasons.reasons),
        *(rule.code for rule in decision.assessment.policy_result.rules),
        *(output.bundle_id, small.bundle().card.splitlines()[0], small.bundle().baseline_sha256),
        small.policy.read_text().strip(),
        "hold_out.auc",
    ]
    assert [text for text in expected if text not in page.text] == []
    features = page.rows("feature")
    assert [row[0].partition(":")[0] for row in features] == ["days_late", "orders", "turnover", "years"]
    turnover = features[2]
    assert turnover[1:4] == ["9,000 EUR", "9000.0", "caller"]
    assert features[0][3:] == ["store", "2026-01-01 00:00:00"]


async def test_the_page_and_the_terminal_show_amounts_of_millions_in_full(serving: Serving, tmp_path: Path) -> None:
    decision_id = (await score_customer(serving, 4, features=numbers(turnover=1_234_567.89))).record_ref.decision_id

    page = await read_page(serving, decision_id, tmp_path)
    _, printed = await run(serving, "decision", decision_id)

    shown_as = "1,234,567.89 EUR"
    assert page.rows("feature")[2][1:3] == [shown_as, "1234567.89"]
    assert [row[1] for row in page.rows("how the score adds up") if row[0].startswith("turnover")] == [shown_as]
    assert shown_as in printed


async def test_the_points_on_the_page_add_up_in_every_line(serving: Serving, tmp_path: Path) -> None:
    decision = await score_with_reasons(serving)

    rows = (await read_page(serving, decision.record_ref.decision_id, tmp_path)).rows("how the score adds up")

    base, *contributions, total = rows
    so_far = int(base[2])
    for row in contributions:
        so_far += int(row[2])
        assert int(row[3]) == so_far
    assert len(contributions) == 4
    assert so_far == int(total[2]) == int(total[3]) == decision.assessment.model_output.score
    log_odds = sum(float(row[5]) for row in rows[:-1])
    assert log_odds == pytest.approx(float(total[5]), abs=len(rows) * 5e-7)


async def test_the_page_is_well_formed_printable_and_loads_no_other_file(serving: Serving, tmp_path: Path) -> None:
    page = await read_page(serving, (await score_with_reasons(serving)).record_ref.decision_id, tmp_path)

    text = (tmp_path / "evidence.html").read_text(encoding="utf-8")
    assert page.unclosed == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link|<img|<iframe|\bsrc=|\bhref=", text)
    assert "@media print" in text
    assert "@page" in text


async def test_the_page_has_the_proof_and_the_verdicts(serving: Serving, tmp_path: Path) -> None:
    page = await read_page(serving, (await score_with_reasons(serving)).record_ref.decision_id, tmp_path)

    verdicts = page.rows("compared")
    assert [row[0].partition(":")[0] for row in verdicts] == ["VERIFY", "FEATURES", "SCORE", "EXPLANATION"]
    assert {row[1] for row in verdicts} == {"MATCH"}
    for claim in (
        f"the checkpoint of {START_RECORDS + 2} records is signed by the key that this server reports",
        f"the record with index {START_RECORDS}, counted from 0, is one of them, byte for byte as stored",
        "the points add up to the score",
        "the policy file is the one that the record names",
    ):
        assert claim in page.text
    assert "fails" not in {value for name, value in page.attributes if name == "class"}


def with_markup(evidence: audit_pb2.Evidence) -> audit_pb2.Evidence:
    """Return a copy with markup in the recorded texts."""
    copy = audit_pb2.Evidence()
    copy.CopyFrom(evidence)
    evil = "<script>alert(1)</script>\"'&"
    copy.decision.assessment.reasons.reasons[0].text = evil
    copy.request.customer.customer_id = evil
    copy.record.features[0].feature = evil
    copy.policy.content = evil.encode()
    copy.bundle.model.card = evil
    copy.proof.record.header = evil.encode()
    return copy


async def test_recorded_texts_are_escaped_in_the_page(serving: Serving, tmp_path: Path) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id

    def read() -> tuple[audit_pb2.Evidence, audit_pb2.ReplayDecisionResponse]:
        with Client(f"127.0.0.1:{serving.application.port}") as client:
            return client.get_evidence(decision_id, PURPOSE), client.replay_decision(decision_id, PURPOSE)

    evidence, replay = await asyncio.to_thread(read)
    key = parse_verifier_key(evidence.verifier_key)
    to = tmp_path / "planted.html"
    planted = with_markup(evidence)
    content = render_decision_page(
        planted, replay, check_decision_evidence(planted, key), purpose="<b>why</b>", key="<b>key</b>"
    )
    to.write_text(content, encoding="utf-8")
    page = Page(to)

    assert page.unclosed == []
    assert page.text.count("<script>alert(1)</script>\"'&") == 6
    assert "<b>why</b>" in page.text
    assert "<b>key</b>" in page.text
    assert "<script" not in to.read_text(encoding="utf-8")


async def test_the_terminal_shows_the_evidence_and_json_is_one_document(serving: Serving) -> None:
    decision = await score_with_reasons(serving)
    words = ("evidence", decision.record_ref.decision_id, "--purpose", PURPOSE)

    status, printed = await run(serving, *words)
    json_status, content, errors = await run_streams(serving, *words, "--json")

    assert (status, json_status) == (0, 0), printed
    assert errors.count("MATCH") == 4
    assert printed.count("MATCH") == 4
    assert "holds  the points add up to the score" in printed
    assert "the public key is the one that this server reports" in printed
    found = Parse(content, audit_pb2.Evidence())
    assert found.decision == decision
    assert f"bundle {found.record.bundle_id}, activation {found.record.activation_id}" in printed
    assert f"{found.record.policy_sha256}, activation {found.record.policy_activation_id}" in " ".join(printed.split())


async def test_a_key_other_than_the_logs_key_fails_the_check_and_the_command(serving: Serving) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id
    words = ("evidence", decision_id, "--purpose", PURPOSE, "--key", OTHER_KEY)

    status, printed = await run(serving, *words)
    json_status, content, errors = await run_streams(serving, *words, "--json")

    assert (status, json_status) == (1, 1)
    assert "FAILS  the checkpoint is signed by the log's key" in printed
    assert "FAILS  the checkpoint is signed by the log's key" in errors
    assert Parse(content, audit_pb2.Evidence()).decision_id == decision_id


async def test_the_page_shows_the_key_that_checked_the_proof_and_where_the_key_came_from(
    serving: Serving, tmp_path: Path
) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id
    log = serving.application.log
    assert log is not None
    words = ("evidence", decision_id, "--purpose", PURPOSE, "--html")
    texts = {}
    for key in ("", log.verifier.text(), OTHER_KEY):
        to = tmp_path / "page.html"
        await run(serving, *words, str(to), *(("--key", key) if key else ()))
        texts[key] = Page(to).text

    assert f"{log.verifier.text()}, as this server reports it" in texts[""]
    assert f"{log.verifier.text()}, given by you" in texts[log.verifier.text()]
    assert f"{OTHER_KEY}, given by you" in texts[OTHER_KEY]
    assert log.verifier.text() not in texts[OTHER_KEY]


async def test_an_invalid_key_is_rejected_before_the_evidence_is_read(serving: Serving) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id

    status, printed = await run(serving, "evidence", decision_id, "--purpose", PURPOSE, "--key", "none")
    page = await run_streams(serving, "evidence", decision_id, "--purpose", PURPOSE, "--json")

    assert status == 1, printed
    assert Parse(page[1], audit_pb2.Evidence()).reading.index == START_RECORDS + 1, "the decision is before it"


async def test_a_changed_record_fails_the_command_even_with_json(serving: Serving) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id
    set_columns(serving, decision_id, header=read_row(serving, decision_id).header + b" ")

    status, _, _ = await run_streams(serving, "evidence", decision_id, "--purpose", PURPOSE, "--json")

    assert status == 1


async def test_a_changed_record_fails_the_replay_which_reports_the_change(serving: Serving) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id
    ciphertext = bytearray(read_row(serving, decision_id).ciphertext)
    ciphertext[-1] ^= 1
    set_columns(serving, decision_id, ciphertext=bytes(ciphertext))

    status, printed = await run(serving, "replay", decision_id, "--purpose", PURPOSE)

    assert status == 1
    assert f"RECORD_ALTERED: recorded nothing, now record {START_RECORDS}: " in re.sub(r"\s+", " ", printed)
    assert "RECORD_DAMAGED" in printed


async def test_an_erased_decision_keeps_its_proof(serving: Serving, tmp_path: Path) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id
    log = serving.application.log
    assert log is not None
    with log.key_store.database.writing() as connection:
        connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.key_id == read_row(serving, decision_id).key_id))

    to = tmp_path / "erased.html"
    status, printed = await run(serving, "evidence", decision_id, "--purpose", PURPOSE, "--html", str(to))
    page = Page(to)

    assert status == 1, "not everything could be replayed"
    assert printed.count("INPUT_ERASED") == 3
    assert "The decision's content was erased. Its proof remains." in page.text
    assert [row[1] for row in page.rows("compared")] == ["MATCH", *["UNAVAILABLE"] * 3]
    assert page.unclosed == []


async def test_the_result_of_another_bundle_is_marked_as_not_being_evidence(
    serving: Serving, other: SmallFamily
) -> None:
    decision_id = (await score_with_reasons(serving)).record_ref.decision_id
    copy_bundle(other.bundle_folder, serving.settings.bundles)

    words = ("replay", decision_id, "--purpose", PURPOSE, "--what-if", other.bundle_folder.name)
    status, printed = await run(serving, *words)
    refused, error = await run(serving, "replay", decision_id, "--purpose", PURPOSE, "--mode", "guess")

    assert status == 0
    assert "NOT EVIDENCE" in printed
    assert f"bundle {other.bundle_folder.name[:12]} would have returned: " in printed
    assert refused == 2
    assert "VERIFY, FEATURES, SCORE, EXPLANATION" in re.sub(r"[\s│]+", " ", error)


async def test_decisions_are_listed_and_sampled(serving: Serving) -> None:
    decisions = [await score_customer(serving, number) for number in range(5)]

    status, listed = await run(serving, "decisions", "--market", "DE", "--count", "2", "--from", "2020-01-01")
    _, content = await run(serving, "decisions", "--json", "--decision", "not_scorable")
    sampled, drawn = await run(
        serving, "sample", "--seed", "42", "--size", "3", "--by", "market", "--tree-size", f"{START_RECORDS + 4}"
    )
    _, sample = await run(serving, "sample", "--seed", "42", "--size", "3", "--by", "market", "--json")

    newest = [one.record_ref.decision_id for one in reversed(decisions) if one.customer.market == "DE"]
    assert (status, sampled, content) == (0, 0, "")
    assert re.findall(r"[0-9a-f-]{36}", listed) == newest[:2]
    titles = ["decision id", "index", "decided (UTC)", "market", "decision", "grade", "bundle", "caller"]
    assert re.split(r"\s{2,}", listed.strip().splitlines()[0].strip()) == titles
    assert f"4 decisions among the first {START_RECORDS + 4} records of the log" in drawn
    assert "DE: 2 of 2" in drawn
    assert "FR: 2 of 2" in drawn
    assert json.loads(sample)["population_count"] == "5"
    assert Parse(sample, sample_pb2.SampleDecisionsResponse()).tree_size == START_RECORDS + 5
    refused, error = await run(serving, "decisions", "--decision", "maybe")
    assert (refused, "APPROVE_REDUCED" in error) == (2, True)


async def test_activations_show_what_served_a_market_at_a_time_even_if_no_decision_was_made(
    serving: Serving, small: SmallFamily
) -> None:
    bundle_id, policy = small.bundle_folder.name, hashlib.sha256(small.policy.read_bytes()).hexdigest()

    _, listed = await run(serving, "activations", "--market", "DE")
    _, now = await run(serving, "activations", "--market", "FR", "--at", "2100-01-01T10:00:00", "--json")
    _, everything = await run(serving, "activations", "--count", "2", "--json")
    status, earlier = await run(serving, "activations", "--at", "2020-03-03T10:00:00", "--json")

    rows = [line.split() for line in listed.splitlines() if "ACTIVATION" in line]
    assert [row[2:] for row in rows] == [
        ["ACTIVATION", "credit", "DE", bundle_id[:12], "server"],
        ["POLICY_ACTIVATION", "test-1", policy[:12], "server"],
    ]
    bundle, in_force = [json.loads(line) for line in now.splitlines()]
    assert (bundle["bundle_id"], bundle["markets"], in_force["policy_sha256"]) == (bundle_id, ["FR"], policy)
    assert bundle["author"] == {"source": "CHANGE_SOURCE_SERVER"}
    assert len(everything.splitlines()) == 2
    assert (status, earlier) == (0, "")


async def test_the_decisions_about_a_customer_are_listed_with_a_purpose_only(serving: Serving) -> None:
    wanted = (await score_customer(serving, 0)).record_ref.decision_id
    other = (await score_customer(serving, 2)).record_ref.decision_id
    words = ("decisions", "--market", "DE", "--customer", "C00000")

    status, printed = await run(serving, *words, "--purpose", PURPOSE)
    refused = [
        (await run(serving, *each))[0]
        for each in (
            words,
            ("decisions", "--customer", "C00000", "--purpose", PURPOSE),
            ("decisions", "--purpose", PURPOSE),
        )
    ]

    assert (status, wanted in printed, other in printed) == (0, True, False)
    assert refused == [2, 2, 2]
    assert [each.purpose for each in read_readings(serving)] == [PURPOSE]


async def test_the_page_begins_with_the_override_in_force_the_reasons_and_what_would_have_led_to_approval(
    serving: Serving, tmp_path: Path
) -> None:
    declined = await score_with_outcome(serving, credit_pb2.DECISION_DECLINE)
    decision_id = declined.record_ref.decision_id
    approval = {"decision": credit_pb2.DECISION_APPROVE, "reason_code": "NEW_INFORMATION"}
    for changes in ({**approval, "comment": "the first comment"}, {"comment": "the second comment"}):
        await serving.credit.RecordOverride(override_request(declined, **changes))

    text = " ".join((await read_page(serving, decision_id, tmp_path)).text.split())
    opening = text.partition("The request")[0]

    assert "A person has overridden the decision since:" in opening
    assert ('"the second comment"' in opening, '"the first comment"' in opening) == (True, False)
    assert all(" ".join(each.text.split()) in opening for each in declined.assessment.reasons.reasons)
    assert "No change of the values that a customer can influence would have led to approval." in opening
    record = (await read_evidence(serving, decision_id)).record
    missing = [line.feature for line in record.features if not line.HasField("value")]
    assert f"Not given: features of the model: {', '.join(missing)}" in text
    assert "Approve up to a probability of default of 20%, refer to a person up to" in text
