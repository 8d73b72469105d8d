"""The end mark of files that an operator writes: their last line, by which a file that was written only in part is noticed.

The beginning of such a file is often valid too, but lacks rules, and often those that limit what the others allow.
"""


def end_mark_problem(content: bytes, mark: str) -> str:
    """Return a problem if the last line of a file is not its end mark; "" if it is."""
    lines = content.rstrip().splitlines()
    if lines and lines[-1] == mark.encode():
        return ""
    return (
        f"the last line must be {mark!r}, so that a file that was written or copied only in part is noticed; "
        "check that the file is complete, and add the line"
    )
