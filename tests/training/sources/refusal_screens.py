"""What a person sees of a refusal in the terminal."""

import re

from training.errors import fit_screen

# The verb of an instruction, at the start of a clause.
INSTRUCTION = re.compile(
    r"(^|[;:,.]|\b(or|and|must|to))\s+(then )?(add|change|check|choose|complete|compress|correct|create|decompress|double|exclude|fit|"
    r"export|give|keep|leave out|list|map|move|name|provide|read|remove|rename|replace|save|select|set|specify|state|use|widen|write)\b"
)


def fitted_refusal(error: Exception) -> str:
    """Return the text that the command line shows for an error, on one line.

    Check that it fits on one screen, has an instruction, and ends as the message of the error ends.
    """
    shown = fit_screen(f"error: {error}")
    lines = shown.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 120
    plain = " ".join(shown.split())
    assert INSTRUCTION.search(plain), shown
    assert "".join(plain.split()).endswith("".join(str(error).split())[-60:]), shown
    return plain
