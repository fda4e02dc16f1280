"""Jobs as dagster-k8s makes them of the Helm values, the cluster's settings and the assets' own tags."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.step import IExecutionStep
from dagster._core.executor.init import InitExecutorContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.system_config.objects import ResolvedRunConfig
from dagster._core.test_utils import instance_for_test

from cell_assets.cli import commands
from cell_assets.definitions import build_defs
from cell_assets.settings import Executor, Settings
from cell_assets_tests.automation.helm_values import K8S, code_location_of, dagster_yaml_of, helm_values

dagster_k8s = pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed")

from dagster_k8s.container_context import K8sContainerContext  # noqa: E402
from dagster_k8s.executor import K8sStepHandler  # noqa: E402
from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config  # noqa: E402
from kubernetes.client import ApiClient  # noqa: E402

KUBERNETES_VERSIONS = ("1.29.0", "1.37.0")
"""The oldest and newest whose objects the manifests are held against."""

PASSWORD = "canary-93ac"


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return helm_values()


@pytest.fixture(scope="module")
def instance(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dg.DagsterInstance]:
    """Dagster with the chart's settings, and a cluster that nobody asks."""
    kubeconfig = tmp_path_factory.mktemp("cluster") / "config"
    cluster = {"name": "lab", "cluster": {"server": "https://127.0.0.1:1"}}
    user = {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "contexts": [user],
                "users": [{"name": "lab", "user": {}}],
                "current-context": "lab",
            }
        ),
        encoding="utf-8",
    )
    with instance_for_test(overrides=dagster_yaml_of(values, kubeconfig)) as opened:
        yield opened


@pytest.fixture(scope="module")
def job() -> dg.JobDefinition:
    settings = Settings(
        executor=Executor.K8S,
        kubernetes=K8S / "kubernetes.yaml",
        home=Path("/lab/cell_assets"),
        database_url=f"postgresql://somebody:{PASSWORD}@db.example.org/cell_assets",
    )
    return build_defs(settings).resolve_implicit_global_asset_job_def()


@pytest.fixture(scope="module")
def handler(instance: dg.DagsterInstance, job: dg.JobDefinition) -> K8sStepHandler:
    """What starts steps, made by this project's executor."""
    config = ResolvedRunConfig.build(job, {}).execution.execution_engine_config
    executor = job.executor_def.executor_creation_fn(
        InitExecutorContext(InMemoryJob(job), job.executor_def, config, instance)
    )
    (found,) = [part for part in vars(executor).values() if isinstance(part, K8sStepHandler)]
    return found


def run_of(values: Mapping[str, Any], job: dg.JobDefinition) -> DagsterRun:
    origin = RepositoryPythonOrigin(
        executable_path="python",
        code_pointer=ModuleCodePointer("cell_assets.definitions", "defs"),
        container_image="cell-assets:0.1.0",
        container_context=code_location_of(values),
    )
    return DagsterRun(job_name=job.name, job_code_origin=JobPythonOrigin(job.name, origin))


@pytest.fixture(scope="module")
def manifests(
    values: dict[str, Any], instance: dg.DagsterInstance, job: dg.JobDefinition, handler: K8sStepHandler
) -> dict[str, dict[str, Any]]:
    """The job of every step, as it goes to Kubernetes."""
    run = run_of(values, job)
    return {step.key: manifest_of(step, run, instance, handler) for step in create_execution_plan(job).steps}


def manifest_of(
    step: IExecutionStep, run: DagsterRun, instance: dg.DagsterInstance, handler: K8sStepHandler
) -> dict[str, Any]:
    launcher = instance.run_launcher
    assert isinstance(launcher, dagster_k8s.K8sRunLauncher)
    context = (
        K8sContainerContext.create_for_run(run, launcher, include_run_tags=False)
        .merge(handler._executor_container_context)
        .merge(K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(step.tags or {})))
    )
    config = context.get_k8s_job_config("cell-assets:0.1.0", launcher)
    made = construct_dagster_k8s_job(
        job_config=config,
        args=["dagster", "api", "execute_step"],
        job_name=f"dagster-step-{step.key}".replace("_", "-"),
        component="step_worker",
        user_defined_k8s_config=context.run_k8s_config,
        labels={"dagster/op": step.key},
    )
    plain: dict[str, Any] = ApiClient().sanitize_for_serialization(made)
    return plain


