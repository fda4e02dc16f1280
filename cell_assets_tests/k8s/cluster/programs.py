"""Where the built Kubernetes is, and how it gets there: `python -m cell_assets_tests.k8s.cluster.programs`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER_VARIABLE = "CELL_ASSETS_TEST_KUBERNETES"
_DEFAULT_FOLDER = "~/.cache/cell_assets/kubernetes-1.20.2"
_SCRIPT = Path(__file__).with_name("build")


class NotBuiltError(Exception):
    """There is no complete build; the text says where it was looked for and why the last one failed."""


def programs_folder(script: Path = _SCRIPT) -> Path:
    """Folder of the four programs as the script makes them; raises NotBuiltError."""
    complete = _complete(script)
    if complete.is_dir():
        return complete
    message = f"Kubernetes is not built in {complete.parent}: run `make test-k8s`"
    log = complete.parent / "build.log"
    if log.exists():
        lines = log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        message += f"; the last build said: {last}"
    raise NotBuiltError(message)


def build(script: Path = _SCRIPT) -> Path:
    """Build where no complete build is, which takes minutes; raises NotBuiltError."""
    complete = _complete(script)
    folder = complete.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.is_dir():
            return complete
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        with (folder / "build.log").open("wb") as log:
            failed = subprocess.run(
                [str(script), str(partial)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            ).returncode
        if not failed:
            # The name is given last and at once, so that half a build is never taken for one.
            (partial / "bin").rename(complete)
        shutil.rmtree(partial, ignore_errors=True)
    return programs_folder(script)


def _complete(script: Path) -> Path:
    """Named after the script's content, so that a changed script builds anew."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or _DEFAULT_FOLDER).expanduser().absolute()
    return folder / hashlib.sha256(script.read_bytes()).hexdigest()[:16]


def main() -> int:
    """Build, and say so; returns 1 where that cannot be done."""
    try:
        print(f"Kubernetes is in {programs_folder()}")
        return 0
    except NotBuiltError:
        print("building Kubernetes 1.20.2 for the tests, about 4 minutes on 2 cores", flush=True)
    began = time.monotonic()
    try:
        built = build()
        print(f"built in {time.monotonic() - began:.0f} s: {built}")
    except NotBuiltError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
