"""Access to bundles and policy files by their digests, so that old decisions can be replayed.

The models that serve now and the policy in force are in server/registry.
"""