def container_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_job_of_every_step_is_one_that_kubernetes_takes(
    manifests: dict[str, dict[str, Any]], version: str
) -> None:
    assert {"dynaclr_checkpoint", "experiment_manifest", "fov_chain"} <= set(manifests)
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_what_is_wrong_with_a_job_would_be_seen(manifests: dict[str, dict[str, Any]]) -> None:
    wrong = json.loads(json.dumps(manifests["dynaclr_checkpoint"]))
    wrong["spec"]["template"]["spec"]["tolerations"][0]["tolerationSecond"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSIONS[-1], strict=True)


def test_a_gpu_step_asks_for_a_gpu_on_a_node_that_has_one(manifests: dict[str, dict[str, Any]]) -> None:
    pod = manifests["dynaclr_checkpoint"]["spec"]["template"]["spec"]
    container = container_of(manifests["dynaclr_checkpoint"])
    assert container["resources"] == {
        "requests": {"cpu": "8", "memory": "64Gi"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "1"},
    }
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}} in pod["volumes"]
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]


def test_a_cpu_step_asks_for_no_gpu(manifests: dict[str, dict[str, Any]]) -> None:
    pod = manifests["experiment_manifest"]["spec"]["template"]["spec"]
    assert container_of(manifests["experiment_manifest"])["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "16Gi"},
    }
    assert not {"nodeSelector", "tolerations"} & pod.keys()


def test_every_pod_reaches_store_database_and_instance_once(manifests: dict[str, dict[str, Any]]) -> None:
    for manifest in manifests.values():
        pod, container = manifest["spec"]["template"]["spec"], container_of(manifest)
        for named in (pod["volumes"], container["volumeMounts"], container["env"]):
            assert len({one["name"] for one in named}) == len(named)
        assert len({mount["mountPath"] for mount in container["volumeMounts"]}) == len(
            container["volumeMounts"]
        )
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["cell-assets-home"] == "/lab"
        assert mounts["cell-assets-kubernetes"] == "/etc/cell-assets"
        assert set(mounts) <= {volume["name"] for volume in pod["volumes"]}
        assert {
            "name": "cell-assets-home",
            "persistentVolumeClaim": {"claimName": "cell-assets-home"},
        } in pod["volumes"]
        assert container["envFrom"] == [{"secretRef": {"name": "cell-assets-database"}}]
        env = {one["name"]: one.get("value") for one in container["env"]}
        assert env["CELL_ASSETS_EXECUTOR"] == "k8s"
        assert env["CELL_ASSETS_HOME"] == "/lab/cell_assets"
        assert env["CELL_ASSETS_KUBERNETES"] == "/etc/cell-assets/kubernetes.yaml"


