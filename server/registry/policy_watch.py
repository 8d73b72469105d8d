"""The policy that holds: read from its file, looked at again while the server runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from server.decisions.policy import Policy, read_policy
from server.errors import PolicyRefused, StoreUnavailable

LOG = structlog.get_logger()


class PolicyWatch:
    """Keeps the policy up to date with its file; a file that is refused changes nothing.

    Owned by one task: `refresh` is never called twice at once. Readers take `now` once per request.

    Raises:
        PolicyRefused: The file is wrong at the start, when there is no other to go on with.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now: Policy = read_policy(path)
        self.refused = ""  # why the file of now is not what holds
        self.keep: Callable[[Policy], None] | None = None

    def keep_with(self, keep: Callable[[Policy], None]) -> None:
        """Keep the policy of now, and from here on each other one before it holds: no decision is made under a lost one.

        Raises:
            StoreUnavailable: It could not be kept.
        """
        keep(self.now)
        self.keep = keep

    def refresh(self) -> Policy:
        """Look at the file, and swap in what it says."""
        try:
            found = read_policy(self.path)
        except PolicyRefused as error:
            if str(error) != self.refused:
                LOG.error("policy refused", problem=str(error), holds=self.now.document.version)
            self.refused = str(error)
            return self.now
        self.refused = ""
        if found.sha256 != self.now.sha256:
            try:
                if self.keep is not None:
                    self.keep(found)
            except StoreUnavailable:
                LOG.warning("policy not kept yet", version=found.document.version, holds=self.now.document.version)
                return self.now
            LOG.info("policy", version=found.document.version, before=self.now.document.version)
            self.now = found
        return self.now
