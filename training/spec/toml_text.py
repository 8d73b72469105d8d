"""Writes texts as strings of TOML, for messages and starter specs that a reader copies into a spec."""

import json


def toml_text(text: str) -> str:
    """Return a text as a string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML has the escapes of JSON
