"""Compares two policies, so that an operator sees what an activation changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from server.decisions.policy import HardRule, InputRule, PolicyDocument

_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class PolicyDifference:
    """A setting that differs between two policies.

    Attributes:
        subject: Market, product and first day of the section, or "texts".
        setting: Path of the setting in the section, such as limits.A or rules.CUSTOMER_BLOCKED.decision.
        before: The value in the first policy; "-" if the policy lacks the setting.
        after: The value in the second policy; "-" if the policy lacks the setting.
    """

    subject: str
    setting: str
    before: str
    after: str


def policy_differences(before: PolicyDocument, after: PolicyDocument) -> list[PolicyDifference]:
    """Return every setting that differs, in the order of the policies.

    If only one policy has a section or rule, every setting of this section or rule is returned.
    """
    old, new = dict(_settings(before)), dict(_settings(after))
    names = list(dict.fromkeys([*old, *new]))
    return [
        PolicyDifference(*name, old.get(name, _ABSENT), new.get(name, _ABSENT))
        for name in names
        if old.get(name) != new.get(name)
    ]


def difference_table(differences: list[PolicyDifference]) -> list[str]:
    """Return the lines of a table with one row for each difference."""
    rows = [("section", "setting", "before", "after")]
    rows += [(each.subject, each.setting, each.before, each.after) for each in differences]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]


def _settings(document: PolicyDocument) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the subject and the path of every setting of a policy, with its value."""
    for section in document.sections:
        subject = f"{section.market} {section.product} {section.effective_from}"
        fields = section.model_dump(exclude={"market", "product", "effective_from", "rules", "input_rules"})
        for name, value in fields.items():
            yield from _flat_settings(subject, name, value)
        yield from _rule_settings(subject, "rules", section.rules)
        yield from _rule_settings(subject, "input_rules", section.input_rules)
    for code, texts in document.texts.items():
        yield from _flat_settings("texts", code, texts)


def _rule_settings(
    subject: str, kind: str, rules: Sequence[HardRule | InputRule]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the settings of rules. A rule is identified by its code.

    Its position matters too, because answers list the rules in this order.
    """
    for position, rule in enumerate(rules, 1):
        yield (subject, f"{kind}.{rule.code}"), f"rule {position}"
        yield from _flat_settings(subject, f"{kind}.{rule.code}", rule.model_dump(exclude={"code"}))


def _flat_settings(subject: str, path: str, value: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the settings of a value that may be a table; a missing optional value is left out."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat_settings(subject, f"{path}.{name}", part)
    elif value is not None:
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        yield (subject, path), text.translate(dict.fromkeys(range(32), "?"))
