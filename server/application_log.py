"""Logs as one JSON object a line, on standard error. No line holds a value of a customer."""

import logging
import sys

import structlog


def configure_logging() -> None:
    """Write every event as a line; call once, at start."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
