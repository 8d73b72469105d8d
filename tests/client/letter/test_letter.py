"""Letters to the person concerned are complete, in the person's language, and state nothing beyond the record."""

import datetime as dt
import html
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from grounds.customer.v1.customer_pb2 import Customer
from grounds.explain.v1.explain_pb2 import FeatureValue
from grounds_client.errors import LetterRefused
from grounds_client.letter.page import Sender, render_letter
from grounds_client.letter.wording import offered_languages, parse_wording, read_wording
from server.config import read_settings
from tests.client.command_line import run_process
from tests.conftest import Released, Serving
from tests.server.events import override_request, score_with_outcome
from tests.server.requests import score_request
from tests.server.servers import serve

LANGUAGES = ("de", "en", "es", "fr", "it", "pl", "zh-Hant")
SENDER = ("--sender", "Example Wholesale, 1 Market Road, Taipei", "--contact", "credit@example.com")
SCRIPT = "<script>alert(1)</script>"
# By language, a phrase that only its letters contain.
WORDS = {
    "de": "Sehr geehrte Damen und Herren",
    "en": "Dear customer",
    "es": "Estimados señores",
    "fr": "Madame, Monsieur",
    "it": "Gentili signori",
    "pl": "Szanowni Państwo",
    "zh-Hant": "親愛的客戶",
}


@pytest.fixture
async def desk(released: Released, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve a copy of the released models and their database."""
    settings = read_settings(port=0, drain_seconds_max=0, **released.copy_stores(tmp_path))
    async with serve(settings) as serving:
        yield serving


async def declines(desk: Serving, **changes: object) -> AsyncIterator[pb.CreditDecision]:
    """Yield decisions about customers of the released model who are declined."""
    for number in range(1, 400):
        request = score_request(
            customer=Customer(market="TW", customer_id=str(number)),
            **{"requested_amount": Money(units=120_000, currency_code="TWD"), "features": {}, **changes},
        )
        simulated = await desk.credit.SimulateCredit(
            pb.SimulateCreditRequest(customer=request.customer, requested_amount=request.requested_amount)
        )
        if simulated.known.policy_result.decision == pb.DECISION_DECLINE:
            yield (await desk.credit.ScoreCredit(request)).credit_decision


async def decline(desk: Serving, **changes: object) -> pb.CreditDecision:
    """Return the decision about the first customer of the released model who is declined."""
    return await anext(declines(desk, **changes))


def text_of(page: str) -> str:
    """Return the text of a page as a person reads it."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


async def test_a_letter_is_complete_and_in_one_language_in_every_language_that_is_offered(
    desk: Serving, tmp_path: Path
) -> None:
    decision = await decline(desk, locale="en")
    decision_id = decision.record_ref.decision_id
    assert tuple(offered_languages()) == LANGUAGES

    for language in LANGUAGES:
        target = tmp_path / f"{language}.html"
        done = await run_process(desk, "letter", decision_id, "--locale", language, *SENDER, "--to", str(target))

        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(f"letter about decision {decision_id} in '{language}'")
        assert target.stat().st_mode & 0o777 == 0o600
        page = target.read_text(encoding="utf-8")
        text = text_of(page)
        notice = (
            await desk.credit.GetCreditDecision(
                pb.GetCreditDecisionRequest(decision_id=decision_id, notice_locale=language)
            )
        ).notice
        assert f'lang="{language}"' in page
        assert [word for word in WORDS if WORDS[word] in text] == [language]
        assert notice.reasons.locale == language
        assert 1 <= len(notice.reasons.reasons) <= 4
        assert all(" ".join(reason.text.split()) in text for reason in notice.reasons.reasons)
        changes = [change for each in notice.recourse.counterfactuals for change in each.changes]
        assert changes
        for counterfactual in notice.recourse.counterfactuals:
            proposed = {change.feature: change.proposed for change in counterfactual.changes}
            simulated = await desk.credit.SimulateCredit(
                pb.SimulateCreditRequest(
                    customer=decision.customer, requested_amount=decision.requested_amount, features=proposed
                )
            )
            assert simulated.simulated.policy_result.decision == pb.DECISION_APPROVE
        assert all(" ".join(change.text.split()) in text for change in changes)
        assert decision_id in text
        assert "credit@example.com" in text
        assert re.search(r"120[.,\s]?000[.,]00\sTWD", text.replace("\u00a0", " ").replace("\u202f", " "))
        assert "{" not in text


async def test_no_change_is_promised_that_a_rule_of_the_policy_prevents(desk: Serving) -> None:
    decision = await decline(desk, facts={"blocked": FeatureValue(level="yes")})

    answer = await desk.credit.GetCreditDecision(
        pb.GetCreditDecisionRequest(decision_id=decision.record_ref.decision_id, notice_locale="en")
    )

    assert answer.notice.recourse == pb.Recourse(status=pb.RECOURSE_STATUS_NO_RECOURSE_FOUND)


async def test_the_changes_of_a_large_amount_reach_a_grade_that_may_have_it(desk: Serving) -> None:
    """The policy allows 200,000 TWD for fewer grades than its cut-off lets through."""
    checked = 0
    async for decision in declines(desk, requested_amount=Money(units=200_000, currency_code="TWD")):
        answer = await desk.credit.GetCreditDecision(
            pb.GetCreditDecisionRequest(decision_id=decision.record_ref.decision_id, notice_locale="en")
        )
        for counterfactual in answer.notice.recourse.counterfactuals:
            simulated = await desk.credit.SimulateCredit(
                pb.SimulateCreditRequest(
                    customer=decision.customer,
                    requested_amount=decision.requested_amount,
                    features={change.feature: change.proposed for change in counterfactual.changes},
                )
            )
            assert simulated.simulated.policy_result.decision == pb.DECISION_APPROVE
            checked += 1
        if checked >= 3:
            return
    raise AssertionError(f"{checked} changes were found")


async def test_a_person_who_decided_is_named_as_a_person_and_their_reason_is_the_first(
    serving: Serving, tmp_path: Path
) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_APPROVE)
    await serving.credit.RecordOverride(override_request(decision))
    target = tmp_path / "letter.html"
    words = ("letter", decision.record_ref.decision_id, "--locale", "de", "--to", str(target))

    done = await run_process(serving, *words, "--sender", SCRIPT, "--contact", SCRIPT)

    page = target.read_text(encoding="utf-8")
    text = text_of(page)
    assert done.returncode == 0, done.stderr
    assert "Diesen Betrag können wir nicht gewähren." in text
    assert "hat am" in text
    assert "Kein Mensch war beteiligt" not in text
    assert re.search(r"Die wesentlichen Gründe Es besteht Betrugsverdacht", text)
    assert "Verordnung (EU) 2016/679" in text
    assert "<script>" not in page
    assert text.count(SCRIPT) == 3  # twice the sender, once the contact


