"""The policy: cut-offs and amounts, apart from the model."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1 import explain_pb2
from server.app import Application
from server.config import Settings
from server.decisions.policy import MarketPolicy, apply_rules, outcome_of, read_policy, recommend
from server.errors import PolicyRefused
from tests.conftest import Serving
from tests.server.asking import customer, euros, score_request
from tests.server.running import not_started
from tests.small import POLICY

PROBABILITY = st.floats(0, 1)
AMOUNT = st.decimals("0.01", 10**9, places=2)


@st.composite
def market_policies(draw: st.DrawFn) -> MarketPolicy:
    """Make a market's section whose cut-offs are in order."""
    approve, refer = sorted((draw(PROBABILITY), draw(PROBABILITY)))
    return MarketPolicy(currency="EUR", approve_max_pd=approve, refer_max_pd=refer, largest_amount=draw(AMOUNT))


@given(market=market_policies(), pd=PROBABILITY, amounts=st.tuples(AMOUNT, AMOUNT))
def test_a_larger_amount_never_gives_a_better_decision(
    market: MarketPolicy, pd: float, amounts: tuple[Decimal, Decimal]
) -> None:
    smaller, larger = (outcome_of(apply_rules(market, recommend(market, pd), amount)) for amount in sorted(amounts))

    assert smaller <= larger


@given(market=market_policies(), pds=st.tuples(PROBABILITY, PROBABILITY), amount=AMOUNT)
def test_a_higher_pd_never_gives_a_better_decision(
    market: MarketPolicy, pds: tuple[float, float], amount: Decimal
) -> None:
    safer, riskier = (outcome_of(apply_rules(market, recommend(market, pd), amount)) for pd in sorted(pds))

    assert safer <= riskier


@given(market=market_policies(), pd=PROBABILITY, amount=AMOUNT)
def test_the_outcome_is_the_worst_that_a_rule_says_and_every_rule_is_told(
    market: MarketPolicy, pd: float, amount: Decimal
) -> None:
    rules = apply_rules(market, recommend(market, pd), amount)

    assert [rule.code for rule in rules] == ["PD_CUT_OFF", "LARGEST_AMOUNT"]
    assert outcome_of(rules) == max(rule.best for rule in rules)
    assert all(rule.passed == (rule.best == 1) for rule in rules)


async def test_growing_amounts_change_the_policys_part_only_and_never_for_the_better(serving: Serving) -> None:
    outcomes = set()
    for number in range(0, 24, 2):
        answers = []
        for amount in (euros(0, 1), euros(10_000), euros(50_000), euros(50_000, 1), euros(10**12)):
            features = {"turnover": explain_pb2.FeatureValue(number=20_000.0 * (number + 1))}
            asked = score_request(customer=customer("DE", f"C{number:05d}"), requested_amount=amount, features=features)
            answers.append((await serving.credit.ScoreCredit(asked)).credit_decision)
        outcomes.update(answer.decision for answer in answers)

        assert all(before.decision <= after.decision for before, after in pairwise(answers))
        for part in ("model_output", "explanation", "recommendation"):
            assert len({getattr(answer.assessment, part).SerializeToString() for answer in answers}) == 1
        assert answers[2].decision == answers[0].decision  # the largest amount itself is still within the rule
        assert answers[3].decision >= pb.DECISION_REFER
    assert outcomes == {pb.DECISION_APPROVE, pb.DECISION_REFER, pb.DECISION_DECLINE}


async def test_an_amount_above_the_largest_is_said_first_and_in_the_language_asked_for(serving: Serving) -> None:
    asked = score_request(requested_amount=euros(50_001), locale="de-AT")

    assessment = (await serving.credit.ScoreCredit(asked)).credit_decision.assessment

    reason = assessment.reasons.reasons[0]
    assert assessment.reasons.locale == "de"
    assert (reason.code, reason.type) == ("LARGEST_AMOUNT", explain_pb2.REASON_TYPE_POLICY)
    assert reason.text == "Mehr als 50.000 EUR"
    assert len(assessment.reasons.reasons) <= 4


async def test_the_decision_names_the_policy_that_made_it(serving: Serving) -> None:
    result = (await serving.credit.ScoreCredit(score_request())).credit_decision.assessment.policy_result

    assert result.policy_version == "test-1"
    assert result.policy_sha256 == read_policy(serving.settings.policy).sha256


BAD = {
    "cut-offs in the wrong order": ("refer_max_pd = 0.60", "refer_max_pd = 0.10", ["markets.DE", "must not be above"]),
    "a cut-off that is no number": ("refer_max_pd = 0.60", "refer_max_pd = nan", ["markets.DE.refer_max_pd"]),
    "a cut-off above one": ("refer_max_pd = 0.60", "refer_max_pd = 60", ["markets.DE.refer_max_pd"]),
    "no largest amount": ("largest_amount = 50000\n", "", ["markets.DE.largest_amount", "required"]),
    "a largest amount without end": ("largest_amount = 50000", "largest_amount = inf", ["markets.DE.largest_amount"]),
    "a largest amount of zero": ("largest_amount = 50000", "largest_amount = 0", ["markets.DE.largest_amount"]),
    "a misspelt key": (
        "largest_amount = 50000",
        "largest_amout = 50000",
        ["markets.DE.largest_amout", "not permitted"],
    ),
    "a market that is none": ("[markets.DE]", "[markets.Germany]", ["markets.Germany"]),
    "a currency that is none": ('"EUR"', '"euro"', ["markets.DE.currency", "markets.FR.currency"]),
    "a rule without words": ('en = "Not known: {features}"', "", ["texts.MISSING_INPUT.en is missing"]),
    "a text that cannot be said": ("{largest_amount}", "{largest_amout}", ["largest_amout"]),
    "a text with a loose brace": ("Not known: {features}", "Not known: {features", ["MISSING_INPUT"]),
    "no version": ('version = "test-1"', "", ["version"]),
    "no TOML": ("[markets.DE]", "[markets.DE", ["is not TOML"]),
    "several things": (
        "approve_max_pd = 0.20\nrefer_max_pd = 0.60",
        "approve_max_pd = -1\nrefer_max_pd = 2",
        ["markets.DE.approve_max_pd", "markets.DE.refer_max_pd"],
    ),
}


@pytest.mark.parametrize(("right", "wrong", "told"), BAD.values(), ids=BAD)
def test_a_policy_file_that_cannot_be_right_is_refused_with_everything_that_is_wrong(
    tmp_path: Path, right: str, wrong: str, told: list[str]
) -> None:
    assert right in POLICY
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.replace(right, wrong))

    with pytest.raises(PolicyRefused) as caught:
        read_policy(path)

    for words in (str(path), *told):
        assert words in str(caught.value)


def test_a_policy_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("nowhere.toml", "bytes.toml", "."):
        with pytest.raises(PolicyRefused, match=str(tmp_path)):
            read_policy(tmp_path / name)


async def test_a_server_does_not_start_with_a_bad_policy(small_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("version = 1")
    application = Application(small_settings.model_copy(update={"policy": tmp_path / "policy.toml"}))

    with pytest.raises(PolicyRefused, match="version"):
        await application.start()

    not_started(application)


def test_the_policy_that_comes_with_the_server_is_read() -> None:
    settings = Settings()

    assert read_policy(settings.policy).document.markets["TW"].currency == "TWD"
