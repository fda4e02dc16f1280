"""What the steps of assets get when each runs in a pod: machine, retries and pool, all said here and nowhere else.

None of it decides bytes, so none of it is in a code version, a parameter or a digest.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

# Private, and so tied to the pinned version of Dagster.
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction

from cell_assets.assets.gpu_assets import gpu_assets
from cell_assets.automation.kubernetes_settings import CpuSteps, GpuSteps, KubernetesSettings, Retries
from cell_assets.automation.orphaned_steps import leaving_with_run
from cell_assets.errors import CellAssetsError

GPU_POOL = "gpu"
"""All GPU steps of all runs are in it; its limit is set in Dagster's instance."""

POD_CONFIG = "dagster-k8s/config"
"""Op tag that `k8s_job_executor` reads."""

_SHARED_MEMORY = "shared-memory"

Body = Callable[..., Iterator[Any]]


@dataclass(frozen=True)
class StepPod:
    """What one step asks of the cluster."""

    config: Mapping[str, Mapping[str, object]]
    """As `dagster-k8s` reads it: `container_config` and `pod_spec_config`."""
    pool: str | None

    @classmethod
    def of(cls, asset_names: frozenset[str], kubernetes: KubernetesSettings) -> "StepPod":
        """The pod of a step that makes these assets."""
        if asset_names & gpu_assets():
            return cls(_gpu_config(kubernetes.gpu), GPU_POOL)
        return cls(cpu_config(kubernetes.cpu), None)


def in_pods(asset: dg.AssetsDefinition, kubernetes: KubernetesSettings) -> dg.AssetsDefinition:
    """The same asset, whose step says what its pod needs and is tried again when the pod is lost."""
    pod = StepPod.of(frozenset(key.to_user_string() for key in asset.keys), kubernetes)
    op = asset.op
    assert isinstance(op.compute_fn, DecoratedOpFunction)
    step = dg.OpDefinition(
        compute_fn=DecoratedOpFunction(_judged(op.compute_fn.decorated_fn, kubernetes.retries)),
        name=op.name,
        ins=op.ins,
        outs=op.outs,
        description=op.description,
        config_schema=op.config_schema,
        required_resource_keys=set(op.required_resource_keys),
        tags={**op.tags, POD_CONFIG: pod.config},
        retry_policy=dg.RetryPolicy(
            max_retries=kubernetes.retries.attempts,
            delay=kubernetes.retries.first_delay_s,
            backoff=dg.Backoff.EXPONENTIAL,
        ),
        pool=pod.pool,
    )
    # Private as well: Dagster offers no other way to give an asset another op.
    return dg.AssetsDefinition.dagster_internal_init(**{**asset.get_attributes_dict(), "node_def": step})


def cpu_config(steps: CpuSteps) -> dict[str, dict[str, object]]:
    """Modest requests, and memory as a limit, so that a step that needs more ends alone and by its own name."""
    return {"container_config": _container(steps.cpus, steps.memory, {})}


def _gpu_config(steps: GpuSteps) -> dict[str, dict[str, object]]:
    container = _container(steps.cpus, steps.memory, {steps.resource: str(steps.gpus)})
    container["volume_mounts"] = [{"name": _SHARED_MEMORY, "mount_path": "/dev/shm"}]
    if steps.image is not None:
        container["image"] = steps.image
    memory = {"medium": "Memory", "size_limit": steps.shared_memory}
    return {
        "container_config": container,
        "pod_spec_config": {
            "node_selector": dict(steps.node_selector),
            "tolerations": [toleration.model_dump(exclude_none=True) for toleration in steps.tolerations],
            "volumes": [{"name": _SHARED_MEMORY, "empty_dir": memory}],
        },
    }


def _container(cpus: int, memory: str, devices: Mapping[str, str]) -> dict[str, object]:
    return {
        "resources": {
            "requests": {"cpu": str(cpus), "memory": memory},
            "limits": {"memory": memory, **devices},
        },
        # A process in a pod sees all cores of the node.
        "env": [{"name": name, "value": str(cpus)} for name in ("CELL_ASSETS_WORKERS", "OMP_NUM_THREADS")],
    }


def _judged(body: Body, retries: Retries) -> Body:
    """The body, which tells a lost pod from what a person has to mend, and leaves when its run is over.

    Dagster tries a step again after any exception but a `Failure` that forbids it.
    """

    @functools.wraps(body)
    def step(*args: object, **kwargs: object) -> Iterator[Any]:
        context = dg.OpExecutionContext.get()
        try:
            with leaving_with_run(context.instance, context.run_id):
                yield from body(*args, **kwargs)
        except CellAssetsError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except SystemExit as left:
            # What Lightning makes of the signal by which Kubernetes asks a pod to leave.
            raise dg.RetryRequested(retries.attempts, retries.first_delay_s) from left

    return step
