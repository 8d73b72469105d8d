"""The policy registry: the policy in force, which changes only by an activation while the server runs.

The newest activated policy is in force. Until an operator activates a policy, each start of a server activates the policy
of the file `policy`, as the server reads it then. So a file that is being written never changes a decision, and every
decision names the activation of its policy.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
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

    def __init__(self, path: Path, store: PolicyStore, *, follows_file: bool = True) -> None:
        """Create the registry without reading anything.

        Args:
            path: The policy file, which is in force until an operator activates a policy.
            store: The store of all policies.
            follows_file: Whether a start uses the file if no operator has activated a policy, even if an earlier start
                has activated the policy of the file at that time.
        """
        self._path, self._store, self._follows_file = path, store, follows_file
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
        self.current = find_policy_in_force(self._store, self._path, follows_file=self._follows_file)
        self._store.save(self.current.content)
        return self.current

    def refresh(self) -> Policy:
        """Look for an activation, and return the policy in force. On any failure, the current policy stays in force."""
        try:
            activated = self._store.find_activated()
            if activated is not None and activated.record_id != self.current.activation_id:
                is_same = activated.policy_sha256 == self.current.sha256
                policy = self.current if is_same else read_stored_policy(self._store, activated.policy_sha256)
                if not is_same:
                    LOG.info("policy in force", version=policy.document.version, previous=self.current.document.version)
                self.current = replace(policy, activation_id=activated.record_id)
            is_by_file = activated is None or (self._follows_file and activated.is_by_server)
            if is_by_file:
                self._look_at_file()
        except (PolicyRefused, RecordDamaged) as error:
            self._report(str(error))
        except StoreUnavailable:
            pass  # the recorder reports a database that does not answer
        else:
            if not is_by_file:
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
        check_version(self._store.find_versions(), policy)
        raise PolicyRefused(
            f"{self._path}: version {policy.document.version} is not in force; run: python -m server activate-policy {self._path}"
        )

    def _report(self, problem: str) -> None:
        """Log a problem, unless the same problem was logged last."""
        if problem != self.problem:
            LOG.error("policy refused", problem=problem, in_force=self.current.document.version)
        self.problem = problem


def find_policy_in_force(store: PolicyStore, path: Path, *, follows_file: bool = False) -> Policy:
    """Return the newest activated policy or, if no policy was ever activated, the policy of the file.

    Args:
        store: The store of all policies.
        path: The policy file.
        follows_file: Whether to return the policy of the file even if the start of a server has activated a policy. An
            activation by an operator always precedes the file.

    Raises:
        PolicyRefused: The policy is invalid, incomplete, or has the version of a different policy that was in force.
        RecordDamaged: The activated policy is not stored, or was changed.
        StoreUnavailable: The database does not answer.
    """
    activated = store.find_activated()
    if activated is not None and not (follows_file and activated.is_by_server):
        return replace(read_stored_policy(store, activated.policy_sha256), activation_id=activated.record_id)
    content = read_policy_file(path)
    # A file that was in force under an earlier release may lack its last line.
    parse = parse_policy_file if store.find(hashlib.sha256(content).hexdigest()) is None else parse_policy
    policy = parse(content, str(path))
    check_version(store.find_versions(), policy)
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


def check_version(others: Mapping[str, str], policy: Policy) -> None:
    """Check that no different policy with the same version was ever in force.

    Args:
        others: The version of each policy that was ever in force, by SHA-256.
        policy: The policy to check.

    Raises:
        PolicyRefused: The version belongs to a different policy.
    """
    version = policy.document.version
    if policy.sha256 not in others and version in others.values():
        raise PolicyRefused(
            f"version {version} belongs to a policy with different content that was in force earlier; "
            "change `version` in the file, or restore the content"
        )
