"""Python environments for competitors: made in a temporary folder, gone with it, never the project's own."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def environment(folder: Path, *requirements: str) -> Path:
    """A fresh environment below `folder` with pinned requirements; returns its Python.

    Raises CalledProcessError with pip's words on standard error when something does not install.
    """
    started = time.perf_counter()
    home = folder / "-".join(requirements).replace("==", "-")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = home / "bin" / "python"
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    print(f"installed {', '.join(requirements)} in {time.perf_counter() - started:.0f} s", flush=True)
    return python


def answer(
    python: Path, script: Path, *words: str | Path, home: Path, timeout_s: float | None = None
) -> dict[str, Any]:
    """What a competitor's script prints as its last line, a JSON object; `home` is its home folder.

    Raises CalledProcessError when the script fails, and TimeoutExpired, having killed it, when it takes too long.
    """
    # Only these variables: a competitor sees neither the project's environment nor anybody's settings.
    variables = {"HOME": str(home), "PATH": f"{python.parent}:/usr/bin:/bin", "PYTHONNOUSERSITE": "1"}
    said = subprocess.run(
        [str(word) for word in (python, script, *words)],
        check=True,
        env=variables,
        cwd=home,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
    )
    return json.loads(said.stdout.splitlines()[-1])
