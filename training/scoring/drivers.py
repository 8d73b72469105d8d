"""Drivers of many customers at once: what pushes each toward risk, in words of every locale of the bundle."""

import json
import math
import string
from collections.abc import Mapping
from functools import cache

import numpy as np

from models.reasons import MATERIALITY, GroupContribution, PlaceholderValue, TextFormatter, reason_text
from models.schema import FeatureInput, Schema
from training.scoring.predictions import FeatureRows

_DRIVERS_MAX = 3
# Texts that are kept for the next customer with the same values.
_TEXTS_MAX = 200_000


class DriverTexts:
    """Says what pushes toward risk, in every locale of the bundle."""

    def __init__(self, schema: Schema, typical: Mapping[str, FeatureInput | None]) -> None:
        self._schema = schema
        self._typical = typical
        self._members = {
            code: [place for place, feature in enumerate(self._schema.features) if feature.group == code]
            for code in sorted(self._schema.group)
        }
        self._texts: dict[tuple[object, ...], str] = {}

    def json_of_rows(self, rows: FeatureRows, contributions: FeatureRows) -> list[str]:
        """Give the drivers of every row as JSON: code, log_odds, features, text by locale; the strongest first."""
        chosen = self.ranked_groups(contributions)
        return [
            json.dumps([self._driver(push, row) for push in pushes], ensure_ascii=False, sort_keys=True)
            for pushes, row in zip(chosen, rows.tolist(), strict=True)
        ]

    def ranked_groups(self, contributions: FeatureRows) -> list[list[GroupContribution]]:
        """Choose as models.reasons.pushes does, for all rows at once; points are of no use here and 0."""
        sums = np.zeros((len(contributions), len(self._members)))
        for column, places in enumerate(self._members.values()):
            for place in places:  # in the order in which one row is added up, so that bits agree
                sums[:, column] += contributions[:, place]
        total = np.zeros(len(contributions))
        codes = list(self._members)
        for code in self._schema.group:
            total += np.maximum(sums[:, codes.index(code)], 0.0)
        material = (sums > 0.0) & (sums >= (MATERIALITY * total)[:, np.newaxis])
        order = np.argsort(np.where(material, -sums, np.inf), axis=1, kind="stable")[:, :_DRIVERS_MAX]
        return [
            [
                GroupContribution(codes[column], line[column], 0, self._raising_features(codes[column], row))
                for column in columns
                if kept[column]
            ]
            for columns, kept, line, row in zip(
                order.tolist(), material.tolist(), sums.tolist(), contributions.tolist(), strict=True
            )
        ]

    def _raising_features(self, code: str, row: list[float]) -> tuple[str, ...]:
        """Give those of the group's features that push toward risk, the strongest first."""
        risky = sorted((place for place in self._members[code] if row[place] > 0.0), key=lambda place: -row[place])
        return tuple(self._schema.names[place] for place in risky)

    def _driver(self, push: GroupContribution, row: list[float]) -> dict[str, object]:
        """Say one driver."""
        texts = {locale: self.text(push, locale, row) for locale in sorted(self._schema.group[push.code].texts)}
        return {"code": push.code, "log_odds": push.log_odds, "features": list(push.features), "texts": texts}

    def text(self, push: GroupContribution, locale: str, row: list[float]) -> str:
        """Say one driver in one language; the same values are said once."""
        sentence = self._schema.group[push.code].texts[locale]
        names = _placeholders(sentence)
        if "pushed" in names:
            return reason_text(self._schema, push, locale, self._present_values(self._schema.names, row), self._typical)
        values = self._present_values(names, row)
        key = (push.code, locale, *(values.get(name) for name in names))
        if key not in self._texts:
            if len(self._texts) >= _TEXTS_MAX:
                self._texts.clear()
            facts = {name: PlaceholderValue(values.get(name), self._typical[name], locale) for name in names}
            self._texts[key] = TextFormatter().vformat(sentence, (), facts)
        return self._texts[key]

    def _present_values(self, names: tuple[str, ...], row: list[float]) -> Mapping[str, FeatureInput]:
        """Give the values that are there."""
        numbers = {name: row[self._schema.position[name]] for name in names}
        return {name: self._schema.decode_value(name, one) for name, one in numbers.items() if not math.isnan(one)}


@cache
def _placeholders(sentence: str) -> tuple[str, ...]:
    """Give the features that a sentence names, in order."""
    named = [field.partition(".")[0] for _, field, _, _ in string.Formatter().parse(sentence) if field]
    return tuple(dict.fromkeys(named))
