"""Reasons: which groups of features pushed toward risk, in words.

The procedure: add the contributions of each group; keep the groups that pushed toward risk by at least
MATERIALITY of all pushes toward risk; strongest first, equal pushes by code; at most REASONS_MAX, fewer
rather than padded. Source: 12 CFR 1002 Supplement I, 9(b)(2), comments 1, 4 and 5.
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.documents import Cell
from models.schema import Schema

REASONS_MAX = 4
MATERIALITY = 0.05
DEFAULT_LOCALE = "en"


@dataclass(frozen=True, slots=True)
class GroupPush:
    """A group that pushed toward risk.

    Attributes:
        log_odds: Sum of its contributions; above 0.
        points: Sum of its points.
        features: Those of the group that pushed toward risk, strongest first.
    """

    code: str
    log_odds: float
    points: int
    features: tuple[str, ...]


def pushes(
    schema: Schema, contributions: Sequence[float], points: Sequence[int], at_most: int = REASONS_MAX
) -> list[GroupPush]:
    """Select the groups to tell, strongest first."""
    found = [group_push(schema, code, contributions, points) for code in schema.group]
    risky = [push for push in found if push.log_odds > 0.0]
    floor = MATERIALITY * sum(push.log_odds for push in risky)
    material = [push for push in risky if push.log_odds >= floor]
    return sorted(material, key=lambda push: (-push.log_odds, push.code))[:at_most]


def group_push(schema: Schema, code: str, contributions: Sequence[float], points: Sequence[int]) -> GroupPush:
    """Add up one group."""
    members = [index for index, feature in enumerate(schema.features) if feature.group == code]
    risky = sorted((index for index in members if contributions[index] > 0.0), key=lambda index: -contributions[index])
    return GroupPush(
        code=code,
        log_odds=sum(contributions[index] for index in members),
        points=sum(points[index] for index in members),
        features=tuple(schema.names[index] for index in risky),
    )


def locale_for(schema: Schema, wanted: str) -> str:
    """Choose the locale: the one wanted, else its language, else English."""
    offered = set.intersection(*(set(group.texts) for group in schema.group.values()))
    language = wanted.split("-", maxsplit=1)[0]
    return next((locale for locale in (wanted, language) if locale in offered), DEFAULT_LOCALE)


def text_of(schema: Schema, code: str, locale: str, values: Mapping[str, float], typical: Mapping[str, Cell]) -> str:
    """Say one group's reason with the customer's values and the baseline's."""
    return Sentence().vformat(schema.group[code].texts[locale], (), Facts(values, typical))


@dataclass(frozen=True, slots=True)
class Fact:
    """A feature's value in a sentence: {NAME} gives the customer's, {NAME.typical} the baseline's."""

    value: Cell
    typical: "Fact | None" = None

    def __format__(self, spec: str) -> str:
        """Write the number, whole and with separators unless the text says otherwise."""
        return "-" if self.value is None else format(self.value, spec or ",.0f")


class Facts(Mapping[str, Fact]):
    """The facts that a sentence may name: the features of the model, and nothing else."""

    def __init__(self, values: Mapping[str, float], typical: Mapping[str, Cell]) -> None:
        self.values_by_name = values
        self.typical_by_name = typical

    def __getitem__(self, name: str) -> Fact:
        return Fact(self.values_by_name.get(name), Fact(self.typical_by_name[name]))

    def __iter__(self) -> Any:
        return iter(self.typical_by_name)

    def __len__(self) -> int:
        return len(self.typical_by_name)


class Sentence(string.Formatter):
    """Formats a text of the spec: {NAME} and {NAME.typical} only, no other attribute and no index."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - the base's signature
        """Give the fact that a placeholder names."""
        name, _, rest = field_name.partition(".")
        if rest not in {"", "typical"} or name not in kwargs:
            raise KeyError(field_name)
        return (kwargs[name].typical if rest else kwargs[name]), name
