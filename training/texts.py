"""Tries every reason text before a model is released: a missing one fails here, not at the desk."""

from models.reasons import DEFAULT_LOCALE, text_of
from models.schema import Schema
from training.errors import SpecRefused


def refuse_bad_texts(schema: Schema) -> None:
    """Refuse groups without English, groups that lack a locale others have, and placeholders that name nothing.

    Raises:
        SpecRefused: Lists every such text.
    """
    locales = {DEFAULT_LOCALE}.union(*(group.texts for group in schema.group.values()))
    numbers = dict.fromkeys(schema.names, 1.0)
    problems = []
    for code, group in schema.group.items():
        problems += [f"  {code}: has no text in {locale!r}" for locale in sorted(locales - set(group.texts))]
        for locale in sorted(group.texts):
            try:
                text_of(schema, code, locale, numbers, numbers)
            except KeyError as error:
                problems.append(
                    f"  {code}.{locale}: {{{error.args[0]}}} is no feature (a comparator is {{NAME.typical}})"
                )
            except (ValueError, IndexError) as error:
                problems.append(f"  {code}.{locale}: {error}")
    if problems:
        raise SpecRefused("\n".join(["groups: texts that cannot be said:", *problems]))
