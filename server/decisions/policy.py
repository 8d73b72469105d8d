"""The policy: what an amount and a pd lead to, market by market. Data, apart from the model."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.documents import Code, Locale, Market
from models.reasons import DEFAULT_LOCALE, Fact, Sentence
from server.errors import PolicyRefused

CUT_OFF = "PD_CUT_OFF"
LARGEST_AMOUNT = "LARGEST_AMOUNT"
MISSING_INPUT = "MISSING_INPUT"
# What the text of each rule may name.
FACTS = {LARGEST_AMOUNT: ("largest_amount", "currency"), MISSING_INPUT: ("features",)}


class Outcome(IntEnum):
    """An outcome; a larger number is a worse one. The numbers are those of the contract's Decision."""

    APPROVE = 1
    REFER = 2
    DECLINE = 3
    NOT_SCORABLE = 4


class MarketPolicy(BaseModel):
    """One market's section.

    Attributes:
        approve_max_pd: Approve up to this pd.
        refer_max_pd: Refer up to this pd; decline above.
        largest_amount: Above it a person decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    approve_max_pd: float = Field(ge=0, le=1)
    refer_max_pd: float = Field(ge=0, le=1)
    largest_amount: Decimal = Field(gt=0)

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse cut-offs in the wrong order."""
        if self.approve_max_pd > self.refer_max_pd:
            raise ValueError("approve_max_pd must not be above refer_max_pd")
        return self


class PolicyDocument(BaseModel):
    """The policy file. `texts` says each rule in words, by locale; "en" is there always."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(min_length=1, max_length=64)
    markets: dict[Market, MarketPolicy] = Field(min_length=1)
    texts: dict[Code, dict[Locale, str]]

    @model_validator(mode="after")
    def said(self) -> Self:
        """Refuse a policy whose rules cannot be said; every text is tried."""
        problems = []
        for code, names in FACTS.items():
            texts = self.texts.get(code, {})
            if DEFAULT_LOCALE not in texts:
                problems.append(f"texts.{code}.{DEFAULT_LOCALE} is missing")
            for locale, text in texts.items():
                try:
                    say(text, locale, dict.fromkeys(names, 1.0))
                except (KeyError, ValueError, IndexError) as error:
                    problems.append(f"texts.{code}.{locale} cannot be said with {', '.join(names)}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read whole; sha256 is that of its file."""

    document: PolicyDocument
    sha256: str

    def text(self, code: str, locale: str, facts: Mapping[str, float | str]) -> str:
        """Say a rule in words, in English where the locale is not there."""
        texts = self.document.texts[code]
        chosen = locale if locale in texts else DEFAULT_LOCALE
        return say(texts[chosen], chosen, facts)


def say(text: str, locale: str, facts: Mapping[str, float | str]) -> str:
    """Fill a text; numbers as the locale writes them."""
    known = {name: Fact(fact, None, locale) if isinstance(fact, float) else fact for name, fact in facts.items()}
    return Sentence().vformat(text, (), known)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule and what came of it.

    Attributes:
        best: The best outcome that the rule allows; APPROVE where it passed.
    """

    code: str
    best: Outcome

    @property
    def passed(self) -> bool:
        """Tell whether the rule leaves the outcome as it was."""
        return self.best is Outcome.APPROVE


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyRefused: Lists everything that is wrong with it.
    """
    try:
        content = path.read_bytes()
        document = PolicyDocument.model_validate(tomllib.loads(content.decode()))
    except OSError as error:
        raise PolicyRefused(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        problems = [f"  {'.'.join(str(part) for part in e['loc']) or 'policy'}: {e['msg']}" for e in error.errors()]
        raise PolicyRefused("\n".join([f"{path}:", *problems])) from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise PolicyRefused(f"{path}: is not TOML: {error}") from error
    return Policy(document, hashlib.sha256(content).hexdigest())


def recommend(market: MarketPolicy, pd: float) -> Outcome:
    """Give what the unrounded pd alone suggests."""
    if pd <= market.approve_max_pd:
        return Outcome.APPROVE
    return Outcome.REFER if pd <= market.refer_max_pd else Outcome.DECLINE


def apply_rules(market: MarketPolicy, recommendation: Outcome, amount: Decimal) -> tuple[RuleResult, ...]:
    """Apply every rule. A larger amount never makes a rule's result better."""
    over = amount > market.largest_amount
    return (
        RuleResult(CUT_OFF, recommendation),
        RuleResult(LARGEST_AMOUNT, Outcome.REFER if over else Outcome.APPROVE),
    )


def outcome_of(rules: tuple[RuleResult, ...]) -> Outcome:
    """Give the worst that any rule says."""
    return max(rule.best for rule in rules)
