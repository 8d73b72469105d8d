"""Fixtures of the client's tests, in addition to tests/conftest.py."""

from tests.server.conftest import churn_database, churn_family, churn_serving, churn_settings, other

__all__ = ["churn_database", "churn_family", "churn_serving", "churn_settings", "other"]
