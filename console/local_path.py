"""Checks the page to which a form or a sign-in returns."""


def local_path(text: str) -> str:
    r"""Return a path of the console; "/" for a text that a browser could take for another site, such as //host or /\host."""
    safe = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if safe else "/"
