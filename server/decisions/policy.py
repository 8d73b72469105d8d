"""The policy: what a pd and an amount lead to, by market, product and date. Data, apart from the model."""

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
# What the text of each rule of ours may name; that of a rule of the file may name its value and its bound.
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
    """An outcome; a larger number is a worse one. The numbers are those of the contract's Decision."""

    APPROVE = 1
    APPROVE_REDUCED = 2
    REFER = 3
    DECLINE = 4
    NOT_SCORABLE = 5


class _PolicyPart(BaseModel):
    """A part of the policy file. Unknown keys are refused, so that a misspelt one is found."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HardRule(_PolicyPart):
    """A hard rule: it applies where the fact is below or above the bound, or is the level.

    Attributes:
        code: Its name in answers; [texts.CODE] says it in words.
        fact: A fact that the caller gives, or else a feature of the model.
        passes: Beside `level`: the levels with which the rule passes. A caller's fact with any other is refused, so that a
            misspelt one decides nothing. Empty: every other level passes.
        decision: The best decision that is left where the rule applies.
        if_missing: What is left where the fact is not known.
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
        """Refuse a rule with no bound or several."""
        if sum(bound is not None for bound in (self.below, self.above, self.level)) != 1:
            raise ValueError("give exactly one of below, above and level")
        if self.passes and (self.level is None or self.level in self.passes):
            raise ValueError("passes stands beside level, and names other levels than it")
        if self.code in {*_TEXT_FACTS, CUT_OFF}:
            raise ValueError(f"code {self.code} is taken by a rule that is always there")
        return self


class OverridePolicy(_PolicyPart):
    """What a person may decide otherwise, and with which reasons; [texts.CODE] says each in words.

    Attributes:
        second_person_above: Who grants more than this needs a second person; in the section's currency.
        high_side: Codes of reasons to grant less than the policy would.
        low_side: Codes of reasons to grant more than the policy would.
    """

    second_person_above: Decimal = Field(ge=0, allow_inf_nan=False)
    high_side: tuple[Code, ...] = Field(min_length=1)
    low_side: tuple[Code, ...] = Field(min_length=1)


class PolicySection(_PolicyPart):
    """What holds for one product in one market from one day on.

    Attributes:
        effective_from: The first day, in UTC.
        effective_until: The first day on which it no longer holds; None where a later section ends it.
        approve_max_pd: Approve up to this pd, unrounded.
        refer_max_pd: Refer up to this pd; decline above.
        lgd: Share of the exposure that a default loses.
        largest_amount: Above it a person decides.
        limits: Largest amount by grade, safest first. A grade that is not named gets nothing without a person. Empty: every
            grade gets up to largest_amount.
        mandatory_inputs: Features needed beside those that the model itself cannot do without.
        features_max_age_days: Older features of the store are referred.
        valid_days: How long a decision holds.
        rules: Hard rules, in the order in which they are told.
        overrides: What a person may decide otherwise; None: nothing.
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
        """Refuse what contradicts itself."""
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
        """Give the largest amount that a grade may get without a person; 0 where it gets none."""
        if not self.limits:
            return self.largest_amount
        return min(self.limits.get(grade, Decimal(0)), self.largest_amount)


class PolicyDocument(_PolicyPart):
    """The policy file. `texts` says each rule in words, by locale; "en" is there always."""

    version: str = Field(min_length=1, max_length=64)
    sections: tuple[PolicySection, ...] = Field(min_length=1)
    texts: dict[Code, dict[LocaleTag, str]]

    @model_validator(mode="after")
    def _check_sections_and_texts(self) -> Self:
        """Refuse two sections for one day, and rules that cannot be said; every text is tried."""
        problems = []
        begins = [(section.market, section.product, section.effective_from) for section in self.sections]
        for market, product, day in sorted({begin for begin in begins if begins.count(begin) > 1}):
            problems.append(f"two sections for {market} {product} begin on {day}")
        for code, names in self._texts_needed().items():
            texts = self.texts.get(code, {})
            if DEFAULT_LOCALE not in texts:
                problems.append(f"texts.{code}.{DEFAULT_LOCALE} is missing")
            for locale, text in texts.items():
                try:
                    _render_text(text, locale, dict.fromkeys(names, 1.0))
                except (KeyError, ValueError, IndexError) as error:
                    problems.append(f"texts.{code}.{locale} cannot be said with {', '.join(names)}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _texts_needed(self) -> dict[str, tuple[str, ...]]:
        """Give every code that needs a text, with what the text may name."""
        reasons = (section.overrides for section in self.sections if section.overrides is not None)
        codes = {code: () for each in reasons for code in (*each.high_side, *each.low_side)}
        return (
            codes | _TEXT_FACTS | {rule.code: _RULE_TEXT_FACTS for section in self.sections for rule in section.rules}
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read whole.

    Attributes:
        content: Its file, byte for byte.
        sha256: Of the file, in hexadecimal.
    """

    document: PolicyDocument
    content: bytes = field(repr=False)
    sha256: str

    def section(self, market: str, product: str, day: dt.date) -> PolicySection | None:
        """Give what holds on a day: the section that began last, unless it has ended."""
        begun = [
            section
            for section in self.document.sections
            if (section.market, section.product) == (market, product) and section.effective_from <= day
        ]
        if not begun:
            return None
        newest = max(begun, key=lambda section: section.effective_from)
        ended = newest.effective_until is not None and day >= newest.effective_until
        return None if ended else newest

    def rule_text(self, code: str, locale: str, facts: Mapping[str, float | str]) -> str:
        """Say a rule in words, in English where the locale is not there."""
        texts = self.document.texts[code]
        chosen = locale if locale in texts else DEFAULT_LOCALE
        return _render_text(texts[chosen], chosen, facts)

    def reason_text(self, code: str, locale: str) -> tuple[str, str]:
        """Say a reason in words, in the locale, else in its language, else in English; gives in which, and the words."""
        texts = self.document.texts[code]
        chosen = next((each for each in (locale, locale.split("-", maxsplit=1)[0]) if each in texts), DEFAULT_LOCALE)
        return chosen, self.rule_text(code, chosen, {})


def _render_text(text: str, locale: str, facts: Mapping[str, float | str]) -> str:
    """Fill a text; numbers as the locale writes them."""
    known = {
        name: PlaceholderValue(fact, None, locale) if isinstance(fact, float) else fact for name, fact in facts.items()
    }
    return TextFormatter().vformat(text, (), known)


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyRefused: Lists everything that is wrong with it, by line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PolicyRefused(f"{path}: {error.strerror}") from error
    return parse_policy(content, str(path))


def parse_policy(content: bytes, name: str) -> Policy:
    """Read a policy from the bytes of its file; `name` is what a refusal calls it.

    Raises:
        PolicyRefused: Lists everything that is wrong with it, by line.
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
    except ValueError as error:  # neither UTF-8 nor TOML
        raise PolicyRefused(f"{name}: is not TOML: {error}") from error
    return Policy(document, content, hashlib.sha256(content).hexdigest())
