"""Adds the generated gRPC code and the record format, which are in sibling folders of the checkout, to the distribution."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SHARED = {"grounds": "../protos/grounds", "grounds_record": "../record/grounds_record"}


class _SharedPackages(BuildHookInterface):  # type: ignore[type-arg] # generic in the stubs only
    """Copies the shared packages into the wheel and the sdist. An editable install finds them through `dev-mode-dirs`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders of the shared packages. In an sdist, these folders are next to `grounds_client`."""
        if version == "editable":
            return
        for name, folder in _SHARED.items():
            source = Path(self.root, folder)
            build_data["force_include"][str(source if source.is_dir() else Path(self.root, name))] = name
