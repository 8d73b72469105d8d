"""The policy registry: the policy in force, which changes only by an activation while the server runs.

If a policy was activated in the database, the newest activated policy is in force. If none was ever activated, the
policy of the file `policy` is in force, as the server read it when it started. So a file that is being written never
changes a decision.
"""

import hashlib
from pathlib import Path

import structlog

from server.decisions.policy import Policy, parse_policy, parse_policy_file, read_policy_file
from server.errors import PolicyRefused, RecordDamaged, StoreUnavailable
from server.stores.catalog.policies import PolicyStore

LOG = structlog.get_logger()


class PolicyRegistry:
    """Keeps the policy up to date with the activations in the database.

    Only one task at a time may call `refresh`, which replaces `current` as a whole. Therefore readers need no lock.

    Attributes:
        current: The policy in force, once `start` was called. A call reads this attribute only once, and uses the same
            policy until it ends.
        problem: Why the newest activated policy cannot be used, or why the policy file is not in force; "" if there is
            no problem.
    """

    current: Policy

    def __init__(self, path: Path, store: PolicyStore) -> None:
        """Create the registry without reading anything.

        Args:
            path: The policy file, which is in force until a policy is activated.
            store: The store of all policies.
        """
        self._path, self._store = path, store
        self.problem = ""
        self._file_sha256 = ""  # digest of the policy file when it was last read

    def start(self) -> Policy:
        """Read the policy in force and store it, because a decision can be replayed only with a stored policy.

        Raises:
            PolicyRefused: The policy is invalid, incomplete, or has the version of a different policy that was in
                force.
            RecordDamaged: The activated policy is not stored, or was changed.
            StoreUnavailable: The database does not answer.
        """
        self.current = find_policy_in_force(self._store, self._path)
        self._store.save(self.current.content)
        return self.current

    def refresh(self) -> Policy:
        """Look for an activation, and return the policy in force. On any failure, the current policy stays in force."""
        try:
            activated = self._store.find_activated()
            if activated is None:
                self._look_at_file()
            elif activated != self.current.sha256:
                policy = read_stored_policy(self._store, activated)
                LOG.info("policy in force", version=policy.document.version, previous=self.current.document.version)
                self.current = policy
        except (PolicyRefused, RecordDamaged) as error:
            self._report(str(error))
        except StoreUnavailable:
            pass  # the recorder reports a database that does not answer
        else:
            if activated is not None:
                self.problem = ""
        return self.current

    def _look_at_file(self) -> None:
        """Check that the policy file contains the policy in force. A changed file has no effect until it is activated.

        Raises:
            PolicyRefused: The file differs from the policy in force, and has changed since the last check.
        """
        content = read_policy_file(self._path)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 == self._file_sha256:
            return
        self._file_sha256 = sha256
        if sha256 == self.current.sha256:
            self.problem = ""
            return
        policy = parse_policy_file(content, str(self._path))
        check_version(self._store, policy)
        raise PolicyRefused(
            f"{self._path}: version {policy.document.version} is not in force; run: python -m server activate-policy {self._path}"
        )

    def _report(self, problem: str) -> None:
        """Log a problem, unless the same problem was logged last."""
        if problem != self.problem:
            LOG.error("policy refused", problem=problem, in_force=self.current.document.version)
        self.problem = problem


def find_policy_in_force(store: PolicyStore, path: Path) -> Policy:
    """Return the newest activated policy or, if no policy was ever activated, the policy of the file.

    Raises:
        PolicyRefused: The policy is invalid, incomplete, or has the version of a different policy that was in force.
        RecordDamaged: The activated policy is not stored, or was changed.
        StoreUnavailable: The database does not answer.
    """
    activated = store.find_activated()
    if activated is not None:
        return read_stored_policy(store, activated)
    content = read_policy_file(path)
    # A file that was in force under an earlier release may lack its last line.
    parse = parse_policy_file if store.find(hashlib.sha256(content).hexdigest()) is None else parse_policy
    policy = parse(content, str(path))
    check_version(store, policy)
    return policy


def read_stored_policy(store: PolicyStore, sha256: str) -> Policy:
    """Return a policy from the store.

    Raises:
        PolicyRefused: The stored policy is invalid in this release, because a different release stored it.
        RecordDamaged: The policy is not stored, or was changed.
    """
    content = store.find(sha256)
    if content is None:
        raise RecordDamaged("the activated policy is not in the database; restore the table `policies`", sha256=sha256)
    return parse_policy(content, f"policy {sha256}")


def check_version(store: PolicyStore, policy: Policy) -> None:
    """Check that no different policy with the same version was ever in force.

    Raises:
        PolicyRefused: The version belongs to a different policy.
    """
    version = policy.document.version
    others = store.find_versions()
    if policy.sha256 not in others and version in others.values():
        raise PolicyRefused(
            f"version {version} belongs to a policy with different content that was in force earlier; "
            "change `version` in the file, or restore the content"
        )
