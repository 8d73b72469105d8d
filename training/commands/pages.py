"""Writes the page that a command was asked for."""

from pathlib import Path

from models.atomic_files import write_file
from training.errors import SpecInvalid


def write_page(option: str, path: Path, page: str) -> None:
    """Write a page.

    Args:
        option: The option that states the path, for error messages.
        path: The file.
        page: The page as HTML.

    Raises:
        SpecInvalid: The file cannot be written.
    """
    try:
        write_file(path, page.encode())
    except OSError as error:
        raise SpecInvalid(
            f"{option} {path}: cannot be written: {error.strerror}; name a file in a folder that exists"
        ) from error
