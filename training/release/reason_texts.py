"""Tries every reason text before a model is released: a missing one fails here, not at the desk."""

from babel import UnknownLocaleError

from models.reasons import DEFAULT_LOCALE, GroupContribution, reason_text
from models.schema import Schema
from training.errors import SpecInvalid


def check_reason_texts(schema: Schema) -> None:
    """Refuse groups without English, texts that lack a locale others have, and placeholders that name nothing.

    Raises:
        SpecInvalid: Lists every such text.
    """
    locales = sorted({DEFAULT_LOCALE}.union(*(group.texts for group in schema.group.values())))
    problems = [
        f"  {code}: has no text in {locale!r}"
        for code, group in schema.group.items()
        for locale in locales
        if locale not in group.texts
    ]
    problems += [
        f"  features.{feature.name}: has no text in {locale!r}, and its group says {{pushed}}"
        for feature in schema.features
        for locale in locales
        if locale not in feature.texts
        and "{pushed}" in schema.group[feature.group].texts.get(locale, "")
        and locale != DEFAULT_LOCALE
    ]
    problems += [problem for locale in locales for problem in _text_problems(schema, locale)]
    if problems:
        raise SpecInvalid("\n".join(["groups: texts that cannot be said:", *problems]))


def _text_problems(schema: Schema, locale: str) -> list[str]:
    """Say every feature of every group once."""
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
                f"{where}: {{{error.args[0]}}} names nothing; known are {{pushed}}, {{NAME}}, {{NAME.typical}}"
            )
        except (ValueError, IndexError, UnknownLocaleError) as error:
            problems.append(f"{where}: {error}")
    return problems
