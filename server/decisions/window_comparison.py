"""Compares recorded decisions with the answers of a candidate policy or model: rates, amounts, losses, swap set, reasons.

All functions work on values. Amounts of different currencies are never added: every group has one currency.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal

from server.decisions.policy import PolicyOutcome

_CENT = Decimal("0.01")
_ZERO = Decimal(0)
_APPROVALS = (PolicyOutcome.APPROVE, PolicyOutcome.APPROVE_REDUCED)


@dataclass(frozen=True, slots=True)
class PolicyAnswer:
    """The answer of a policy and a model to an application.

    Attributes:
        outcome: The outcome of the policy.
        grade: The grade; "" if the customer is not scorable.
        pd: The probability of default; None if the customer is not scorable.
        granted: The amount that is granted without a person.
        expected_loss: The product of pd, loss given default and granted amount.
        reasons: Codes of the reasons.
    """

    outcome: PolicyOutcome
    grade: str
    pd: float | None
    granted: Decimal
    expected_loss: Decimal
    reasons: tuple[str, ...]

    @property
    def is_approval(self) -> bool:
        """Return whether an amount is granted without a person."""
        return self.outcome in _APPROVALS


def policy_answer(
    outcome: PolicyOutcome,
    *,
    grade: str,
    pd: float | None,
    requested: Decimal,
    approvable: Decimal,
    lgd: Decimal,
    reasons: tuple[str, ...],
) -> PolicyAnswer:
    """Return an answer with the granted amount and the expected loss on this amount, rounded to hundredths."""
    granted = min(requested, approvable) if outcome in _APPROVALS else _ZERO
    loss = _ZERO if pd is None else Decimal(pd) * lgd * granted
    return PolicyAnswer(outcome, grade, pd, granted, loss.quantize(_CENT, rounding=ROUND_HALF_EVEN), reasons)


@dataclass(frozen=True, slots=True)
class ComparedDecision:
    """A recorded decision, and the answer of the candidate to the same application.

    Attributes:
        decision_id: Id of the decision.
        market: Market of the customer.
        currency: ISO 4217 code of the amounts.
        requested: The requested amount.
        before: The recorded answer.
        after: The answer of the candidate.
    """

    decision_id: str
    market: str
    currency: str
    requested: Decimal
    before: PolicyAnswer
    after: PolicyAnswer


@dataclass(slots=True)
class AnswerTotals:
    """Sums over answers.

    Attributes:
        count: Number of answers.
        approved: Number of approvals, including those of a reduced amount.
        outcomes: Number of answers by outcome.
        requested: Sum of the requested amounts.
        granted: Sum of the granted amounts.
        expected_loss: Sum of the expected losses on the granted amounts.
    """

    count: int = 0
    approved: int = 0
    outcomes: Counter[PolicyOutcome] = field(default_factory=Counter)
    requested: Decimal = _ZERO
    granted: Decimal = _ZERO
    expected_loss: Decimal = _ZERO

    def add(self, answer: PolicyAnswer, requested: Decimal) -> None:
        """Add an answer."""
        self.count += 1
        self.approved += answer.is_approval
        self.outcomes[answer.outcome] += 1
        self.requested += requested
        self.granted += answer.granted
        self.expected_loss += answer.expected_loss

    @property
    def approval_rate(self) -> float:
        """Return the share of approvals; 0 if there is no answer."""
        return self.approved / self.count if self.count else 0.0


@dataclass(slots=True)
class SwapTotals:
    """Sums over the decisions that change from one outcome to another.

    Attributes:
        count: Number of decisions.
        requested: Sum of the requested amounts.
        granted_before: Sum of the amounts that were granted.
        granted_after: Sum of the amounts that the candidate would grant.
        loss_before: Sum of the expected losses on the granted amounts as recorded.
        loss_after: Sum of the expected losses on the granted amounts by the candidate.
    """

    count: int = 0
    requested: Decimal = _ZERO
    granted_before: Decimal = _ZERO
    granted_after: Decimal = _ZERO
    loss_before: Decimal = _ZERO
    loss_after: Decimal = _ZERO

    def add(self, decision: ComparedDecision) -> None:
        """Add a decision."""
        self.count += 1
        self.requested += decision.requested
        self.granted_before += decision.before.granted
        self.granted_after += decision.after.granted
        self.loss_before += decision.before.expected_loss
        self.loss_after += decision.after.expected_loss


@dataclass(slots=True)
class TotalsPair:
    """The totals of one group, as recorded and by the candidate."""

    before: AnswerTotals = field(default_factory=AnswerTotals)
    after: AnswerTotals = field(default_factory=AnswerTotals)


MarketKey = tuple[str, str]  # market, currency
GradeKey = tuple[str, str, str]  # market, currency, grade
SwapKey = tuple[str, str, PolicyOutcome, PolicyOutcome]  # market, currency, recorded outcome, outcome of the candidate
ReasonKey = tuple[str, str]  # market, reason code


@dataclass(slots=True)
class WindowComparison:
    """The comparison of all decisions of a window.

    Attributes:
        markets: Totals by market. A customer belongs to the grade that each model gives, so a decision may be in
            different rows of `grades` before and after.
        grades: Totals by market and grade; the grade "" stands for customers who are not scorable.
        swaps: The decisions whose outcome changes, by market and outcomes.
        changed_amounts: Number of decisions with the same outcome and a different granted amount, by market.
        reasons: Number of decisions with each reason, as recorded and by the candidate.
    """

    markets: dict[MarketKey, TotalsPair] = field(default_factory=dict)
    grades: dict[GradeKey, TotalsPair] = field(default_factory=dict)
    swaps: dict[SwapKey, SwapTotals] = field(default_factory=dict)
    changed_amounts: Counter[MarketKey] = field(default_factory=Counter)
    reasons: dict[ReasonKey, tuple[int, int]] = field(default_factory=dict)

    def add(self, decision: ComparedDecision) -> None:
        """Add a decision."""
        market, before, after = (decision.market, decision.currency), decision.before, decision.after
        pair = self.markets.setdefault(market, TotalsPair())
        pair.before.add(before, decision.requested)
        pair.after.add(after, decision.requested)
        self.grades.setdefault((*market, before.grade), TotalsPair()).before.add(before, decision.requested)
        self.grades.setdefault((*market, after.grade), TotalsPair()).after.add(after, decision.requested)
        if before.outcome is not after.outcome:
            self.swaps.setdefault((*market, before.outcome, after.outcome), SwapTotals()).add(decision)
        elif before.granted != after.granted:
            self.changed_amounts[market] += 1
        self._count_reasons(decision)

    def _count_reasons(self, decision: ComparedDecision) -> None:
        """Count the reasons of a decision."""
        before, after = set(decision.before.reasons), set(decision.after.reasons)
        for code in before | after:
            earlier, later = self.reasons.get((decision.market, code), (0, 0))
            self.reasons[decision.market, code] = (earlier + (code in before), later + (code in after))


def compare_window(decisions: Iterable[ComparedDecision]) -> WindowComparison:
    """Return the comparison of decisions."""
    comparison = WindowComparison()
    for decision in decisions:
        comparison.add(decision)
    return comparison
