"""Locations of exceptions, for the application log."""

_FRAMES_MAX = 8


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
