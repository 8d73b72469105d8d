"""Reports of exceptions in the application log: where an exception was raised, and the id of an incident."""

import uuid

import structlog

_LOG = structlog.get_logger()
_FRAMES_MAX = 8


def report_bug(method: str, error: BaseException, **details: str) -> str:
    """Log an unexpected error of a call; return the id of the incident, which the caller receives.

    Neither the log nor the answer contains the exception's message, which may contain a customer's values.

    Args:
        method: Full name of the method.
        error: The exception.
        details: Further values that the log contains, by name. No value may be a customer's.
    """
    incident_id = str(uuid.uuid4())
    name, location = type(error).__name__, error_location(error)
    _LOG.error("bug", method=method, incident_id=incident_id, error=name, location=location, **details)
    return incident_id


def error_location(error: BaseException) -> list[str]:
    """Return the eight innermost frames of an exception, the innermost one last.

    The application log contains these frames. It omits the exception's message, which may contain a customer's values.
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return frames[-_FRAMES_MAX:]
