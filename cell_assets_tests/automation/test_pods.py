"""What each asset's step asks of a cluster, and which failures are worth another pod."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan

from cell_assets.assets.fov_chain import fov_chain
from cell_assets.assets.gpu_assets import gpu_assets
from cell_assets.automation.failures import failure_sentence
from cell_assets.automation.kubernetes_settings import KubernetesSettings
from cell_assets.automation.pods import GPU_POOL, POD_CONFIG, in_pods
from cell_assets.definitions import build_defs
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.settings import Executor, Settings
from cell_assets_tests.automation.test_kubernetes_settings import NEEDED, written
from cell_assets_tests.end_to_end.lab import instance_of, opened

pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed")

GPU_ASSETS = {
    "cytosummary_checkpoint",
    "cytosummary_profiles",
    "dynaclr_attribution",
    "dynaclr_bleaching",
    "dynaclr_checkpoint",
    "dynaclr_embeddings",
    "state_segmentation",
    "supervised_profiles",
}
"""What trains a network or applies one, as was reviewed."""

GPU = {
    "cpus": 6,
    "memory": "48Gi",
    "gpus": 2,
    "shared_memory": "16Gi",
    "image": "cell-assets:cuda",
    "node_selector": {"pool": "a100"},
    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = written(
        tmp_path_factory.mktemp("cluster"), NEEDED | {"gpu": GPU, "cpu": {"cpus": 3, "memory": "6Gi"}}
    )
    return Settings(
        executor=Executor.K8S,
        kubernetes=file,
        home=Path("/lab/home"),
        database_url="postgresql://somebody@db.example.org/cell_assets",
    )


@pytest.fixture(scope="module")
def in_cluster(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


@pytest.fixture(scope="module")
def steps(in_cluster: dg.Definitions) -> dict[str, dict[str, Any]]:
    """Asset to what its step carries in the plan of a run, which is where the executor reads it."""
    job = in_cluster.resolve_implicit_global_asset_job_def()
    found = {}
    for step in create_execution_plan(job).steps:
        made_by = job.asset_layer.get_assets_def_for_node(step.node_handle)
        assert made_by is not None
        for key in made_by.keys:
            found[key.to_user_string()] = json.loads(step.tags[POD_CONFIG])
    return found


def test_every_asset_says_what_its_pod_needs(in_cluster: dg.Definitions, steps: dict[str, Any]) -> None:
    everything = {key.to_user_string() for key in in_cluster.resolve_all_asset_keys()}
    assert set(steps) == everything
    assert gpu_assets() == GPU_ASSETS <= everything


def test_gpu_assets_ask_for_gpus_and_no_other_does(steps: dict[str, Any]) -> None:
    asking = {
        name
        for name, config in steps.items()
        if any("gpu" in limit for limit in config["container_config"]["resources"]["limits"])
    }
    assert asking == GPU_ASSETS
    for name in GPU_ASSETS:
        container, pod = steps[name]["container_config"], steps[name]["pod_spec_config"]
        assert container["resources"] == {
            "requests": {"cpu": "6", "memory": "48Gi"},
            "limits": {"memory": "48Gi", "nvidia.com/gpu": "2"},
        }
        assert container["image"] == "cell-assets:cuda"
        assert pod["node_selector"] == {"pool": "a100"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        (volume,), (mount,) = pod["volumes"], container["volume_mounts"]
        assert volume["empty_dir"] == {"medium": "Memory", "size_limit": "16Gi"}
        assert (mount["name"], mount["mount_path"]) == (volume["name"], "/dev/shm")


def test_other_assets_ask_for_cores_and_memory(steps: dict[str, Any]) -> None:
    for name in set(steps) - GPU_ASSETS:
        assert set(steps[name]) == {"container_config"}
        assert steps[name]["container_config"]["resources"] == {
            "requests": {"cpu": "3", "memory": "6Gi"},
            "limits": {"memory": "6Gi"},
        }


def test_threads_and_workers_are_the_cores_that_were_asked_for(steps: dict[str, Any]) -> None:
    """Whatever the node has: more would wait for each other and hold memory."""
    for name, config in steps.items():
        cores = "6" if name in GPU_ASSETS else "3"
        env = {one["name"]: one["value"] for one in config["container_config"]["env"]}
        assert env == {"CELL_ASSETS_WORKERS": cores, "OMP_NUM_THREADS": cores}


def test_gpu_assets_alone_are_in_the_pool(in_cluster: dg.Definitions) -> None:
    graph = in_cluster.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.materializable_asset_keys}
    assert {name for name, of in pools.items() if of} == GPU_ASSETS
    assert {pool for of in pools.values() for pool in of} == {GPU_POOL}


def test_a_cluster_changes_nothing_that_tells_data_apart(in_cluster: dg.Definitions) -> None:
    """Keys, edges, partitions, checks, config and code versions are those of a lab without Kubernetes."""
    here = build_defs(Settings())
    specs, others = (
        {spec.key: spec for spec in defs.resolve_all_asset_specs()} for defs in (in_cluster, here)
    )
    assert specs == others
    for asset, other in zip(definitions_of(in_cluster), definitions_of(here), strict=True):
        assert asset.op.name == other.op.name
        assert asset.check_specs_by_output_name == other.check_specs_by_output_name
        assert asset.op.config_schema.config_type.key == other.op.config_schema.config_type.key
        assert asset.op.required_resource_keys == other.op.required_resource_keys
        assert (asset.backfill_policy, asset.can_subset) == (other.backfill_policy, other.can_subset)
        assert other.op.retry_policy is None
        assert POD_CONFIG not in other.op.tags


def definitions_of(defs: dg.Definitions) -> list[dg.AssetsDefinition]:
    return [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]


def attempts(fail: Callable[[], None]) -> list[str]:
    """Event types, of which some say how often a step that fails once by `fail` was tried, in one run."""
    tried: list[int] = []

    @dg.multi_asset(specs=[dg.AssetSpec("flaky", skippable=True)], can_subset=True)
    def flaky(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        tried.append(1)
        if len(tried) == 1:
            fail()
        yield dg.MaterializeResult(asset_key="flaky")

    kubernetes = KubernetesSettings.model_validate(NEEDED | {"retries": {"attempts": 2, "first_delay_s": 0}})
    result = dg.materialize([in_pods(flaky, kubernetes)], raise_on_error=False)
    return [str(event.event_type_value) for event in result.all_events if event.step_key == "flaky"]


def lost_in_the_middle() -> None:
    raise OSError("the connection was reset")


def asked_to_leave() -> None:
    # What Lightning raises where Kubernetes sends its signal.
    raise SystemExit(143)


@pytest.mark.parametrize("lost", [lost_in_the_middle, asked_to_leave])
def test_what_another_attempt_may_mend_is_tried_again(lost: Callable[[], None]) -> None:
    said = attempts(lost)
    assert said.count("STEP_UP_FOR_RETRY") == 1
    assert said[-1] == "STEP_SUCCESS"


@pytest.mark.parametrize("error", [BadInputError, NotFoundError])
def test_what_a_person_has_to_mend_is_not_tried_again(error: type[Exception]) -> None:
    def refuse() -> None:
        raise error("plate P1 has no position H/12/8")

    said = attempts(refuse)
    assert "STEP_UP_FOR_RETRY" not in said
    assert said[-1] == "STEP_FAILURE"


def test_a_real_body_says_once_what_a_person_has_to_mend(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = postgres_url.replace("/cell_assets?", "/pods?")
    home = tmp_path_factory.mktemp("home")
    kubernetes = KubernetesSettings.model_validate(NEEDED | {"retries": {"attempts": 2, "first_delay_s": 0}})
    with (
        opened(Settings(home=home, database_url=url, workers=1)) as session,
        instance_of(session) as instance,
    ):
        instance.add_dynamic_partitions("plate", ["P9"])
        instance.add_dynamic_partitions("position", ["A/1/000"])
        resources = build_defs(session.settings).resources
        defs = dg.Definitions([in_pods(fov_chain, kubernetes)], resources=resources)
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("segmentation")],
            partition_key=dg.MultiPartitionKey({"plate": "P9", "position": "A/1/000"}),
            raise_on_error=False,
        )
        said = [event.event_type_value for event in result.all_events]
        assert (said.count("STEP_FAILURE"), said.count("STEP_UP_FOR_RETRY")) == (1, 0)
        assert failure_sentence(result.all_events) == "plate P9 has no position A/1/000"
