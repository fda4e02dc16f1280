"""A Kubernetes for the tests in this folder: one control plane and one node a session, one namespace a test."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from cell_assets_tests.k8s.cluster.control_plane import ControlPlane, control_plane, has_service_account
from cell_assets_tests.k8s.cluster.kubelet import Node, ProcessKubelet
from cell_assets_tests.k8s.cluster.programs import NotBuiltError, programs_folder
from cell_assets_tests.k8s.waiting import wait_until

_fresh = itertools.count()


@contextmanager
def _new_plane() -> Iterator[ControlPlane]:
    try:
        programs = programs_folder()
    except NotBuiltError as error:
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="cell_assets_kubernetes_"))
    try:
        with control_plane(programs, folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """The control plane; skips, with what the build said, where it is not built."""
    with _new_plane() as running:
        yield running


@pytest.fixture(scope="module")
def own_plane() -> Iterator[ControlPlane]:
    """A control plane of the module's own, which has no nodes; skips as `plane` does."""
    with _new_plane() as running:
        yield running


@pytest.fixture(scope="session")
def kubelet(plane: ControlPlane) -> Iterator[ProcessKubelet]:
    """A node with one GPU."""
    with ProcessKubelet(plane, plane.folder / "node-1", Node()) as running:
        yield running


@pytest.fixture(scope="session")
def core(plane: ControlPlane) -> client.CoreV1Api:
    """Pods, secrets, nodes."""
    return client.CoreV1Api(plane.api_client())


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """An empty namespace in which pods can be made; none of its pods outlives the test."""
    name = f"test-{next(_fresh)}"
    core.create_namespace({"metadata": {"name": name}})
    wait_until(lambda: has_service_account(core, name), lambda: f"{name} has no account")
    yield name
    # Jobs are deleted by the namespace's controller, which would bring back pods that went before them.
    client.BatchV1Api(core.api_client).delete_collection_namespaced_job(
        name, body={"propagationPolicy": "Background"}
    )
    core.delete_collection_namespaced_pod(name, body={"gracePeriodSeconds": 0})
    core.delete_namespace(name)
    wait_until(lambda: not core.list_namespaced_pod(name).items, lambda: core.list_namespaced_pod(name))
