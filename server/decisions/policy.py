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

from grounds_record.printable_text import hidden_text_problems
from models.field_problems import field_path, field_problems
from models.identifiers import Code, FeatureName, LocaleTag, Market
from models.reasons import DEFAULT_LOCALE, PlaceholderValue, TextFormatter, choose_locale
from server.decisions.end_mark import end_mark_problem
from server.decisions.toml_positions import line_numbers, nearest_line
from server.errors import PolicyRefused

_END_MARK = "# End of the policy."  # the last line of every policy file
STANDARD = "STANDARD"  # the product of a request that contains no product
CUT_OFF = "PD_CUT_OFF"
GRADE_LIMIT = "GRADE_LIMIT"
LARGEST_AMOUNT = "LARGEST_AMOUNT"
MISSING_INPUT = "MISSING_INPUT"
FEATURES_TOO_OLD = "FEATURES_TOO_OLD"
AGAINST_SIGN = "REASON_AGAINST_SIGN"
# Placeholders that the texts of built-in rules may contain. Texts of hard rules may contain _RULE_TEXT_FACTS.
_TEXT_FACTS = {
    GRADE_LIMIT: ("limit", "currency", "grade"),
    LARGEST_AMOUNT: ("largest_amount", "currency"),
    MISSING_INPUT: ("features",),
    FEATURES_TOO_OLD: ("days", "allowed_days"),
    AGAINST_SIGN: ("features",),
}
_RULE_TEXT_FACTS = ("value", "bound")
_INPUT_RULE_TEXT_FACTS = ("features", "days", "allowed_days")
_Product = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
_Amount = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class PolicyOutcome(IntEnum):
    """An outcome, from best to worst. The numbers equal those of Decision in the .proto files."""

    APPROVE = 1
    APPROVE_REDUCED = 2
    REFER = 3
    DECLINE = 4
    NOT_SCORABLE = 5


class _PolicyPart(BaseModel):
    """A part of the policy file. An unknown key is an error, so that a misspelt key is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HardRule(_PolicyPart):
    """A hard rule: it fails if the value of its fact is below or above the bound, or equals the level.

    Attributes:
        code: The rule's code in answers; [texts.CODE] contains the rule's text.
        fact: Name of a fact of the request or of a feature of the model. If both exist, the rule uses the fact.
        below: The rule fails if the value is below this number.
        above: The rule fails if the value is above this number.
        level: The rule fails if the value is this level.
        passes: Levels with which the rule passes; only allowed together with `level`. If the list is not empty, a
            request whose fact has neither `level` nor a level in the list is rejected, so that a misspelt level is
            noticed. If the list is empty, every level except `level` passes.
        decision: The best outcome that remains possible if the rule fails.
        if_missing: The best outcome that remains possible if the fact is missing.
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
        """Check that the rule has exactly one bound, and that `passes` and `code` are allowed."""
        if sum(bound is not None for bound in (self.below, self.above, self.level)) != 1:
            raise ValueError("must contain exactly one of below, above and level")
        if self.passes and (self.level is None or self.level in self.passes):
            raise ValueError("passes: is allowed only together with level, and must not contain the value of level")
        if self.code in {*_TEXT_FACTS, CUT_OFF}:
            raise ValueError(f"code {self.code} belongs to a built-in rule; choose a different code")
        return self


class InputRule(_PolicyPart):
    """A rule about inputs of which the model knows too little. If it fails, a person decides (REFER).

    Attributes:
        code: The rule's code in answers; [texts.CODE] contains the rule's text.
        when: The condition under which the rule fails for an input. unseen_level: its level did not occur in training.
            outside_range: its number is outside the range of training. older_than: it was stored, and is older than
            max_age_days.
        features: The features to which the rule applies; if there are none, all features of the model.
        max_age_days: The largest age in days; required for older_than only.
    """

    code: Code
    when: Literal["unseen_level", "outside_range", "older_than"]
    features: tuple[FeatureName, ...] = ()
    max_age_days: int | None = Field(default=None, ge=0, le=36_600)

    @model_validator(mode="after")
    def _check_age(self) -> Self:
        """Check that max_age_days belongs to the condition, and that the code is allowed."""
        if (self.when == "older_than") != (self.max_age_days is not None):
            raise ValueError('max_age_days: is required for when = "older_than", and allowed for no other condition')
        if self.code in {*_TEXT_FACTS, CUT_OFF}:
            raise ValueError(f"code {self.code} belongs to a built-in rule; choose a different code")
        return self


