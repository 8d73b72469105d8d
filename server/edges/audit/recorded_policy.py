"""Policies of recorded decisions, parsed from their stored files."""

from functools import lru_cache

from server.decisions.policy import Policy, parse_policy


@lru_cache(maxsize=8)
def parse_recorded_policy(content: bytes) -> Policy:
    """Parse a stored policy file. The cache saves time if an auditor reads many decisions that used the same policy.

    Raises:
        PolicyRefused: This release cannot read the file.
    """
    return parse_policy(content, "policy")
