"""What the server refuses. Every kind has one meaning for a client: `server.edges.status` holds the table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with one field of a request.

    Attributes:
        field: Path of the field, e.g. features["PAY_0"].number
        problem: What is wrong and what is allowed; never the value itself.
        kind: UPPER_SNAKE_CASE, for programs.
    """

    field: str
    problem: str
    kind: str


class ServerError(Exception):
    """Base of everything that a client is told.

    Attributes:
        violations: What is wrong, field by field; may be empty.
        metadata: The dynamic parts of the message, for programs.
    """

    def __init__(self, message: str, *, violations: Sequence[Violation] = (), **metadata: str) -> None:
        super().__init__(message)
        self.violations = tuple(violations)
        self.metadata = metadata


class RequestInvalid(ServerError):
    """The request breaks a rule of the contract."""


class RequestUnreadable(ServerError):
    """The bytes of the request are not an encoded message of the method's request type."""


class RequestTooLarge(ServerError):
    """The request has more bytes than the server accepts."""


class MethodUnknown(ServerError):
    """The server has no such method."""


class FeaturesInvalid(ServerError):
    """A feature value is unknown, not the caller's to give, of the wrong kind or out of range."""


class MethodNotAllowed(ServerError):
    """The caller may not call this method."""


class RequestIdReused(ServerError):
    """The request_id was used for another content."""


class OverrideInvalid(ServerError):
    """An override breaks a rule of the policy, or does not fit its decision."""


class OutcomeInvalid(ServerError):
    """An outcome does not fit its decision."""


class CurrencyNotServed(ServerError):
    """The amount is not in the currency of the market's policy."""


class CustomerUnknown(ServerError):
    """There is nothing about this customer."""


class DecisionUnknown(ServerError):
    """There is no such decision."""


class RunUnknown(ServerError):
    """No run of this name is loaded in the market."""


class RecordUnknown(ServerError):
    """There is no such record."""


class RecordRemoved(ServerError):
    """The record is there, but what was in it was erased; metadata `why` says how: KEY_DESTROYED or CIPHERTEXT_REMOVED."""

    @property
    def key_destroyed(self) -> bool:
        """Tell whether the customer was erased; if not, retention has taken the ciphertext."""
        return self.metadata.get("why") == "KEY_DESTROYED"


class RecordDamaged(ServerError):
    """The record, or the key to it, is not what was written."""


class TreeSizeUnknown(ServerError):
    """The log has no tree of that size."""


class BundleUnknown(ServerError):
    """There is no such bundle."""


class BundleNotReadable(ServerError):
    """The bundle is refused; the message says why."""


class NoActiveModel(ServerError):
    """No bundle is active for this market."""


class NoPolicy(ServerError):
    """The policy file has no section for this market."""


class NoRun(ServerError):
    """No run is loaded for this market."""


class PageTokenInvalid(ServerError):
    """The page token is not ours, or belongs to another list."""


class ResyncRequired(ServerError):
    """The token is too old, foreign, or of a run that is no longer kept: begin again without one."""


class StoreUnavailable(ServerError):
    """The database does not answer; nothing was decided."""


class Draining(ServerError):
    """The server is about to stop; another one answers."""


class LogRefused(Exception):
    """The log cannot be opened: its keys are missing or another log's, or its head is; the message says what to do."""


class DatabaseRefused(Exception):
    """The database is not one that this release can use; the message says what to do."""


class LoadRefused(Exception):
    """A feature or run file is not what it should be; nothing of it was loaded."""


class ErasureRefused(Exception):
    """A customer cannot be erased, held or released; nothing was done, and the message says why."""


class RetentionRefused(Exception):
    """Retention cannot be applied; the message says why."""


class PolicyRefused(Exception):
    """The policy file says something that cannot be right."""
