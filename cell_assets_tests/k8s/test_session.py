"""That nothing outlives the tests, however they end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cell_assets.automation import watchdog
from cell_assets_tests.k8s.cluster.control_plane import ControlPlane
from cell_assets_tests.k8s.waiting import wait_until

pytestmark = pytest.mark.needs_kubernetes

_SESSION = """
import json, sys, time
from pathlib import Path
from kubernetes import client
from cell_assets_tests.k8s.cluster.control_plane import control_plane
from cell_assets_tests.k8s.cluster.kubelet import Node, ProcessKubelet
from cell_assets_tests.k8s.cluster.programs import programs_folder
from cell_assets_tests.k8s.pods import make_pod, wait_for_phase

folder = Path(sys.argv[1])
with control_plane(programs_folder(), folder) as plane, ProcessKubelet(plane, folder / "node", Node()):
    core = client.CoreV1Api(plane.api_client())
    # One process of it leaves the pod's group.
    make_pod(core, "default", "endless", ["sh", "-c", "setsid sleep 1000 & sleep 1000"])
    wait_for_phase(core, "default", "endless", "Running")
    print(json.dumps(plane.mark), flush=True)
    time.sleep(1000)
"""


def test_a_killed_session_leaves_no_process(plane: ControlPlane, tmp_path: Path) -> None:
    session = subprocess.Popen(
        [sys.executable, "-c", _SESSION, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert session.stdout is not None
        mark = json.loads(session.stdout.readline())
        wait_until(lambda: _marked(mark).count("sleep") == 2, lambda: _marked(mark))
        assert {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} < set(_marked(mark))
    finally:
        session.kill()
        session.wait()
    wait_until(lambda: not _marked(mark), lambda: _marked(mark))
    # Another session's, this one's, goes on.
    assert "etcd" in _marked(plane.mark)


def _marked(mark: str) -> list[str]:
    """Programs of the living processes that carry the mark."""
    wanted = f"{watchdog.MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(Path(os.fsdecode((folder / "cmdline").read_bytes().split(b"\0")[0])).name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
