"""The credit policy: cut-offs, limits, hard rules and texts by market, product and date, read from a TOML file."""

import datetime as dt
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.field_problems import field_path, field_problems
from models.identifiers import Code, FeatureName, LocaleTag, Market
from models.reasons import DEFAULT_LOCALE, PlaceholderValue, TextFormatter
from server.decisions.toml_positions import line_numbers, nearest_line
from server.errors import PolicyRefused

STANDARD = "STANDARD"  # the product of a request that names none
CUT_OFF = "PD_CUT_OFF"
GRADE_LIMIT = "GRADE_LIMIT"
LARGEST_AMOUNT = "LARGEST_AMOUNT"
MISSING_INPUT = "MISSING_INPUT"
FEATURES_TOO_OLD = "FEATURES_TOO_OLD"
AGAINST_SIGN = "REASON_AGAINST_SIGN"
# Placeholders in the texts of the built-in rules. Texts of hard rules have those of _RULE_TEXT_FACTS.
_TEXT_FACTS = {
    GRADE_LIMIT: ("limit", "currency", "grade"),
    LARGEST_AMOUNT: ("largest_amount", "currency"),
    MISSING_INPUT: ("features",),
    FEATURES_TOO_OLD: ("days", "allowed_days"),
    AGAINST_SIGN: ("features",),
}
_RULE_TEXT_FACTS = ("value", "bound")
_Product = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
_Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class PolicyOutcome(IntEnum):
    """An outcome, from best to worst; the numbers are those of the contract's Decision."""

    APPROVE = 1
    APPROVE_REDUCED = 2
    REFER = 3
    DECLINE = 4
    NOT_SCORABLE = 5


