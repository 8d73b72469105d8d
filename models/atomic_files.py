"""Files and folders that are either wholly there or not there at all, also when the power goes.

open a temporary name beside the target, write, fsync, close, rename over the target, fsync the folder
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Replace the file's content in one step."""
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary file to write into; it takes the place of `path` when the block ends, and goes if it fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.chmod(0o644)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> bool:
    """Make a folder with these files in one step; tell whether it was made. One that is there already is left as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:16]}."))
    try:
        for name, content in files.items():
            write_file(temporary / name, content)
        temporary.chmod(0o755)
        made = not path.exists()
        if made:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(path.parent)
    return made


def _sync_folder(path: Path) -> None:
    """Make renames inside the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
