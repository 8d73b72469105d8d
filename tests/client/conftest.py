"""What the client's tests share beside tests/conftest.py."""

from tests.server.conftest import other

__all__ = ["other"]
