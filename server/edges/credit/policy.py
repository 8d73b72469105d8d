"""Builds the answer of GetPolicy: the sections of the policy, with their limits and rules."""

import datetime as dt

from grounds.credit.v1 import credit_pb2 as pb
from server.decisions.policy import HardRule, InputRule, OverridePolicy, Policy, PolicySection
from server.edges.money import money_from_amount
from server.errors import NoPolicy


def policy_response(policy: Policy, request: pb.GetPolicyRequest, today: dt.date) -> pb.GetPolicyResponse:
    """Return the requested sections of the policy that are in force today or come into force later.

    Raises:
        NoPolicy: No section of the policy matches the request.
    """
    sections = [
        section
        for section in policy.document.sections
        if request.market in {"", section.market} and request.product in {"", section.product}
        if section.effective_from > today or _is_in_force(policy, section, today)
    ]
    if not sections:
        wanted = " and ".join(
            f"{name} {value}" for name, value in (("market", request.market), ("product", request.product)) if value
        )
        raise NoPolicy(
            f"the policy has no section for {wanted or 'any market'}; an operator can add one to the policy file",
            market=request.market,
            product=request.product,
        )
    sections.sort(key=lambda section: (section.market, section.product, section.effective_from))
    return pb.GetPolicyResponse(
        policy_version=policy.document.version,
        policy_sha256=policy.sha256,
        sections=[section_message(policy, section, request.locale, today) for section in sections],
    )


def _is_in_force(policy: Policy, section: PolicySection, today: dt.date) -> bool:
    """Return true if a section is in force today."""
    return policy.section(section.market, section.product, today) is section


def section_message(policy: Policy, section: PolicySection, locale: str, today: dt.date) -> pb.PolicySection:
    """Build the message of a section, which states whether it is in force on a day."""
    message = pb.PolicySection(
        market=section.market,
        product=section.product,
        effective_from=section.effective_from.isoformat(),
        effective_until=section.effective_until.isoformat() if section.effective_until else "",
        in_force=_is_in_force(policy, section, today),
        currency_code=section.currency,
        approve_max_pd=section.approve_max_pd,
        refer_max_pd=section.refer_max_pd,
        largest_amount=money_from_amount(section.largest_amount, section.currency),
        limits=[
            pb.GradeLimit(grade=grade, largest_amount=money_from_amount(section.grade_limit(grade), section.currency))
            for grade in section.limits
        ],
        mandatory_inputs=section.mandatory_inputs,
        features_max_age_days=section.features_max_age_days,
        valid_days=section.valid_days,
        hard_rules=[_rule_message(rule) for rule in section.rules],
        input_rules=[_input_rule_message(rule) for rule in section.input_rules],
    )
    if section.overrides is not None:
        message.overrides.CopyFrom(_override_message(policy, section, section.overrides, locale))
    return message


def _rule_message(rule: HardRule) -> pb.HardRule:
    """Build the message of a hard rule; exactly one of its conditions `below`, `above` and `level` is set."""
    return pb.HardRule(
        code=rule.code,
        fact=rule.fact,
        below=rule.below,
        above=rule.above,
        level=rule.level,
        passing_levels=rule.passes,
        best_decision=f"DECISION_{rule.decision}",
        best_decision_if_missing=f"DECISION_{rule.if_missing}",
    )


def _input_rule_message(rule: InputRule) -> pb.InputRule:
    """Build the message of a rule about inputs."""
    return pb.InputRule(
        code=rule.code,
        condition=f"INPUT_CONDITION_{rule.when.upper()}",
        features=rule.features,
        max_age_days=rule.max_age_days,
    )


def _override_message(
    policy: Policy, section: PolicySection, overrides: OverridePolicy, locale: str
) -> pb.OverrideRules:
    """Build the message of the rules for overrides of a section."""
    high_side, low_side = (
        [pb.OverrideReason(code=code, text=policy.reason_text(code, locale, section.market)[1]) for code in codes]
        for codes in (overrides.high_side, overrides.low_side)
    )
    return pb.OverrideRules(
        second_person_above=money_from_amount(overrides.second_person_above, section.currency),
        high_side_reasons=high_side,
        low_side_reasons=low_side,
    )
