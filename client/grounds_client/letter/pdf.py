"""PDF of a letter, printed by a browser that is installed on this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from grounds_client.errors import LetterRefused

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_SECONDS_MAX = 60


def print_pdf(page: str) -> bytes:
    """Return a page of HTML as PDF.

    The browser reads the page from a temporary folder that only this user can read. It uses a new profile in this
    folder.

    Raises:
        LetterRefused: No browser is installed, or it failed.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise LetterRefused(
            f"a PDF needs one of these browsers, and none is installed: {', '.join(_BROWSERS)}; write an .html file instead, and "
            "print it"
        )
    with tempfile.TemporaryDirectory(prefix="grounds-letter-") as name:
        folder = Path(name)
        (folder / "letter.html").write_text(page, encoding="utf-8")
        command = [browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={folder / 'letter.pdf'}"]
        # Chromium's sandbox does not work for root. It is not needed, because this package rendered the page without
        # scripts.
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            _run([*command, (folder / "letter.html").as_uri()])
            return (folder / "letter.pdf").read_bytes()
        except (subprocess.SubprocessError, OSError) as error:
            raise LetterRefused(
                f"{browser} did not print the letter; write an .html file instead, and print it"
            ) from error


def _run(command: list[str]) -> None:
    """Run a browser. It has a process group of its own, so that none of its processes remains after the time limit.

    Raises:
        OSError: The browser cannot be started.
        SubprocessError: The browser failed, or exceeded the time limit.
    """
    with subprocess.Popen(  # noqa: S603 - a browser, with files of our own folder
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            code = process.wait(_SECONDS_MAX)
        finally:
            with suppress(ProcessLookupError, PermissionError):  # no process of the group is left
                os.killpg(process.pid, signal.SIGKILL)
    if code:
        raise subprocess.CalledProcessError(code, command)
