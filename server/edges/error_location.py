"""Where a bug happened, for the log."""


def error_location(error: BaseException) -> list[str]:
    """Give where a bug happened, innermost last; without its message, which may hold a customer's value."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-8:]
