"""The command line of training offers shell completion only under its installed name."""

import subprocess
import sys

from tests.conftest import ROOT, run


def test_python_m_training_offers_no_shell_completion() -> None:
    """Shell completion would be installed for the command `python`, so it would apply to every Python program."""
    assert "--install-completion" not in run("training", "--help")


def test_the_console_script_offers_shell_completion() -> None:
    program = "import sys; sys.argv = ['grounds-train', '--help']; from training.__main__ import main; main()"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)

    assert "--install-completion" in done.stdout
