"""The policy without a model: cut-offs, limits, amounts, hard rules, dates, and the policy file."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.application import Application
from server.config import Settings
from server.decisions.policy import PolicyOutcome, PolicySection, read_policy
from server.decisions.policy_rules import approvable_amount, expected_loss, score_rule_results, worst_outcome
from server.errors import PolicyRefused
from tests.server.servers import release_unstarted
from tests.small import POLICY, complete_policy

PROBABILITY = st.floats(0, 1)
AMOUNT = st.decimals("0.01", 10**9, places=2)
GRADES = ("A", "B", "C")


@st.composite
def sections(draw: st.DrawFn) -> PolicySection:
    """Draw a consistent section, with limits for some grades or for none."""
    approve, refer = sorted((draw(PROBABILITY), draw(PROBABILITY)))
    amounts = sorted((draw(AMOUNT) for _ in range(draw(st.integers(0, 3)))), reverse=True)
    return PolicySection(
        market="DE",
        effective_from=dt.date(2026, 1, 1),
        currency="EUR",
        approve_max_pd=approve,
        refer_max_pd=refer,
        lgd=draw(st.decimals("0", "1", places=3)),
        largest_amount=draw(AMOUNT),
        limits=dict(zip(GRADES, amounts, strict=False)),
        features_max_age_days=10,
        valid_days=10,
    )


@given(section=sections(), pd=PROBABILITY, grade=st.sampled_from(GRADES), amounts=st.tuples(AMOUNT, AMOUNT))
def test_a_larger_amount_never_gives_a_better_decision(
    section: PolicySection, pd: float, grade: str, amounts: tuple[Decimal, Decimal]
) -> None:
    smaller, larger = (worst_outcome(score_rule_results(section, pd, grade, amount)) for amount in sorted(amounts))

    assert smaller <= larger


@given(section=sections(), pds=st.tuples(PROBABILITY, PROBABILITY), places=st.tuples(*[st.integers(0, 2)] * 2))
def test_a_higher_pd_without_a_safer_grade_never_improves_decision_or_amount(
    section: PolicySection, pds: tuple[float, float], places: tuple[int, int]
) -> None:
    found = []
    for pd, place in zip(sorted(pds), sorted(places), strict=True):
        rules = score_rule_results(section, pd, GRADES[place], Decimal(1000))
        found.append((worst_outcome(rules), -approvable_amount(section, GRADES[place], rules)))

    assert found[0][0] <= found[1][0]
    assert found[0][1] <= found[1][1]


@given(section=sections(), pd=PROBABILITY, grade=st.sampled_from(GRADES), amount=AMOUNT)
def test_the_largest_approvable_amount_is_approved_and_a_cent_more_is_not(
    section: PolicySection, pd: float, grade: str, amount: Decimal
) -> None:
    largest = approvable_amount(section, grade, score_rule_results(section, pd, grade, amount))

    if largest:
        assert worst_outcome(score_rule_results(section, pd, grade, largest)) is PolicyOutcome.APPROVE
    above = worst_outcome(score_rule_results(section, pd, grade, largest + Decimal("0.01")))
    assert above is not PolicyOutcome.APPROVE
    if above is PolicyOutcome.APPROVE_REDUCED:
        assert largest


@given(pd=PROBABILITY, amount=AMOUNT, section=sections())
def test_expected_loss_is_pd_times_lgd_times_amount_to_the_cent(
    pd: float, amount: Decimal, section: PolicySection
) -> None:
    exact = Decimal(pd) * section.lgd * amount

    assert abs(expected_loss(section, pd, amount) - exact) <= Decimal("0.005")


def test_expected_loss_of_a_known_example(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY.replace("lgd = 0.45", "lgd = 0.55"))

    section = read_policy(tmp_path / "policy.toml").document.sections[0]

    assert expected_loss(section, 0.03, Decimal(40_000)) == Decimal("660.00")


DATES = """
[[sections]]
market = "DE"
effective_from = 2026-03-01
effective_until = 2026-06-01
currency = "EUR"
approve_max_pd = 0.01
refer_max_pd = 0.02
lgd = 0.5
largest_amount = 10
features_max_age_days = 5
valid_days = 5
"""


def test_the_section_that_began_last_is_in_force_until_it_ends(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(complete_policy(POLICY + DATES))
    policy = read_policy(tmp_path / "policy.toml")

    found = {
        day: policy.section("DE", "STANDARD", dt.date.fromisoformat(day))
        for day in ("2019-12-31", "2020-01-01", "2026-02-28", "2026-03-01", "2026-05-31", "2026-06-01")
    }

    begun = [None if section is None else section.effective_from.isoformat() for section in found.values()]
    assert begun == [None, "2020-01-01", "2020-01-01", "2026-03-01", "2026-03-01", None]
    assert policy.section("DE", "LEASING", dt.date(2026, 4, 1)) is None


BAD = {
    "cut-offs in the wrong order": ("refer_max_pd = 0.60", "refer_max_pd = 0.10", ["line 4: sections.0", "above"]),
    "a cut-off that is no number": ("refer_max_pd = 0.60", "refer_max_pd = nan", ["line 9: sections.0.refer_max_pd"]),
    "a cut-off above one": ("refer_max_pd = 0.60", "refer_max_pd = 60", ["line 9: sections.0.refer_max_pd"]),
    "no largest amount": ("largest_amount = 50000\n", "", ["line 4: sections.0.largest_amount", "missing"]),
    "a largest amount without end": ("largest_amount = 50000", "largest_amount = inf", ["line 11"]),
    "a largest amount of zero": ("largest_amount = 50000", "largest_amount = 0", ["line 11"]),
    "a misspelt key": (
        "largest_amount = 50000",
        "largest_amout = 50000",
        ["line 11: sections.0.largest_amout", "unknown name"],
    ),
    "a market that is none": ('market = "FR"', 'market = "France"', ["line 21: sections.1.market"]),
    "a currency that is none": ('"EUR"', '"euro"', ["sections.0.currency", "sections.1.currency"]),
    "a rule without words": ('en = "Not known: {features}"', "", ["texts.MISSING_INPUT.en is missing"]),
    "a reason for an override without words": (
        'en = "Fraud is suspected"',
        "",
        ["texts.FRAUD_SUSPECTED.en is missing"],
    ),
    "overrides without a reason": (
        'low_side = ["NEW_INFORMATION"]',
        "low_side = []",
        ["sections.0.overrides.low_side"],
    ),
    "a negative amount for one person": ("person_above = 10000", "person_above = -1", ["second_person_above"]),
    "a text that cannot be said": ("{largest_amount}", "{largest_amout}", ["largest_amout"]),
    "a text with a loose brace": ("Not known: {features}", "Not known: {features", ["MISSING_INPUT"]),
    "no version": ('version = "test-1"', "", ["version"]),
    "nested too deeply": ('market = "DE"', "market = " + "[" * 50_000, ["is not TOML"]),
    "no TOML": ('market = "DE"', "market = DE", ["is not TOML", "line 5"]),
    "two sections for one day": (
        'market = "FR"',
        'market = "DE"',
        ["two sections for DE STANDARD begin on 2020-01-01"],
    ),
    "an end before the beginning": (
        "lgd = 0.45",
        "lgd = 0.45\neffective_until = 2019-01-01",
        ["effective_until must be after"],
    ),
    "more for a riskier grade": (
        "lgd = 0.45",
        "lgd = 0.45\nlimits = {A = 10, B = 20}",
        ["write the safest grade first"],
    ),
    "levels that pass beside a bound": (
        "lgd = 0.45",
        'lgd = 0.45\nrules = [{code = "X", fact = "age", above = 3, passes = ["no"], decision = "REFER"}]',
        ["passes: is allowed only together with level"],
    ),
    "a level that passes and does not": (
        "lgd = 0.45",
        'lgd = 0.45\nrules = [{code = "X", fact = "age", level = "a", passes = ["a"], decision = "REFER"}]',
        ["must not contain the value of level"],
    ),
    "a rule without a bound": (
        "lgd = 0.45",
        'lgd = 0.45\nrules = [{code = "X", fact = "age", decision = "REFER"}]',
        ["exactly one of below, above and level"],
    ),
    "a rule with a code of ours": (
        "lgd = 0.45",
        'lgd = 0.45\nrules = [{code = "PD_CUT_OFF", fact = "age", below = 1, decision = "REFER"}]',
        ["PD_CUT_OFF belongs to a built-in rule"],
    ),
    "a hard rule that cannot be said": (
        "lgd = 0.45",
        'lgd = 0.45\nrules = [{code = "TOO_YOUNG", fact = "age", below = 1, decision = "REFER"}]',
        ["texts.TOO_YOUNG.en is missing"],
    ),
    "several things": (
        "approve_max_pd = 0.20\nrefer_max_pd = 0.60",
        "approve_max_pd = -1\nrefer_max_pd = 2",
        ["line 8: sections.0.approve_max_pd", "line 9: sections.0.refer_max_pd"],
    ),
}


@pytest.mark.parametrize(("right", "wrong", "messages"), BAD.values(), ids=BAD)
def test_an_invalid_policy_file_is_rejected_with_every_problem_and_line(
    tmp_path: Path, right: str, wrong: str, messages: list[str]
) -> None:
    assert right in POLICY
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.replace(right, wrong))

    with pytest.raises(PolicyRefused) as caught:
        read_policy(path)

    for words in (str(path), *messages):
        assert words in str(caught.value)


def test_a_missing_or_binary_policy_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("nowhere.toml", "bytes.toml", "."):
        with pytest.raises(PolicyRefused, match=str(tmp_path)):
            read_policy(tmp_path / name)


async def test_a_server_does_not_start_with_an_invalid_policy(small_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(complete_policy("version = 1\n"))
    application = Application(small_settings.model_copy(update={"policy": tmp_path / "policy.toml"}))

    with pytest.raises(PolicyRefused, match="version"):
        await application.start()

    release_unstarted(application)


def test_the_shipped_policy_is_valid() -> None:
    policy = read_policy(Settings().policy)

    section = policy.section("TW", "STANDARD", dt.date(2026, 11, 22))
    assert section is not None
    assert section.currency == "TWD"
