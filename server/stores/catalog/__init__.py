"""Bundles and policy files by their digests, for replay: what serves today is in server/registry."""
