"""The policy that holds: read from its file, looked at again while the server runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from server.decisions.policy import Policy, read_policy
from server.errors import PolicyRefused, StoreUnavailable

LOG = structlog.get_logger()


class PolicyRegistry:
    """Keeps the policy up to date with its file; a file that is refused changes nothing.

    Owned by one task: `refresh` is never called twice at once. Readers take `now` once per request.

    Raises:
        PolicyRefused: The file is wrong at the start, when there is no other to go on with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.current: Policy = read_policy(path)
        self._problem = ""  # why the file of now is not what holds
        self._store: Callable[[Policy], None] | None = None

    def store_policies(self, keep: Callable[[Policy], None]) -> None:
        """Keep the policy of now, and from here on each other one before it holds: no decision is made under a lost one.

        Raises:
            StoreUnavailable: It could not be kept.
        """
        keep(self.current)
        self._store = keep

    def refresh(self) -> Policy:
        """Look at the file, and swap in what it says."""
        try:
            found = read_policy(self._path)
        except PolicyRefused as error:
            if str(error) != self._problem:
                LOG.error("policy refused", problem=str(error), holds=self.current.document.version)
            self._problem = str(error)
            return self.current
        self._problem = ""
        if found.sha256 != self.current.sha256:
            try:
                if self._store is not None:
                    self._store(found)
            except StoreUnavailable:
                LOG.warning("policy not kept yet", version=found.document.version, holds=self.current.document.version)
                return self.current
            LOG.info("policy", version=found.document.version, before=self.current.document.version)
            self.current = found
        return self.current
