"""The application log: one JSON object a line, on standard error. No line contains customer data."""

import logging
import sys

import structlog


def configure_logging() -> None:
    """Configure structlog to write every event of level INFO or above as one line; call once, at start."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