async def test_the_command_states_another_language_if_the_model_has_no_texts_in_the_requested_one(
    serving: Serving, tmp_path: Path
) -> None:
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    target = tmp_path / "letter.html"
    words = ("letter", decision.record_ref.decision_id, "--locale", "fr", *SENDER, "--to", str(target))

    done = await run_process(serving, *words)

    assert done.stdout.strip().endswith(
        "in 'de', because the model, the policy or the wording of letters has no texts in 'fr'"
    )
    assert WORDS["de"] in text_of(target.read_text(encoding="utf-8"))


async def test_a_pdf_is_printed_by_a_browser(serving: Serving, tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        assert "CHROMIUM_REQUIRED" not in os.environ, "install the Debian package chromium"
        pytest.skip("needs the Debian package chromium")
    decision = await score_with_outcome(serving, pb.DECISION_DECLINE)
    target = tmp_path / "letter.pdf"

    done = await run_process(
        serving, "letter", decision.record_ref.decision_id, "--locale", "de", *SENDER, "--to", str(target)
    )

    assert done.returncode == 0, done.stderr
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(content) > 10_000
    assert target.stat().st_mode & 0o777 == 0o600


def made_answer(market: str) -> pb.GetCreditDecisionResponse:
    """Return a declined decision in a market, without reasons."""
    decision = pb.CreditDecision(
        decision=pb.DECISION_DECLINE,
        customer=Customer(market=market, customer_id="17"),
        requested_amount=Money(units=5, currency_code="USD"),
    )
    return pb.GetCreditDecisionResponse(credit_decision=decision, notice=pb.DecisionNotice())


@pytest.mark.parametrize(
    ("policy_decides", "side", "granted", "expected"),
    [
        (pb.DECISION_APPROVE, pb.OVERRIDE_SIDE_HIGH, 0, ["of a person"]),  # the model's reasons led to no denial
        (pb.DECISION_APPROVE_REDUCED, pb.OVERRIDE_SIDE_HIGH, 1, ["of a person", "of the model"]),
        (pb.DECISION_DECLINE, pb.OVERRIDE_SIDE_LOW, 2, ["of the model"]),  # a reason for granting more
        (pb.DECISION_REFER, pb.OVERRIDE_SIDE_REFERRAL, 0, ["of a person", "of the model"]),
        (pb.DECISION_REFER, pb.OVERRIDE_SIDE_REFERRAL, 2, ["of the model"]),
        (pb.DECISION_DECLINE, pb.OVERRIDE_SIDE_WITHDRAWAL, 0, ["of the model"]),
    ],
)
def test_only_reasons_against_the_applicant_are_principal_reasons(
    policy_decides: pb.Decision, side: pb.OverrideSide, granted: int, expected: list[str]
) -> None:
    answer = made_answer("FR")
    answer.credit_decision.decision = policy_decides
    answer.notice.reasons.reasons.add(text="of the model")
    answer.overrides.add(
        side=side,
        decision=pb.DECISION_APPROVE_REDUCED if granted else pb.DECISION_DECLINE,
        granted_amount=Money(units=granted, currency_code="USD"),
    )
    day = dt.date(2026, 12, 1)

    page = render_letter(answer, "of a person", read_wording("en", day), Sender("A", "B"), day)

    assert re.findall(r"<li>(.*?)</li>", page) == expected


def test_the_days_of_a_letter_are_those_of_the_place_where_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = made_answer("FR")
    answer.credit_decision.record_ref.decide_time.FromJsonString("2026-11-30T23:30:00Z")
    day = dt.date(2026, 12, 1)
    monkeypatch.setenv("TZ", "Asia/Taipei")
    time.tzset()
    try:
        page = render_letter(answer, "", read_wording("en", day), Sender("A", "B"), day)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert "decided automatically on December 1, 2026" in text_of(page)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_letter_in_the_united_states_has_the_notice_of_the_law_in_english_and_names_the_agency(language: str) -> None:
    day = dt.date(2026, 12, 1)
    english = read_wording("en", day)

    page = render_letter(
        made_answer("US"), "", read_wording(language, day), Sender("A", "B", "Some Agency"), day, english
    )

    assert "The federal Equal Credit Opportunity Act prohibits creditors from discriminating" in text_of(page)
    assert "concerning this creditor is: Some Agency." in text_of(page)
    assert ('<p lang="en">' in page) == (language != "en")


def test_the_wording_is_that_of_the_day_of_the_letter_and_a_mistake_in_it_is_found() -> None:
    content = "\n".join(
        f"[[versions]]\neffective_from = {day}\n"
        + "".join(f'{name} = "{text}"\n' for name, text in read_wording("en", dt.date(2026, 12, 1)).texts.items())
        + '[versions.jurisdictions]\nGENERAL = "g"\n'
        for day in ("2026-01-01", "2027-01-01")
    )

    assert parse_wording(content, "en", dt.date(2026, 12, 31)).effective_from == dt.date(2026, 1, 1)
    assert parse_wording(content, "en", dt.date(2027, 1, 1)).effective_from == dt.date(2027, 1, 1)
    with pytest.raises(LetterRefused, match="begins after 2025-12-31"):
        parse_wording(content, "en", dt.date(2025, 12, 31))
    with pytest.raises(LetterRefused, match=r"2026-01-01: review has the unknown placeholder \{contract\}"):
        parse_wording(content.replace("{contact}", "{contract}", 1), "en", dt.date(2027, 1, 1))
    with pytest.raises(LetterRefused, match="closing is missing"):
        parse_wording(content.replace("closing =", "ending ="), "en", dt.date(2027, 1, 1))
    with pytest.raises(LetterRefused, match="letters are offered in de, en, es, fr, it, pl, zh-Hant, got 'ja'"):
        read_wording("ja", dt.date(2027, 1, 1))