def test_every_pod_runs_without_rights(manifests: dict[str, dict[str, Any]]) -> None:
    for manifest in manifests.values():
        pod, security = manifest["spec"]["template"]["spec"], container_of(manifest)["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False


def test_kubernetes_starts_no_step_a_second_time_by_itself(manifests: dict[str, dict[str, Any]]) -> None:
    for manifest in manifests.values():
        assert manifest["spec"]["backoffLimit"] == 0
        assert manifest["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_steps_are_owned_by_the_pod_of_their_run(handler: K8sStepHandler) -> None:
    assert handler._enable_owner_references is True


def test_dagster_takes_the_values_and_caps_the_pool(instance: dg.DagsterInstance) -> None:
    pools = instance.get_concurrency_config().pool_config
    assert (pools.default_pool_limit, str(pools.pool_granularity)) == (1, "PoolGranularity.OP")
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert instance.run_retries_max_retries == 2
    assert instance.run_retries_retry_on_asset_or_op_failure is False


def test_no_password_is_in_a_manifest_tag_or_config(
    manifests: dict[str, dict[str, Any]], job: dg.JobDefinition, handler: K8sStepHandler
) -> None:
    """The address that the definitions were built with holds one."""
    plan = create_execution_plan(job)
    config = ResolvedRunConfig.build(job, {}).to_dict()
    snapshot = dg.serialize_value(job.get_job_snapshot())
    said = [
        json.dumps(manifests),
        *(json.dumps(dict(step.tags or {})) for step in plan.steps),
        json.dumps(dict(job.tags)),
        json.dumps(config, default=str),
        snapshot,
        repr(handler._executor_container_context),
    ]
    assert "cell-assets-database" in said[0]
    assert not [text[:80] for text in said if PASSWORD in text]


def test_the_values_hold_no_secret_and_name_those_they_need(values: dict[str, Any]) -> None:
    text = (K8S / "values.yaml").read_text(encoding="utf-8") + (K8S / "kubernetes.yaml").read_text(
        encoding="utf-8"
    )
    assert not re.search(r"postgresqlPassword|://[^/\s]*:[^/\s]*@|BEGIN [A-Z ]*PRIVATE KEY", text)
    assert values["generatePostgresqlPasswordSecret"] is False
    assert values["postgresql"]["enabled"] is False


def test_auditors_have_a_webserver_of_their_own_without_the_ledgers_password(values: dict[str, Any]) -> None:
    webserver = values["dagsterWebserver"]
    assert webserver["enableReadOnly"] is True
    assert webserver["service"]["type"] == "ClusterIP"
    assert "envSecrets" not in webserver


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_volume_is_one_that_kubernetes_takes_and_that_pods_name(
    values: dict[str, Any], version: str
) -> None:
    claim = yaml.safe_load((K8S / "volume.yaml").read_text(encoding="utf-8"))
    kubernetes_validate.validate(claim, version, strict=True)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    volumes = values["runLauncher"]["config"]["k8sRunLauncher"]["volumes"]
    assert claim["metadata"]["name"] in [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    ]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_another_machine_of_a_training_has_what_a_gpu_step_has(values: dict[str, Any], version: str) -> None:
    job = yaml.safe_load((K8S / "training_node.yaml").read_text(encoding="utf-8"))
    kubernetes_validate.validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    gpu = yaml.safe_load((K8S / "kubernetes.yaml").read_text(encoding="utf-8"))["gpu"]
    assert (pod["nodeSelector"], pod["tolerations"]) == (gpu["node_selector"], gpu["tolerations"])
    (container,) = pod["containers"]
    asked = {"cpu": str(gpu["cpus"]), "memory": gpu["memory"]}
    assert container["resources"]["requests"] == asked
    assert container["resources"]["limits"] == {**asked, "nvidia.com/gpu": str(gpu["gpus"])}
    (deployed,) = values["dagster-user-deployments"]["deployments"]
    assert pod["securityContext"] == deployed["podSecurityContext"]
    assert container["securityContext"] == deployed["securityContext"]
    homes = [
        {one["name"]: one["value"] for one in where["env"] if "value" in one}["CELL_ASSETS_HOME"]
        for where in (container, deployed)
    ]
    assert homes[0] == homes[1]
    assert [one["secretRef"] for one in container["envFrom"]] == deployed["envSecrets"]
    image = deployed["image"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"
    context = click.Context(commands)
    program, name, *arguments = container["args"]
    command = commands.get_command(context, name)
    assert program == "cell-assets" and command is not None
    parsed = command.make_context(name, arguments, parent=context).params
    assert parsed == {"experiment": "E1", "method": "dynaclr", "node": 1}
