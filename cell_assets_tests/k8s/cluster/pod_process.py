"""The process of one pod: started, asked to end, killed; knows nothing of the API but the pod's description."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cell_assets_tests.k8s.cluster.container_logs import ContainerLog

KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Outcome:
    """How a pod ended, as its status says it."""

    exit_code: int
    container_reason: str
    pod_reason: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, exit_code: int) -> "Outcome":
        """What a kubelet makes of an exit code."""
        return cls(exit_code, "Completed" if exit_code == 0 else "Error")

    @property
    def phase(self) -> str:
        """Succeeded or Failed; an evicted pod has failed, however its process ended."""
        return "Succeeded" if self.exit_code == 0 and self.pod_reason is None else "Failed"


class PodProcess:
    """The process group of a pod's one container, from before it starts until after it ended."""

    def __init__(self, folder: Path) -> None:
        """Its log and working directory go below `folder`, which is made."""
        folder.mkdir(parents=True)
        self.log = ContainerLog(folder / "container.log")
        self.deleting = threading.Event()
        """Somebody deleted the pod; it may go when its process has ended."""
        self.ended = threading.Event()
        self._work = folder / "work"
        self._work.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._verdict: Outcome | None = None
        self._lock = threading.Lock()

    def start(self, command: Sequence[str], environment: Mapping[str, str], work: Path | None) -> None:
        """Start the command in `work`, None: a folder of its own, unless `kill` came before."""
        with self._lock:
            if self._verdict is not None:
                return
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=work or self._work,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                self._verdict = Outcome(127, "ContainerCannotRun", message=str(error))

    def wait(self) -> Outcome:
        """Wait until all of it has ended, and say how: by the exit code, unless `kill` said it before."""
        outcome = self._wait()
        self.log.complete.set()
        return outcome

    def stop(self, grace_s: float) -> None:
        """Ask the first process to end, as a container runtime does, and kill them all after `grace_s`."""
        self._signal(signal.SIGTERM, group=False)
        if not self.ended.wait(grace_s):
            self.kill(None)

    def kill(self, verdict: Outcome | None) -> None:
        """Kill all processes at once; the pod then ended as `verdict` says, None: by its exit code."""
        with self._lock:
            self._verdict = self._verdict or verdict
            if self._process is None:
                self._verdict = self._verdict or Outcome.of(KILLED)
        self._signal(signal.SIGKILL, group=True)

    def process_ids(self) -> frozenset[int]:
        """Ids of its processes that live."""
        with self._lock:
            group = None if self._process is None else self._process.pid
        return frozenset() if group is None else frozenset(_living(group))

    def _wait(self) -> Outcome:
        process = self._process
        if process is None:
            assert self._verdict is not None
            return self._verdict
        assert process.stdout is not None
        pump = threading.Thread(target=self.log.fill, args=(process.stdout,), daemon=True)
        pump.start()
        returned = process.wait()
        # A container ends with its first process, whatever else runs in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # Who left the process group may hold the pipe open for ever.
        pump.join(5)
        with self._lock:
            return self._verdict or Outcome.of(returned if returned >= 0 else 128 - returned)

    def _signal(self, number: signal.Signals, group: bool) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                if group:
                    os.killpg(self._process.pid, number)
                else:
                    os.kill(self._process.pid, number)


def _living(group: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # Processes end while they are looked at.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, found = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                yield int(folder.name)
