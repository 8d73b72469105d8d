"""The policy registry: the policy in force, read from its file and reloaded while the server runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from server.decisions.policy import Policy, read_policy
from server.errors import PolicyRefused, StoreUnavailable

LOG = structlog.get_logger()


class PolicyRegistry:
    """Keeps the policy up to date with its file; an invalid file changes nothing.

    One task at a time calls `refresh`; it replaces `current` as a whole, so readers need no lock.

    Attributes:
        current: The policy in force; a call reads it once.
    """

    def __init__(self, path: Path) -> None:
        """Read the policy.

        Raises:
            PolicyRefused: The file is invalid, and there is no earlier policy to keep.
        """
        self._path = path
        self.current: Policy = read_policy(path)
        self._problem = ""  # why the file is not in force; "" if it is
        self._save: Callable[[Policy], None] | None = None

    def save_policies(self, save: Callable[[Policy], None]) -> None:
        """Save the current policy, and from now on every other one before it comes into force.

        So a decision can always be replayed with its policy.

        Args:
            save: Saves a policy durably.

        Raises:
            StoreUnavailable: The current policy could not be saved.
        """
        save(self.current)
        self._save = save

    def refresh(self) -> Policy:
        """Read the file, and replace `current` if its content has changed, is valid, and could be saved."""
        try:
            policy = read_policy(self._path)
        except PolicyRefused as error:
            if str(error) != self._problem:
                LOG.error("policy refused", problem=str(error), holds=self.current.document.version)
            self._problem = str(error)
            return self.current
        self._problem = ""
        if policy.sha256 != self.current.sha256:
            try:
                if self._save is not None:
                    self._save(policy)
            except StoreUnavailable:
                LOG.warning(
                    "policy not saved yet", version=policy.document.version, holds=self.current.document.version
                )
                return self.current
            LOG.info("policy", version=policy.document.version, before=self.current.document.version)
            self.current = policy
        return self.current