class OverridePolicy(_PolicyPart):
    """The rules for overrides: when a second person is required, and which reasons are allowed.

    [texts.CODE] contains the text of each reason.

    Attributes:
        second_person_above: Amount in the section's currency; granting a larger amount requires a second person.
        high_side: Codes of the reasons for granting less than the policy granted.
        low_side: Codes of the reasons for granting more than the policy granted.
    """

    second_person_above: Decimal = Field(ge=0, allow_inf_nan=False)
    high_side: tuple[Code, ...] = Field(min_length=1)
    low_side: tuple[Code, ...] = Field(min_length=1)


class PolicySection(_PolicyPart):
    """The policy of one product in one market, which takes effect on a given day.

    Attributes:
        effective_from: The first day of the section, in UTC.
        effective_until: The first day on which the section is no longer in effect; None if the section stays in effect
            until a later section of the same market and product begins.
        currency: ISO 4217 code of the currency of all amounts.
        approve_max_pd: The largest unrounded pd that is approved.
        refer_max_pd: The largest unrounded pd that is referred to a person; a larger pd is declined.
        lgd: Loss given default as a share of the exposure, 0 to 1.
        largest_amount: The largest amount that is approved without a person; larger amounts are referred.
        limits: The largest amount of each grade, safest grade first. A grade without an entry is always referred. If
            there are no entries at all, the limit of every grade is largest_amount.
        mandatory_inputs: Features that must be known, in addition to those that the model declares mandatory.
        features_max_age_days: The largest age of stored features in days; decisions with older features are referred.
        valid_days: Number of days after which a decision expires.
        rules: The hard rules, in the order in which answers list them.
        input_rules: The rules about inputs of which the model knows too little; answers list them after the hard rules.
        overrides: The rules for overrides; None if overrides are not allowed.
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
    input_rules: tuple[InputRule, ...] = ()
    overrides: OverridePolicy | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        """Check that cut-offs, dates and limits are in order, and that the codes of the rules are unique."""
        if self.approve_max_pd > self.refer_max_pd:
            raise ValueError("approve_max_pd must not be above refer_max_pd")
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise ValueError("effective_until must be after effective_from")
        amounts = list(self.limits.values())
        if amounts != sorted(amounts, reverse=True):
            raise ValueError(
                "limits: must be in descending order of amount, because a riskier grade must not get more than a safer grade; "
                "write the safest grade first"
            )
        codes = [rule.code for rule in self.rules] + [rule.code for rule in self.input_rules]
        if duplicates := sorted({code for code in codes if codes.count(code) > 1}):
            raise ValueError(
                f"rules and input_rules: each code must be unique; used more than once: {', '.join(duplicates)}"
            )
        return self

    def grade_limit(self, grade: str) -> Decimal:
        """Return the largest amount that a grade may get without manual review; 0 if every amount needs review."""
        if not self.limits:
            return self.largest_amount
        return min(self.limits.get(grade, Decimal(0)), self.largest_amount)


class PolicyDocument(_PolicyPart):
    """The content of the policy file.

    Attributes:
        version: Version of the policy, as free text.
        sections: The sections of all markets and products.
        texts: Text of each rule and override reason by code, then by locale. A text in English is required.
    """

    version: str = Field(min_length=1, max_length=64)
    sections: tuple[PolicySection, ...] = Field(min_length=1)
    texts: dict[Code, dict[LocaleTag, str]]

    @model_validator(mode="after")
    def _check_sections_and_texts(self) -> Self:
        """Check that sections of the same market and product begin on different days, and that all texts are valid."""
        problems = []
        begins = [(section.market, section.product, section.effective_from) for section in self.sections]
        for market, product, day in sorted({begin for begin in begins if begins.count(begin) > 1}):
            problems.append(
                f"two sections for {market} {product} begin on {day}; remove one or change its effective_from"
            )
        for code, names in self._texts_needed().items():
            texts = self.texts.get(code, {})
            if DEFAULT_LOCALE not in texts:
                problems.append(
                    f"texts.{code}.{DEFAULT_LOCALE} is missing; every rule and reason requires a text in English"
                )
            for locale, text in texts.items():
                try:
                    _render_text(text, locale, dict.fromkeys(names, 1.0))
                except (KeyError, ValueError, IndexError) as error:
                    problems.append(
                        f"texts.{code}.{locale}: cannot be rendered: {error}; allowed placeholders: {', '.join(names) or 'none'}"
                    )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _texts_needed(self) -> dict[str, tuple[str, ...]]:
        """Return every code that requires a text, with the placeholders that the text may contain."""
        reasons = (section.overrides for section in self.sections if section.overrides is not None)
        codes = {code: () for each in reasons for code in (*each.high_side, *each.low_side)}
        rules = {rule.code: _RULE_TEXT_FACTS for section in self.sections for rule in section.rules}
        input_rules = {rule.code: _INPUT_RULE_TEXT_FACTS for section in self.sections for rule in section.input_rules}
        return codes | _TEXT_FACTS | rules | input_rules


@dataclass(frozen=True, slots=True)
class Policy:
    """A valid policy.

    Attributes:
        document: The parsed content of the policy file.
        content: The bytes of the policy file.
        sha256: SHA-256 of the policy file, in hexadecimal.
        activation_id: Id of the recorded activation that put the policy in force; "" if the policy is not in force.
    """

    document: PolicyDocument
    content: bytes = field(repr=False)
    sha256: str
    activation_id: str = ""

    def section(self, market: str, product: str, day: dt.date) -> PolicySection | None:
        """Return the section that is in effect on a day; None if there is no such section.

        A later section replaces an earlier section, even after the later section has ended.
        """
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

    @property
    def locales(self) -> frozenset[str]:
        """Return the locales in which every text of the policy exists."""
        return frozenset.intersection(*(frozenset(texts) for texts in self.document.texts.values()))

    def rule_text(self, code: str, locale: str, facts: Mapping[str, float | str]) -> str:
        """Return the text of a rule in the locale, or in English if the rule has no text in the locale."""
        texts = self.document.texts[code]
        chosen = locale if locale in texts else DEFAULT_LOCALE
        return _render_text(texts[chosen], chosen, facts)

    def reason_text(self, code: str, locale: str, market: str) -> tuple[str, str]:
        """Choose a locale as `choose_locale` does; return it, and the text of an override reason in it."""
        chosen = choose_locale(self.document.texts[code], locale, market)
        return chosen, self.rule_text(code, chosen, {})


def _render_text(text: str, locale: str, facts: Mapping[str, float | str]) -> str:
    """Return a text with its placeholders filled in. Numbers are formatted for the locale."""
    known = {
        name: PlaceholderValue(fact, None, locale) if isinstance(fact, float) else fact for name, fact in facts.items()
    }
    return TextFormatter().vformat(text, (), known)


def read_policy(path: Path) -> Policy:
    """Read a policy file that is to come into force.

    Raises:
        PolicyRefused: The file cannot be read, or `parse_policy_file` refuses it.
    """
    return parse_policy_file(read_policy_file(path), str(path))


def read_policy_file(path: Path) -> bytes:
    """Return the bytes of a policy file.

    Raises:
        PolicyRefused: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyRefused(f"{path}: {error.strerror}") from error


def parse_policy_file(content: bytes, name: str) -> Policy:
    """Parse the bytes of a policy file that is to come into force. It must be complete, without hidden characters.

    Args:
        content: The bytes of the file.
        name: Name of the file in error messages.

    Raises:
        PolicyRefused: The file is incomplete or invalid, or a text has hidden characters. The message lists every
            problem.
    """
    if problem := end_mark_problem(content, _END_MARK):
        raise PolicyRefused(f"{name}: {problem}")
    policy = parse_policy(content, name)
    if hidden := [f"  {field}: {problem}" for field, problem in hidden_text_problems(tomllib.loads(content.decode()))]:
        raise PolicyRefused("\n".join([f"{name}:", *hidden]))
    return policy


def parse_policy(content: bytes, name: str) -> Policy:
    """Parse the bytes of a policy file.

    Args:
        content: The bytes of the file.
        name: Name of the file in error messages.

    Raises:
        PolicyRefused: The policy is invalid. The message lists every problem with its line.
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
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested too deeply
        raise PolicyRefused(f"{name}: is not TOML: {error}") from error
    return Policy(document, content, hashlib.sha256(content).hexdigest())
