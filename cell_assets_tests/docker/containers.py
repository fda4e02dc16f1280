"""Services of docker/compose.yaml as processes that are confined as their containers would be.

Linux itself confines them: a network of their own, as Compose makes one; a root file system that is read-only,
with the volumes, the tmpfs and the secrets that the file gives to each service; user 10001 without a capability
and without a way to new privileges. What no engine is here for is the image: programs are those of the machine.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cell_assets.database.programs import installed_programs
from cell_assets_tests.docker.compose_file import image_environment, in_order_of_start

PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""Where programs of the machine are looked for."""
_UP = """
import fcntl, socket, struct, sys
with socket.socket() as probe:
    fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
print("up", flush=True)
sys.stdin.read()
"""
"""Switches loopback on (SIOCSIFFLAGS, IFF_UP and IFF_RUNNING), then holds the network."""

_CONFINE = """
set -e
mount -t tmpfs tmpfs /srv
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets /srv/cell_assets
for one in $BINDS; do
  from=${one%%|*} rest=${one#*|}; to=${rest%%|*}
  if [ -d "$from" ]; then mkdir -p "$to"; else : > "$to"; fi
  mount --bind "$from" "$to"
  [ "${rest#*|}" = rw ] || mount -o remount,bind,ro "$to"
done
mount --bind "$ETC/hosts" /etc/hosts
mount --bind "$ETC/passwd" /etc/passwd
mount -t tmpfs -o mode=1777 tmpfs /tmp
for place in / /srv /run; do mount -o remount,bind,ro "$place"; done
unset BINDS ETC
cd /tmp
exec setpriv --no-new-privs unshare --user --map-user="$UID_GID" --map-group="$UID_GID" -- "$@"
"""

