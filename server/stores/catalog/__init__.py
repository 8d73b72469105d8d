"""Access to old and current bundles and policy files by digest, for replay.

The bundles and the policy in force today are in server/registry.
"""
