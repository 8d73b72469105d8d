"""Checks every reason text before a model is released, so that no text fails while the server answers a request."""

from babel import UnknownLocaleError

from models.reasons import DEFAULT_LOCALE, GroupContribution, reason_text
from models.schema import Schema
from training.errors import SpecInvalid


def check_reason_texts(schema: Schema) -> None:
    """Check that each reason text is valid and exists in English and in every other locale of the groups.

    In a locale other than English, a feature needs a text if the text of its group contains {pushed}. If any feature has names,
    every feature of an actionable group needs a name in each locale other than English, because a notice may propose to
    change its value.

    Raises:
        SpecInvalid: A text is missing or invalid; the message lists every such text.
    """
    locales = sorted({DEFAULT_LOCALE}.union(*(group.texts for group in schema.group.values())))
    problems = [
        f"  {code}: has no text in {locale!r}"
        for code, group in schema.group.items()
        for locale in locales
        if locale not in group.texts
    ]
    problems += [
        f"  features.{feature.name}: has no text in {locale!r}; the text of group {feature.group} inserts it for {{pushed}}"
        for feature in schema.features
        for locale in locales
        if locale not in feature.texts
        and "{pushed}" in schema.group[feature.group].texts.get(locale, "")
        and locale != DEFAULT_LOCALE
    ]
    if any(feature.names for feature in schema.features):
        problems += [
            f"  features.{feature.name}.names: has no name in {locale!r}"
            for feature in schema.features
            for locale in locales
            if schema.group[feature.group].actionable and locale not in feature.names and locale != DEFAULT_LOCALE
        ]
    problems += [problem for locale in locales for problem in _text_problems(schema, locale)]
    if problems:
        raise SpecInvalid("\n".join(["groups: invalid reason texts:", *problems, "correct these texts in the spec"]))


def _text_problems(schema: Schema, locale: str) -> list[str]:
    """Format the text of each group in a locale once for each feature of the group, and return the problems."""
    numbers = dict.fromkeys(schema.names, 1.0)
    problems = []
    for feature in schema.features:
        if locale not in schema.group[feature.group].texts:
            continue
        where = f"  {feature.group}.{locale}, features.{feature.name}"
        try:
            reason_text(schema, GroupContribution(feature.group, 1.0, 0, (feature.name,)), locale, numbers, numbers)
        except KeyError as error:
            problems.append(
                f"{where}: unknown placeholder {{{error.args[0]}}}; use {{pushed}}, or {{NAME}} or {{NAME.typical}} with the "
                "name of a feature"
            )
        except (ValueError, IndexError, UnknownLocaleError) as error:
            problems.append(f"{where}: {error}")
    return problems
