"""Runs whose steps are pods: the executor, and what is refused before anything is launched.

Imported where CELL_ASSETS_EXECUTOR=k8s alone: it needs the package dagster-k8s.
"""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote

import dagster as dg
from dagster_k8s import k8s_job_executor

from cell_assets.automation.kubernetes_settings import (
    KubernetesSettings,
    SharedVolume,
    read_kubernetes_settings,
)
from cell_assets.automation.pods import cpu_config
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.errors import BadInputError
from cell_assets.settings import Settings
from cell_assets.store.bucket import check_bucket_url

HOME_VOLUME = "cell-assets-home"
"""Name of the volume in every pod. The Helm values use the same, so that it is mounted once."""


def kubernetes_of(settings: Settings) -> KubernetesSettings:
    """What the lab says of its cluster.

    Raises:
        BadInputError: it says nothing or what cannot be read, or pods could not reach the database or the store.
    """
    if settings.kubernetes is None:
        raise BadInputError(
            "CELL_ASSETS_EXECUTOR=k8s needs CELL_ASSETS_KUBERNETES: set it to a YAML file such as "
            "docker/k8s/kubernetes.yaml, which says what pods get"
        )
    kubernetes = read_kubernetes_settings(settings.kubernetes)
    _refuse_unreachable_database(settings.database_url)
    _refuse_unshared_store(settings, kubernetes.volume)
    return kubernetes


def _refuse_unshared_store(settings: Settings, volume: SharedVolume | None) -> None:
    if settings.store is not None:
        check_bucket_url(settings.store)
    home = PurePosixPath(settings.home)
    if volume is None:
        if settings.store is None:
            raise BadInputError(
                f"pods share no folder, as {settings.kubernetes} has no volume, and artifacts would be kept in "
                f"CELL_ASSETS_HOME={home} of each: say volume.claim and volume.mount_path there, or set "
                "CELL_ASSETS_STORE to s3://bucket/prefix"
            )
        if not home.is_absolute() or ".." in home.parts or home == PurePosixPath("/"):
            raise BadInputError(
                f"CELL_ASSETS_HOME={home} is where each pod mounts a folder of its own: give an absolute path below /"
            )
        return
    shared = PurePosixPath(volume.mount_path)
    if not home.is_relative_to(shared) or ".." in home.parts:
        raise BadInputError(
            f"CELL_ASSETS_HOME={home} is not on the volume that pods share: {settings.kubernetes} mounts claim "
            f"{volume.claim} at volume.mount_path {shared}; set one to match the other"
        )


def pod_executor(kubernetes: KubernetesSettings, home: Path) -> dg.ExecutorDefinition:
    """Each step is a job of its own, which Kubernetes deletes with the pod of its run.

    Args:
        home: of the lab; without a shared volume, each pod has an empty folder there.
    """
    shared = kubernetes.volume
    volume = (
        {"empty_dir": {}} if shared is None else {"persistent_volume_claim": {"claim_name": shared.claim}}
    )
    resources = cpu_config(kubernetes.cpu)["container_config"]["resources"]
    config: dict[str, object] = {
        "enable_owner_references": True,
        "volumes": [{"name": HOME_VOLUME, **volume}],
        "volume_mounts": [
            {"name": HOME_VOLUME, "mount_path": str(home) if shared is None else shared.mount_path}
        ],
        # By name: a variable with its value would put the password into every job's manifest.
        "env_secrets": [kubernetes.database_secret],
        # Of steps that make no asset, such as those of nightly jobs.
        "resources": resources,
    }
    if kubernetes.service_account is not None:
        config["service_account_name"] = kubernetes.service_account
    return k8s_job_executor.configured(config, name="k8s")


def _refuse_unreachable_database(url: str | None) -> None:
    """Raises BadInputError unless pods can reach the database; its message holds no password."""
    needs = "CELL_ASSETS_EXECUTOR=k8s needs a PostgreSQL server that every pod reaches"
    set_it = "set CELL_ASSETS_DATABASE_URL to postgresql://user:password@host/name"
    if url is None:
        raise BadInputError(f"{needs}, and CELL_ASSETS_DATABASE_URL is not set; {set_it}")
    scheme = url.partition(":")[0]
    if scheme.partition("+")[0] == "sqlite":
        raise BadInputError(f"{needs}, and CELL_ASSETS_DATABASE_URL names SQLite ({scheme}); {set_it}")
    DatabaseAddresses.of(url)
    for host in _hosts(url):
        if not host or host.startswith(("/", "@")):
            raise BadInputError(
                f"{needs}, and CELL_ASSETS_DATABASE_URL names a socket of one machine (host {host or 'left out'}); "
                f"{set_it}"
            )


def _hosts(url: str) -> list[str]:
    """The hosts that libpq would try: those among the options go before those between the slashes."""
    server, _, options = url.partition("://")[2].partition("?")
    options_by_name = parse_qs(options)
    for name in ("hostaddr", "host"):
        if name in options_by_name:
            return options_by_name[name][-1].split(",")
    with_ports = server.partition("/")[0].rpartition("@")[2].split(",")
    return [unquote(re.sub(r":\d*$", "", host)) for host in with_ports]