class _PolicyPart(BaseModel):
    """A part of the policy file. Unknown keys are errors, so that a misspelt one is found."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HardRule(_PolicyPart):
    """A hard rule: it applies if the fact is below or above the bound, or equal to the level.

    Attributes:
        code: Its name in answers; [texts.CODE] has its text.
        fact: A fact of the request, or else a feature of the model.
        passes: Only with `level`: the levels with which the rule passes. A fact of a request with any other level is an
            error, so that a misspelt one decides nothing. Empty: every other level passes.
        decision: The best decision that remains possible if the rule applies.
        if_missing: The same, if the fact is missing.
    """

    code: Code
    fact: FeatureName
    below: float | None = None
    above: float | None = None
    level: str | None = None
    passes: tuple[str, ...] = ()
    decision: Literal["REFER", "DECLINE"]
    if_missing: Literal["APPROVE", "REFER", "DECLINE"] = "REFER"

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        """Check that the rule has one bound, and that `passes` and `code` fit it."""
        if sum(bound is not None for bound in (self.below, self.above, self.level)) != 1:
            raise ValueError("give exactly one of below, above and level")
        if self.passes and (self.level is None or self.level in self.passes):
            raise ValueError("passes needs level, and must not contain it")
        if self.code in {*_TEXT_FACTS, CUT_OFF}:
            raise ValueError(f"code {self.code} belongs to a built-in rule; choose another")
        return self


class OverridePolicy(_PolicyPart):
    """Which overrides a person may record, and with which reasons; [texts.CODE] has the text of each reason.

    Attributes:
        second_person_above: To grant more than this takes a second person; in the section's currency.
        high_side: Codes of reasons to grant less than the policy would.
        low_side: Codes of reasons to grant more than the policy would.
    """

    second_person_above: Decimal = Field(ge=0, allow_inf_nan=False)
    high_side: tuple[Code, ...] = Field(min_length=1)
    low_side: tuple[Code, ...] = Field(min_length=1)


class PolicySection(_PolicyPart):
    """The policy of one product in one market from one day on.

    Attributes:
        effective_from: The first day, in UTC.
        effective_until: The first day on which it is no longer in force; None if only a later section ends it.
        approve_max_pd: Approve up to this pd, unrounded.
        refer_max_pd: Refer up to this pd; decline above.
        lgd: Loss given default: share of the exposure, 0 to 1.
        largest_amount: Larger amounts are referred to a person.
        limits: Largest amount by grade, safest first. A grade without an entry is always referred. Empty: every grade may
            get up to largest_amount.
        mandatory_inputs: Features that must be known, beside those that the model declares mandatory.
        features_max_age_days: Older stored features are referred.
        valid_days: Days until a decision expires.
        rules: Hard rules, in the order of the answer.
        overrides: None if no overrides are allowed.
    """

    market: Market
    product: _Product = STANDARD
    effective_from: dt.date
    effective_until: dt.date | None = None
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    approve_max_pd: float = Field(ge=0, le=1)
    refer_max_pd: float = Field(ge=0, le=1)
    lgd: Decimal = Field(ge=0, le=1)
    largest_amount: _Amount
    limits: dict[str, _Amount] = {}
    mandatory_inputs: tuple[FeatureName, ...] = ()
    features_max_age_days: int = Field(ge=1, le=36_600)
    valid_days: int = Field(ge=1, le=3660)
    rules: tuple[HardRule, ...] = ()
    overrides: OverridePolicy | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        """Check that cut-offs, dates and limits are in order, and codes unique."""
        if self.approve_max_pd > self.refer_max_pd:
            raise ValueError("approve_max_pd must not be above refer_max_pd")
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise ValueError("effective_until must be after effective_from")
        amounts = list(self.limits.values())
        if amounts != sorted(amounts, reverse=True):
            raise ValueError("limits: a riskier grade must not get more than a safer one; write the safest first")
        codes = [rule.code for rule in self.rules]
        if twice := sorted({code for code in codes if codes.count(code) > 1}):
            raise ValueError(f"rules: code {', '.join(twice)} is used twice")
        return self

    def grade_limit(self, grade: str) -> Decimal:
        """Return the largest amount that a grade may get without manual review; 0 if none."""
        if not self.limits:
            return self.largest_amount
        return min(self.limits.get(grade, Decimal(0)), self.largest_amount)


class PolicyDocument(_PolicyPart):
    """The policy file. `texts` has the text of each rule and reason by locale, always in English."""

    version: str = Field(min_length=1, max_length=64)
    sections: tuple[PolicySection, ...] = Field(min_length=1)
    texts: dict[Code, dict[LocaleTag, str]]

    @model_validator(mode="after")
    def _check_sections_and_texts(self) -> Self:
        """Check that no two sections begin on one day, and that every text exists and can be rendered."""
        problems = []
        begins = [(section.market, section.product, section.effective_from) for section in self.sections]
        for market, product, day in sorted({begin for begin in begins if begins.count(begin) > 1}):
            problems.append(
                f"two sections for {market} {product} begin on {day}; remove one or change its effective_from"
            )
        for code, names in self._texts_needed().items():
            texts = self.texts.get(code, {})
            if DEFAULT_LOCALE not in texts:
                problems.append(f"texts.{code}.{DEFAULT_LOCALE} is missing")
            for locale, text in texts.items():
                try:
                    _render_text(text, locale, dict.fromkeys(names, 1.0))
                except (KeyError, ValueError, IndexError) as error:
                    problems.append(f"texts.{code}.{locale} cannot be rendered with {', '.join(names)}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _texts_needed(self) -> dict[str, tuple[str, ...]]:
        """Return every code that needs a text, with the placeholders that the text may have."""
        reasons = (section.overrides for section in self.sections if section.overrides is not None)
        codes = {code: () for each in reasons for code in (*each.high_side, *each.low_side)}
        return (
            codes | _TEXT_FACTS | {rule.code: _RULE_TEXT_FACTS for section in self.sections for rule in section.rules}
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A valid policy.

    Attributes:
        content: The bytes of its file.
        sha256: Of the file, hexadecimal.
    """

    document: PolicyDocument
    content: bytes = field(repr=False)
    sha256: str

    def section(self, market: str, product: str, day: dt.date) -> PolicySection | None:
        """Return the section in force on a day: the one that began last; None if there is none or it has ended."""
        started = [
            section
            for section in self.document.sections
            if (section.market, section.product) == (market, product) and section.effective_from <= day
        ]
        if not started:
            return None
        newest = max(started, key=lambda section: section.effective_from)
        ended = newest.effective_until is not None and day >= newest.effective_until
        return None if ended else newest

    def rule_text(self, code: str, locale: str, facts: Mapping[str, float | str]) -> str:
        """Return the text of a rule, in English if the locale is missing."""
        texts = self.document.texts[code]
        chosen = locale if locale in texts else DEFAULT_LOCALE
        return _render_text(texts[chosen], chosen, facts)

    def reason_text(self, code: str, locale: str) -> tuple[str, str]:
        """Return the locale and the text of a reason: in the locale, else in its language, else in English."""
        texts = self.document.texts[code]
        chosen = next((each for each in (locale, locale.split("-", maxsplit=1)[0]) if each in texts), DEFAULT_LOCALE)
        return chosen, self.rule_text(code, chosen, {})


def _render_text(text: str, locale: str, facts: Mapping[str, float | str]) -> str:
    """Fill in the placeholders of a text, with numbers as the locale writes them."""
    known = {
        name: PlaceholderValue(fact, None, locale) if isinstance(fact, float) else fact for name, fact in facts.items()
    }
    return TextFormatter().vformat(text, (), known)


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyRefused: Lists every problem with its line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PolicyRefused(f"{path}: {error.strerror}") from error
    return parse_policy(content, str(path))


def parse_policy(content: bytes, name: str) -> Policy:
    """Parse the bytes of a policy file.

    Args:
        content: Of the file.
        name: Of the file, for error messages.

    Raises:
        PolicyRefused: Lists every problem with its line.
    """
    try:
        text = content.decode()
        document = PolicyDocument.model_validate(tomllib.loads(text))
    except ValidationError as error:
        lines = line_numbers(text)
        problems = [
            f"  line {nearest_line(lines, field)}: {field_path(field) or 'policy'}: {problem}"
            for field, problem in field_problems(error)
        ]
        raise PolicyRefused("\n".join([f"{name}:", *problems])) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise PolicyRefused(f"{name}: is not TOML: {error}") from error
    return Policy(document, content, hashlib.sha256(content).hexdigest())
