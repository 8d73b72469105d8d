"""The policy registry: the policy in force, read from its file and reloaded while the server runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from server.decisions.policy import Policy, read_policy
from server.errors import PolicyRefused, StoreUnavailable

LOG = structlog.get_logger()


class PolicyRegistry:
    """Keeps the policy up to date with its file. If the file becomes invalid, the current policy stays in force.

    Only one task at a time may call `refresh`, which replaces `current` as a whole. Therefore readers need no lock.

    Attributes:
        current: The policy in force. A call reads this attribute only once, and uses the same policy until it ends.
    """

    def __init__(self, path: Path) -> None:
        """Read the policy file.

        Raises:
            PolicyRefused: The file is invalid. The server cannot start, because no earlier policy is in force.
        """
        self._path = path
        self.current: Policy = read_policy(path)
        self._problem = ""  # the reason why the file was rejected; "" if the file is valid
        self._save: Callable[[Policy], None] | None = None

    def start_saving(self, save: Callable[[Policy], None]) -> None:
        """Save the current policy now, and every later policy before it comes into force.

        A decision can be replayed only with the policy that was in force, so no policy may be used before it is saved.

        Args:
            save: Called with each policy. The function saves the policy durably, or raises StoreUnavailable.

        Raises:
            StoreUnavailable: The current policy could not be saved.
        """
        save(self.current)
        self._save = save

    def refresh(self) -> Policy:
        """Read the file, and return the policy in force.

        If the file has a new and valid policy, save the new policy and put it into force. If the file is invalid, or
        the new policy cannot be saved, the current policy stays in force.
        """
        try:
            policy = read_policy(self._path)
        except PolicyRefused as error:
            if str(error) != self._problem:
                LOG.error("policy refused", problem=str(error), in_force=self.current.document.version)
            self._problem = str(error)
            return self.current
        self._problem = ""
        if policy.sha256 != self.current.sha256:
            try:
                if self._save is not None:
                    self._save(policy)
            except StoreUnavailable:
                LOG.warning(
                    "policy not saved yet", version=policy.document.version, in_force=self.current.document.version
                )
                return self.current
            LOG.info("policy in force", version=policy.document.version, previous=self.current.document.version)
            self.current = policy
        return self.current
