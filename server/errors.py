"""Every error class of the server.

A `ServerError` ends a call: `server.edges.status` maps each subclass to the gRPC status and reason that the caller
receives. An `OperatorError` stops the server from starting, or aborts a command; the operator receives its message.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_VIOLATIONS_SHOWN = 3  # in an error message; `ServerError.violations` contains all violations


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that breaks a rule.

    Attributes:
        field: Path of the field, such as features["PAY_0"].number.
        problem: What is wrong and what is allowed. It never contains the value itself.
        kind: Code of the broken rule, for programs, in UPPER_SNAKE_CASE.
    """

    field: str
    problem: str
    kind: str


def summarize_violations(violations: Sequence[Violation], omitted: int = 0) -> str:
    """Return one line with the first three violations and the number of the others, including `omitted` ones."""
    shown = "; ".join(f"{each.field or 'request'}: {each.problem}" for each in violations[:_VIOLATIONS_SHOWN])
    hidden = len(violations) + omitted - _VIOLATIONS_SHOWN
    return f"{shown}; and {hidden} more" if hidden > 0 else shown


class ServerError(Exception):
    """Base class of the errors that a caller receives.

    Attributes:
        violations: One violation for each invalid field; empty if the error does not concern fields.
        retry_seconds: Time in seconds after which the caller should retry; None if the error does not state one.
        quota: The limit that the call would exceed, such as class:loan_desk or caller:local; "" if there is none.
        metadata: Values that describe the error, by name, for programs.
    """

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        retry_seconds: float | None = None,
        quota: str = "",
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.violations = tuple(violations)
        self.retry_seconds = retry_seconds
        self.quota = quota
        self.metadata = metadata


class RequestInvalid(ServerError):
    """The request breaks a rule of the .proto files, has unknown fields, or asks for a sample that is too large."""


class RequestUnreadable(ServerError):
    """The bytes of the request are not an encoded message of the method's request type."""


class RequestTooLarge(ServerError):
    """The request has more bytes than the server accepts."""


class RequestIncomplete(ServerError):
    """The caller began a call, but the request did not arrive in time."""


class AnswerNotRead(ServerError):
    """The caller did not read a part of a streamed answer in time."""


class Overloaded(ServerError):
    """The server handles as many calls of this class as it allows at the same time."""


class RateExceeded(ServerError):
    """The caller sends more calls per second than the server allows."""


class MethodUnknown(ServerError):
    """The server has no such method."""


class FeaturesInvalid(ServerError):
    """A feature is unknown, may not come from the caller, or has a value of the wrong type or out of range."""


class MethodNotAllowed(ServerError):
    """The caller does not have permission to call this method."""


class CallerNotAuthenticated(ServerError):
    """The caller has not proved its identity, because its certificate or token is missing or invalid."""


class MarketNotAllowed(ServerError):
    """The caller does not have permission to ask about customers of this market."""


class RequestIdReused(ServerError):
    """The caller used this request_id earlier, for a request with different content."""


class OverrideInvalid(ServerError):
    """An override breaks a rule of the policy or contradicts its decision."""


class OutcomeInvalid(ServerError):
    """An outcome contradicts its decision."""


class ContactInvalid(ServerError):
    """A contact contradicts its scoring run or the contact that it corrects."""


class CurrencyNotSupported(ServerError):
    """The requested amount is not in the currency that the policy has for the market."""


class CustomerUnknown(ServerError):
    """The run has no prediction for this customer, or the feature store has no features of the customer."""


class DecisionUnknown(ServerError):
    """No decision has this id, or the caller may not ask about the decision's market."""


class RunUnknown(ServerError):
    """No run with this id is loaded in the market."""


class RecordUnknown(ServerError):
    """No record has this id or index."""


