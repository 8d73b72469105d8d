"""The public key of the record log that verifies what the pages show, and what such a check proves."""

from dataclasses import dataclass

from starlette.requests import Request

from grounds_client.evidence.checks import REPORTED_KEY_TEXT, describe_signer
from grounds_record.note import VerifierKey, parse_verifier_key


@dataclass(frozen=True, slots=True)
class LogKey:
    """A public key, and where it comes from.

    Attributes:
        key: The key.
        is_given: True if the console was started with the key. False if the server under audit reported it: a check with
            such a key proves only that the server agrees with itself.
    """

    key: VerifierKey
    is_given: bool

    @property
    def signer(self) -> str:
        """Return the name of the signer, as the end of a sentence."""
        return describe_signer(given=self.is_given)

    @property
    def source(self) -> str:
        """Return where the key comes from, and how to make a stronger check if the server reported the key."""
        if self.is_given:
            return "as given to this console with --log-key"
        return f"{REPORTED_KEY_TEXT}; start the console with --log-key and your own copy"

    @property
    def description(self) -> str:
        """Return the key and its source as one text."""
        return f"{self.key.text()}, {self.source}"


def choose_log_key(request: Request, reported: str) -> LogKey:
    """Return the key that was given to the console, or else the key that the server reports.

    Args:
        request: The request. The state of its application contains the given key, or None.
        reported: The public key that the server reports, as text.

    Raises:
        KeyMalformed: No key was given, and the text that the server reports is not a key.
    """
    given: VerifierKey | None = request.app.state.log_key
    return LogKey(given or parse_verifier_key(reported), is_given=given is not None)
