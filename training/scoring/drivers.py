"""The drivers of many customers: the feature groups that raise each prediction, as text in every locale of the bundle.

models.stated_reasons computes the same results for a single customer. This module computes them column by column for many
customers, which is faster.
"""

import json
import math
from collections.abc import Mapping

import numpy as np

from models.reasons import FEATURES_NAMED_MAX, MATERIALITY, GroupContribution
from models.schema import FeatureInput, Schema
from models.stated_reasons import name_features, stated_text, text_features
from training.scoring.predictions import FeatureRows

_DRIVERS_MAX = 3
_TEXTS_MAX = 200_000  # largest number of cached texts


class DriverTexts:
    """Selects the drivers of customers and formats their texts.

    Args:
        schema: The schema of the bundle.
        typical: Typical value of each feature in the baseline; None where most values are missing.
    """

    def __init__(self, schema: Schema, typical: Mapping[str, FeatureInput | None]) -> None:
        self._schema = schema
        self._typical = typical
        self._members = {
            code: [position for position, feature in enumerate(self._schema.features) if feature.group == code]
            for code in sorted(self._schema.group)
        }
        self._texts: dict[tuple[object, ...], str] = {}

    def drivers_json(self, rows: FeatureRows, contributions: FeatureRows) -> list[str]:
        """Return the drivers of every row as JSON, in descending order of their contributions.

        Args:
            rows: Features, shape (n, n_features), NaN where missing.
            contributions: Contributions of the features in log-odds, shape (n, n_features).

        Returns:
            n JSON lists of objects with code, log_odds, features, and texts by locale.
        """
        return [
            json.dumps([self._driver(group, row) for group in groups], ensure_ascii=False, sort_keys=True)
            for groups, row in zip(self.drivers(rows, contributions), rows.tolist(), strict=True)
        ]

    def drivers(self, rows: FeatureRows, contributions: FeatureRows) -> list[list[GroupContribution]]:
        """Return the drivers of every row, with the features that their texts may name; see models.stated_reasons."""
        if self._schema.document.reason_rules == 1:
            return self.ranked_groups(contributions, _DRIVERS_MAX)
        ranked = self.ranked_groups(contributions, len(self._members))
        return [
            self._name_features(groups, row)[:_DRIVERS_MAX] for groups, row in zip(ranked, rows.tolist(), strict=True)
        ]

    def _name_features(self, groups: list[GroupContribution], row: list[float]) -> list[GroupContribution]:
        """Return the groups of a row with the features that their texts may name."""
        names = tuple(dict.fromkeys(name for group in groups for name in group.features))
        return name_features(self._schema, groups, self._present_values(names, row), self._typical)

    def ranked_groups(self, contributions: FeatureRows, limit: int) -> list[list[GroupContribution]]:
        """Return the groups that raise the prediction of each row materially, largest contribution first, up to a limit.

        Except for their points, which are 0, the groups of a row equal those of models.reasons.principal_reasons.
        """
        sums = np.zeros((len(contributions), len(self._members)))
        for column, positions in enumerate(self._members.values()):
            for position in positions:  # models.reasons adds in the same order, so the sums agree bit for bit
                sums[:, column] += contributions[:, position]
        # A group is material if its contribution is at least a share (MATERIALITY) of the total. The total is the sum
        # of the positive contributions of groups.
        total = np.zeros(len(contributions))
        codes = list(self._members)
        for code in self._schema.group:
            total += np.maximum(sums[:, codes.index(code)], 0.0)
        threshold = MATERIALITY * total
        if self._schema.document.reason_rules > 1:
            threshold = np.minimum(threshold, sums.max(axis=1))
        material = (sums > 0.0) & (sums >= threshold[:, np.newaxis])
        # The key inf moves the groups that are not material to the end. The stable sort orders equal contributions by code.
        order = np.argsort(np.where(material, -sums, np.inf), axis=1, kind="stable")[:, :limit]
        return [
            [
                GroupContribution(codes[column], line[column], 0, self._raising_features(codes[column], row))
                for column in columns
                if is_material[column]
            ]
            for columns, is_material, line, row in zip(
                order.tolist(), material.tolist(), sums.tolist(), contributions.tolist(), strict=True
            )
        ]

    def _raising_features(self, code: str, row: list[float]) -> tuple[str, ...]:
        """Return the features of a group that raise the prediction, in descending order of their contributions."""
        raising = (position for position in self._members[code] if row[position] > 0.0)
        ranked = sorted(raising, key=lambda position: -row[position])
        return tuple(self._schema.names[position] for position in ranked)

    def _driver(self, group: GroupContribution, row: list[float]) -> dict[str, object]:
        """Return a driver in the form in which the run file stores it."""
        texts = {locale: self.text(group, locale, row) for locale in sorted(self._schema.group[group.code].texts)}
        return {"code": group.code, "log_odds": group.log_odds, "features": list(group.features), "texts": texts}

    def text(self, group: GroupContribution, locale: str, row: list[float]) -> str:
        """Return the text of a driver in a locale. Texts are cached, because many customers have the same values."""
        named = group.features[:FEATURES_NAMED_MAX]
        names = tuple(dict.fromkeys([*text_features(self._schema.group[group.code].texts[locale]), *named]))
        values = self._present_values(tuple(name for name in names if name in self._schema.position), row)
        key = (group.code, locale, named, *(values.get(name) for name in names))
        if key not in self._texts:
            if len(self._texts) >= _TEXTS_MAX:
                self._texts.clear()
            self._texts[key] = stated_text(self._schema, group, locale, values, self._typical)
        return self._texts[key]

    def _present_values(self, names: tuple[str, ...], row: list[float]) -> Mapping[str, FeatureInput]:
        """Return the values of the given features that are not missing."""
        numbers = {name: row[self._schema.position[name]] for name in names}
        return {name: self._schema.decode_value(name, one) for name, one in numbers.items() if not math.isnan(one)}
