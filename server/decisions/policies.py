"""The policy that holds: read from its file, looked at again while the server runs."""

from pathlib import Path

import structlog

from server.decisions.policy import Policy, read_policy
from server.errors import PolicyRefused

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
            LOG.info("policy", version=found.document.version, before=self.now.document.version)
            self.now = found
        return self.now
