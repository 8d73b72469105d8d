"""Formats every reason text before a model is released, so that no text fails at the loan desk."""

from babel import UnknownLocaleError

from models.reasons import DEFAULT_LOCALE, GroupContribution, reason_text
from models.schema import Schema
from training.errors import SpecInvalid


def check_reason_texts(schema: Schema) -> None:
    """Check the reason texts of a schema: an English text for each group, the same locales everywhere, known placeholders.

    Raises:
        SpecInvalid: Lists every invalid text.
    """
    locales = sorted({DEFAULT_LOCALE}.union(*(group.texts for group in schema.group.values())))
    problems = [
        f"  {code}: has no text in {locale!r}"
        for code, group in schema.group.items()
        for locale in locales
        if locale not in group.texts
    ]
    problems += [
        f"  features.{feature.name}: has no text in {locale!r}, which its group inserts for {{pushed}}"
        for feature in schema.features
        for locale in locales
        if locale not in feature.texts
        and "{pushed}" in schema.group[feature.group].texts.get(locale, "")
        and locale != DEFAULT_LOCALE
    ]
    problems += [problem for locale in locales for problem in _text_problems(schema, locale)]
    if problems:
        raise SpecInvalid("\n".join(["groups: invalid reason texts:", *problems]))


def _text_problems(schema: Schema, locale: str) -> list[str]:
    """Return the problems of formatting every feature of every group in one locale."""
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
                f"{where}: unknown placeholder {{{error.args[0]}}}; known are {{pushed}}, {{NAME}} and {{NAME.typical}}"
            )
        except (ValueError, IndexError, UnknownLocaleError) as error:
            problems.append(f"{where}: {error}")
    return problems
