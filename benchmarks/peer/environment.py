"""The peer's virtual environment, made once: its packages and ours do not fit into one."""

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = Path(__file__).with_name(".venv")
REMEDY = "Set it right and start again, or make an environment by hand and name its interpreter with --peer_python."


def peer_python(folder: Path = FOLDER, requirements: Path = REQUIREMENTS, report=print) -> str:
    """Makes the environment unless it is there, whole and of these requirements; returns its interpreter.

    Args:
        folder: where it is, or will be.
        requirements: what pip installs.
        report: called with lines of text for the user.
    Raises:
        OSError: the environment cannot be made.
    """
    python, stamp, wanted = folder / "bin" / "python", folder / "installed", requirements.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return str(python)
    report(f"Installing the peer and PyTorch into {folder}: 1.5 GB, or 6 GB where pip finds a torch for CUDA alone.")
    commands = (
        ("made", [sys.executable, "-m", "venv", "--clear", str(folder)]),
        ("filled", [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                    str(requirements)]),
    )
    for what, command in commands:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            raise OSError(
                f"The peer's environment {folder} could not be {what}. Expected exit code 0 of "
                f"`{' '.join(command)}`. Received {result.returncode}, after:\n{last_lines(result.stdout)}\n{REMEDY}"
            )
    stamp.write_text(wanted, encoding="utf-8")  # last: an environment without it is begun anew
    return str(python)


def last_lines(text: str, count: int = 8) -> str:
    """The end of what a program said, where it says why it stopped."""
    return "\n".join(text.strip().splitlines()[-count:])
