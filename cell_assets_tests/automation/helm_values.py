"""What the Dagster chart makes of `docker/k8s/values.yaml`: the parts of dagster.yaml and of the code location."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "docker" / "k8s"


def helm_values() -> dict[str, Any]:
    """The values as they are shipped."""
    loaded: dict[str, Any] = yaml.safe_load((K8S / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def launcher_of(values: Mapping[str, Any], kubeconfig: Path) -> dict[str, Any]:
    """`run_launcher` of dagster.yaml, as the chart's template writes it."""
    given = dict(values["runLauncher"]["config"]["k8sRunLauncher"])
    raw = given.pop("runK8sConfig")
    given |= {"loadInclusterConfig": False, "kubeconfigFile": str(kubeconfig)}
    for names in ("envSecrets", "envConfigMaps"):
        given[names] = _by_name(given[names])
    config = {_snake(name): value for name, value in given.items()}
    config |= {
        "job_namespace": "lab",
        "service_account_name": "cell-assets",
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "cell-assets-dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "run_k8s_config": {_snake(name): value for name, value in raw.items()},
    }
    return {"module": "dagster_k8s", "class": values["runLauncher"]["type"], "config": config}


def code_location_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What runs of the code location get, as the chart's template writes it."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    kept = {_snake(name): deployment[name] for name in ("volumes", "volumeMounts", "resources", "env")}
    return {
        "k8s": {
            **kept,
            "image_pull_policy": deployment["image"]["pullPolicy"],
            "env_secrets": _by_name(deployment["envSecrets"]),
            "namespace": "lab",
            "service_account_name": "cell-assets-user-deployments",
        }
    }


def dagster_yaml_of(values: Mapping[str, Any], kubeconfig: Path) -> dict[str, Any]:
    """The parts of dagster.yaml that these values decide."""
    daemon = values["dagsterDaemon"]
    return {
        "run_launcher": launcher_of(values, kubeconfig),
        "run_monitoring": {_snake(name): value for name, value in daemon["runMonitoring"].items()},
        "run_retries": {_snake(name): value for name, value in daemon["runRetries"].items()},
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _by_name(names: list[dict[str, str]]) -> list[str]:
    return [one["name"] for one in names]