_ASK = """
import base64, http.client, json, sys
port, method, path, body, headers = json.load(sys.stdin)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
connection.request(method, path, body, headers)
answer = connection.getresponse()
print(json.dumps([answer.status, base64.b64encode(answer.read()).decode(), dict(answer.getheaders())]))
"""


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass
class Machine:
    """A network, the volumes and secrets on it, and the services that run there."""

    folder: Path
    """Volumes, secrets and logs lie in it."""
    compose: Mapping[str, Any]
    commands: Mapping[str, Sequence[str]]
    """Commands of services whose image has one of its own."""
    network: int
    """Process that holds the network."""
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ill_before: dict[str, int] = field(default_factory=dict)
    """What each health check returned just before its service was started."""
    healthy: set[str] = field(default_factory=set)
    """Services whose health check passed once."""

    def start_all(self, patience_s: float = 300.0) -> None:
        """Start every service when those that it depends on are healthy, and wait until all are."""
        services = self.compose["services"]
        for name in in_order_of_start(services):
            for needed in services[name].get("depends_on", {}):
                if needed not in self.healthy:
                    self.wait_healthy(needed, patience_s)
            self.ill_before[name] = self.check(name).returncode
            self.start(name)
        for name in services.keys() - self.healthy:
            self.wait_healthy(name, patience_s)

    def start(self, name: str) -> None:
        """Start a service with the command of its container."""
        command = self.commands.get(name) or self.compose["services"][name]["command"]
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                self._confined(name, command),
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """Ask a service to end, as `docker stop` does; returns its exit code, and leaves nothing of it."""
        process = self.running.pop(name)
        process.send_signal(signal_number)
        try:
            return process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def check(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Run the health check of a service inside its container."""
        how, *command = self.compose["services"][name]["healthcheck"]["test"]
        assert how == "CMD", name
        return self.run(name, command)

    def wait_healthy(self, name: str, patience_s: float) -> None:
        """Wait until a service's health check passes; its log is told when it does not."""
        until = time.monotonic() + patience_s
        while (done := self.check(name)).returncode != 0:
            ended = self.running[name].poll()
            assert ended is None, (name, ended, self.log(name).read_text()[-3000:])
            assert time.monotonic() < until, (name, done.stderr, self.log(name).read_text()[-3000:])
            time.sleep(1)
        self.healthy.add(name)

    def run(self, name: str, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end inside the container of a service."""
        return subprocess.run(
            self._confined(name, command),
            env=self._environment(name),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @contextlib.contextmanager
    def meanwhile(self, name: str, command: Sequence[str]) -> Iterator[None]:
        """Let a command run inside the container of a service, from its first line on, while the block does."""
        process = subprocess.Popen(
            self._confined(name, command),
            env=self._environment(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def ask(
        self,
        port: int,
        path: str,
        *,
        method: str = "GET",
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask a page, from inside the network."""
        question = json.dumps([port, method, path, body, dict(headers or {})])
        enter = ["nsenter", "--target", str(self.network), "--net", "--"]
        done = subprocess.run(
            [*enter, sys.executable, "-I", "-S", "-c", _ASK],
            input=question,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        status, encoded, answered = json.loads(done.stdout)
        return Answer(
            status, base64.b64decode(encoded), {key.lower(): value for key, value in answered.items()}
        )

    def log(self, name: str) -> Path:
        """What a service wrote."""
        return self.folder / f"{name}.log"

    def _confined(self, name: str, command: Sequence[str]) -> list[str]:
        enter = ["nsenter", "--target", str(self.network), "--net", "--", "unshare", "--mount", "--"]
        return [*enter, "sh", "-c", _CONFINE, "sh", *command]

    def _environment(self, name: str) -> dict[str, str]:
        service = self.compose["services"][name]
        programs = [str(Path(sys.executable).parent), str(installed_programs()), PROGRAMS]
        return {
            **image_environment(),
            "PATH": os.pathsep.join(programs),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **service.get("environment", {}),
            "BINDS": " ".join(self._binds(service)),
            "ETC": str(self.folder / "etc"),
            "UID_GID": service["user"].partition(":")[0],
        }

    def _binds(self, service: Mapping[str, Any]) -> Iterator[str]:
        for secret in service.get("secrets", ()):
            yield f"{self.folder / 'secrets' / secret}|/run/secrets/{secret}|ro"
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            # No folder can be made elsewhere on a machine's own root.
            target = target if target.startswith("/srv/") else f"/srv{target}"
            yield f"{self.folder / 'volumes' / source}|{target}|{'ro' if mode == ['ro'] else 'rw'}"


def why_not() -> str | None:
    """Why processes cannot be confined here; None where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can confine processes as a container engine does"
    try:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "setpriv", "--no-new-privs", "unshare", "--user", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    return None if done.returncode == 0 else f"namespaces are not allowed here: {done.stderr.strip()}"


@contextlib.contextmanager
def machine(
    folder: Path, compose: Mapping[str, Any], commands: Mapping[str, Sequence[str]]
) -> Iterator[Machine]:
    """A network in which every service has its name, with empty volumes; nothing runs when the block ends."""
    names = " ".join(compose["services"])
    (folder / "etc").mkdir()
    (folder / "etc" / "hosts").write_text(f"127.0.0.1 localhost {names}\n", encoding="utf-8")
    users = {service["user"].partition(":")[0] for service in compose["services"].values()}
    accounts = [f"user{user}:x:{user}:{user}::/tmp:/usr/sbin/nologin" for user in sorted(users)]
    (folder / "etc" / "passwd").write_text("\n".join([*accounts, ""]), encoding="utf-8")
    for volume in compose["volumes"]:
        (folder / "volumes" / volume).mkdir(parents=True)
    holder = subprocess.Popen(
        ["unshare", "--net", "--", sys.executable, "-I", "-S", "-c", _UP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"up\n"
    made = Machine(folder, compose, commands, holder.pid)
    try:
        yield made
    finally:
        for name, process in made.running.items():
            # The signal that PostgreSQL's image asks for: at SIGTERM it waits until its last client has gone.
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        for process in made.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        holder.communicate()
