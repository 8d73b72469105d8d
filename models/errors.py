"""What can be wrong with a model, a bundle or a value."""

from dataclasses import dataclass
from typing import Literal


class ModelError(Exception):
    """Something about a model that its reader must know."""


class BundleInvalid(ModelError):
    """A bundle is not whole, not ours to read, or does not reproduce itself; the message names the file."""


class ActivationRejected(ModelError):
    """A bundle cannot be made to serve a market."""


class AdditivityError(ModelError):
    """An explanation does not add up to its score. A bug: nothing may be answered."""


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One thing that is wrong with one feature's value.

    Attributes:
        feature: The feature's name, as it was given.
        problem: What is wrong and what is allowed; never the value itself.
        kind: The kind of problem, for programs.
    """

    feature: str
    problem: str
    kind: Literal["UNKNOWN_FEATURE", "WRONG_KIND", "OUT_OF_RANGE", "SOURCE_NOT_ALLOWED"]
