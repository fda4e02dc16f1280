"""etcd, API server, controller manager and scheduler: started on loopback for a test session, and ended with it."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes import client, config

from cell_assets.automation import watchdog

_START_S = 600.0
"""On a busy machine; a program that fails says so at once."""
_CONTROLLERS = (
    "cronjob",
    "garbagecollector",
    "job",
    "namespace",
    "persistentvolume-binder",
    "podgc",
    "pv-protection",
    "pvc-protection",
    "serviceaccount",
    "serviceaccount-token",
    "ttl-after-finished",
)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane; all of its files are below `folder`."""

    folder: Path
    kubeconfig: Path
    """The way in, as an administrator: for clients here and in pods."""
    mark: str
    """Value of `watchdog.MARK` for every process that must end with the test session, pods included."""

    @property
    def certificate(self) -> Path:
        """The API server's own, self-signed for 127.0.0.1; the kubelet serves logs with it too."""
        return self.folder / "certs" / "apiserver.crt"

    @property
    def certificate_key(self) -> Path:
        """Private key of `certificate`."""
        return self.folder / "certs" / "apiserver.key"

    def api_client(self) -> client.ApiClient:
        """A new client of the API; changes nothing global."""
        return config.new_client_from_config(config_file=str(self.kubeconfig))


@contextmanager
def control_plane(programs: Path, folder: Path) -> Iterator[ControlPlane]:
    """Run the four programs with their data in `folder`, an empty one, until the block ends.

    They, and all processes that carry the mark, also end when this process is killed. Raises AssertionError
    with the end of its log when a program does not come up.
    """
    plane = ControlPlane(folder, folder / "kubeconfig", uuid.uuid4().hex)
    # Holds nothing of ours but the pipe, whose end tells it that this process is gone.
    guard = subprocess.Popen(
        [sys.executable, "-I", str(Path(watchdog.__file__)), plane.mark],
        stdin=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )
    try:
        with _started(plane, programs):
            yield plane
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(60)


@contextmanager
def _started(plane: ControlPlane, programs: Path) -> Iterator[None]:
    etcd, peers, api, controllers, scheduler = _free_ports(5)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *options: str) -> None:
        with (plane.folder / f"{name}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [str(programs / name), *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=plane.folder,
                    env={"PATH": os.defpath, watchdog.MARK: plane.mark},
                    umask=0o077,
                    # Ctrl-C in the terminal ends the tests first, and these with them.
                    start_new_session=True,
                )
            )

    def wait(what: str, answers: Callable[[], bool]) -> None:
        until = time.monotonic() + _START_S
        while not answers():
            ended = next((one for one in started if one.poll() is not None), None)
            name = Path(ended.args[0]).name if ended and isinstance(ended.args, list) else "kube-apiserver"
            assert ended is None and time.monotonic() < until, f"no {what}; {name}: {_tail(plane, name)}"
            time.sleep(0.05)

    try:
        start("etcd", *_etcd(etcd, peers))
        start("kube-apiserver", *_api_server(plane, etcd, api))
        wait("ready API server", lambda: _is_ready(plane, api))
        start("kube-controller-manager", *_controller_manager(plane, controllers))
        start("kube-scheduler", *_scheduler(plane, scheduler))
        core = client.CoreV1Api(plane.api_client())
        wait("default service account", lambda: has_service_account(core, "default"))
        yield
    finally:
        # Nothing of theirs is kept, and the API server would first wait for whoever still watches it.
        for program in reversed(started):
            program.kill()
        for program in started:
            program.wait()


def has_service_account(core: client.CoreV1Api, namespace: str) -> bool:
    """Whether pods can be made in a namespace: admission refuses them until its account has a token."""
    accounts = core.list_namespaced_service_account(namespace).items
    return any(account.metadata.name == "default" and account.secrets for account in accounts)


def _etcd(port: int, peers: int) -> Sequence[str]:
    here, there = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    return (
        "--name=tests",
        "--data-dir=etcd",
        f"--listen-client-urls={here}",
        f"--advertise-client-urls={here}",
        f"--listen-peer-urls={there}",
        f"--initial-advertise-peer-urls={there}",
        f"--initial-cluster=tests={there}",
        "--log-level=warn",
    )


def _api_server(plane: ControlPlane, etcd: int, port: int) -> Sequence[str]:
    token = secrets.token_hex(16)
    _write_private(plane.folder / "tokens.csv", f"{token},admin,admin,system:masters\n".encode())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_private(
        plane.folder / "accounts.key",
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
    )
    server = f"https://127.0.0.1:{port}"
    cluster = {"server": server, "certificate-authority": str(plane.certificate)}
    # JSON is YAML, and needs no quoting.
    _write_private(
        plane.kubeconfig,
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "tests", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": token}}],
                "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
                "current-context": "tests",
            }
        ).encode(),
    )
    return (
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--cert-dir=certs",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--token-auth-file=tokens.csv",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-signing-key-file=accounts.key",
        "--service-account-key-file=accounts.key",
        "--feature-gates=TTLAfterFinished=true",
        "--kubelet-preferred-address-types=InternalIP",
    )


def _controller_manager(plane: ControlPlane, port: int) -> Sequence[str]:
    return (
        f"--kubeconfig={plane.kubeconfig}",
        f"--authentication-kubeconfig={plane.kubeconfig}",
        f"--authorization-kubeconfig={plane.kubeconfig}",
        "--bind-address=127.0.0.1",
        "--port=0",
        f"--secure-port={port}",
        "--cert-dir=controller-certs",
        "--leader-elect=false",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--service-account-private-key-file=accounts.key",
        "--feature-gates=TTLAfterFinished=true",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )


def _scheduler(plane: ControlPlane, port: int) -> Sequence[str]:
    # Where it reads a configuration, the scheduler ignores the options that say where to listen.
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1beta1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(plane.kubeconfig)},
        "leaderElection": {"leaderElect": False},
        "healthzBindAddress": f"127.0.0.1:{port}",
        "metricsBindAddress": f"127.0.0.1:{port}",
    }
    (plane.folder / "scheduler.yaml").write_text(json.dumps(configuration))
    return "--config=scheduler.yaml", "--secure-port=0"


def _is_ready(plane: ControlPlane, port: int) -> bool:
    if not plane.certificate.exists():
        return False
    token = json.loads(plane.kubeconfig.read_text())["users"][0]["user"]["token"]
    try:
        with urllib3.PoolManager(ca_certs=str(plane.certificate), retries=False) as pool:
            answer = pool.request(
                "GET", f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {token}"}
            )
    except (urllib3.exceptions.HTTPError, OSError):
        # OSError: the certificate is only half written.
        return False
    return answer.status == 200


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _tail(plane: ControlPlane, name: str) -> str:
    return (plane.folder / f"{name}.log").read_text(errors="replace")[-2000:]


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
