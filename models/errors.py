"""Errors about models, bundles and feature values."""

from dataclasses import dataclass
from typing import Literal


class ModelError(Exception):
    """Base class of the errors that this package raises."""


class BundleInvalid(ModelError):
    """A bundle is incomplete, was changed, has a newer format, or does not reproduce its golden rows."""


class BundleNotRunnable(BundleInvalid):
    """A bundle that is not active could not be run within the limits of its process, or no process was free."""


class ActivationRejected(ModelError):
    """A bundle cannot be activated for a market."""


class AdditivityError(ModelError):
    """An explanation does not add up to its score. This is a bug: the score must not be returned."""


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One reason to reject the value of one feature.

    Attributes:
        feature: The feature's name, as the caller sent it.
        problem: What is wrong and what is allowed. The text never contains the value, which may be personal data.
        kind: The kind of problem, for programs to branch on.
    """

    feature: str
    problem: str
    kind: Literal["UNKNOWN_FEATURE", "WRONG_KIND", "OUT_OF_RANGE", "SOURCE_NOT_ALLOWED"]