class RecordRemoved(ServerError):
    """The record exists, but its content was removed. The metadata `why` is KEY_DESTROYED or CIPHERTEXT_REMOVED."""

    @property
    def key_destroyed(self) -> bool:
        """Return true if an erasure destroyed the key, false if retention removed the ciphertext."""
        return self.metadata.get("why") == "KEY_DESTROYED"


class RecordDamaged(ServerError):
    """The record, its key, or a file or row that it refers to differs from what was written."""


class TreeSizeUnknown(ServerError):
    """A requested tree size or range of records is not valid. For example, the record log has fewer records."""


class BundleUnknown(ServerError):
    """The catalog has no bundle with this id."""


class BundleNotReadable(ServerError):
    """The catalog has the bundle, but the bundle is invalid or cannot be read."""


class ReportTooLarge(ServerError):
    """The report of the bundle does not fit into an answer."""


class NoticeUnavailable(ServerError):
    """No notice is possible: the record, its bundle or its policy cannot be read, or the reasons are not reproduced."""


class NoActiveModel(ServerError):
    """No bundle is active for this market."""


class NoPolicy(ServerError):
    """The policy has no section for this market and product, or the section allows no overrides."""


class NoRun(ServerError):
    """No run is loaded for this market."""


class FamilyRequired(ServerError):
    """The market has runs of several families, and the request names none."""


class PageTokenInvalid(ServerError):
    """The page token is invalid, or was issued for a different list."""


class ResyncRequired(ServerError):
    """The token is invalid or expired, or its run is no longer stored. The caller must start a full sync."""


class StoreUnavailable(ServerError):
    """The database does not respond, or cannot complete the work. It is unknown whether a write took effect.

    Attributes:
        cause: Why the database failed, for the operator; "" if the message states it. Callers never receive the cause.
    """

    cause = ""

    def copy(self) -> "StoreUnavailable":
        """Return the same error without a traceback, for a further caller."""
        copied = StoreUnavailable(str(self))
        copied.cause = self.cause
        return copied


class ServerBusy(ServerError):
    """Too many records wait to be written. Nothing was recorded for this call, which the caller can retry later."""


class Draining(ServerError):
    """The server is draining before it stops. The caller can retry the call on a different server."""


class OperatorError(Exception):
    """Base class of the errors that an operator can fix. A command prints the message and exits with status 1."""


class ConfigRefused(OperatorError):
    """The configuration is invalid."""


class PortInUse(OperatorError):
    """Another process already listens on the port."""


class LogRefused(OperatorError):
    """The record log cannot be opened: its keys or its head are missing, or they belong to a different log."""


class DatabaseRefused(OperatorError):
    """The database cannot be used by this release."""


class LoadRefused(OperatorError):
    """A feature or run file is invalid. None of its rows was loaded."""


class ErasureRefused(OperatorError):
    """An erasure cannot be done, or a legal hold cannot be placed or released. Nothing was changed."""


class BackupRefused(OperatorError):
    """A backup cannot be made or restored. No existing file was changed."""


class ForkRefused(OperatorError):
    """`adopt-fork` found no fork, that is, no lost or replaced records. Nothing was changed."""


class KeyRotationRefused(OperatorError):
    """A key cannot be rotated. The key that was in use stays in use."""


class RetentionRefused(OperatorError):
    """The retention table is invalid, a record whose content is due for removal is damaged, or too much is due."""


class ClockRefused(OperatorError):
    """The clock contradicts the record log, the database server or itself. Nothing was changed."""


class PolicyRefused(OperatorError):
    """A policy is invalid, incomplete or unknown, or has the version of a different policy."""


class ChangeRefused(OperatorError):
    """A bundle or a policy cannot be activated, retired, proposed or approved. Nothing was changed."""


class AuthorityRefused(OperatorError):
    """The authority file is missing or invalid."""


class TlsRefused(OperatorError):
    """A certificate, its key or the clients' certificate authority is missing or invalid."""


class TokenKeysRefused(OperatorError):
    """The key set of the issuer of tokens cannot be read."""
