"""What a lab says of its Kubernetes cluster: the YAML file that CELL_ASSETS_KUBERNETES names.

Only what steps need beyond the pod of their run is said here. Namespace, image, environment and security context
are those of the run's own pod, which the Helm chart's run launcher makes.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cell_assets.errors import BadInputError
from cell_assets.landing.typed_yaml import MAX_BYTES, parse_yaml

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_BYTES = re.compile(r"([1-9][0-9]*)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
_FACTORS = {unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)} | {
    unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)
}


def _object_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("give the name of a Kubernetes object: lower-case letters, digits, '-' and '.'")
    return name


def _quantity(text: str) -> str:
    if not _BYTES.fullmatch(text):
        raise ValueError("give whole bytes with a unit, such as 8Gi")
    return text


def _mount_path(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/") or ":" in text:
        raise ValueError("give an absolute path below /, without '..' and ':'")
    return str(path)


ObjectName = Annotated[str, AfterValidator(_object_name)]
Quantity = Annotated[str, AfterValidator(_quantity)]
MountPath = Annotated[str, AfterValidator(_mount_path)]


def bytes_of(quantity: Quantity) -> int:
    """Bytes that a checked quantity such as `8Gi` stands for."""
    match = _BYTES.fullmatch(quantity)
    assert match is not None
    return int(match[1]) * _FACTORS.get(match[2], 1)


class _Typed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SharedVolume(_Typed):
    """The volume that holds CELL_ASSETS_HOME: the store or copies of it, and what unfinished trainings go on from."""

    claim: ObjectName
    """A PersistentVolumeClaim that pods of several nodes may write to (ReadWriteMany)."""
    mount_path: MountPath
    """Where it lies in every pod; CELL_ASSETS_HOME is this folder or one below it."""


class Toleration(_Typed):
    """A taint of GPU nodes that GPU steps do not mind."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """None: every effect."""

    @model_validator(mode="after")
    def _value_is_for_equal(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("operator Equal needs a value, and Exists has none")
        return self


class CpuSteps(_Typed):
    """What every step gets that needs no GPU."""

    cpus: int = Field(default=2, ge=1)
    """Cores; as many threads and worker processes run, however many the node has."""
    memory: Quantity = "8Gi"
    """Asked for, and the most that it may use."""


class GpuSteps(_Typed):
    """What every step gets that computes with a network."""

    cpus: int = Field(default=4, ge=1)
    """As for CPU steps."""
    memory: Quantity = "32Gi"
    """As for CPU steps, shared memory included."""
    gpus: int = Field(default=1, ge=1)
    """Of each step; as many as the most `devices` that a training asks for."""
    resource: str = "nvidia.com/gpu"
    """Under which name nodes offer GPUs."""
    shared_memory: Quantity = "8Gi"
    """Size of /dev/shm, through which processes of one training hand each other arrays; Kubernetes' own is 64 MiB."""
    image: str | None = None
    """With CUDA, where the image of the run's pod is the one for processors alone; None: that of the run's pod."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that have the GPUs."""
    tolerations: tuple[Toleration, ...] = (Toleration(key="nvidia.com/gpu", effect="NoSchedule"),)

    @model_validator(mode="after")
    def _shared_memory_is_memory(self) -> Self:
        if bytes_of(self.shared_memory) >= bytes_of(self.memory):
            raise ValueError(
                f"shared_memory {self.shared_memory} counts as memory, so give less of it than memory {self.memory}"
            )
        return self


class Retries(_Typed):
    """What happens to a step whose pod was evicted, preempted, deleted or killed for its memory."""

    attempts: int = Field(default=3, ge=0)
    """After the first."""
    first_delay_s: float = Field(default=30.0, ge=0)
    """Seconds before the second attempt; three times as many before the third, seven times before the fourth."""


class KubernetesSettings(_Typed):
    """All of it."""

    volume: SharedVolume | None = None
    """None: pods share no folder, for which artifacts have to be kept in a bucket (CELL_ASSETS_STORE). A training whose
    pod is lost then begins anew, and each pod brings the artifacts that it reads."""
    database_secret: ObjectName
    """A Secret whose key CELL_ASSETS_DATABASE_URL is the address of PostgreSQL; its value is in no manifest."""
    service_account: ObjectName | None = None
    """Of steps, which ask nothing of Kubernetes; None: that of the run's pod, which may start jobs."""
    cpu: CpuSteps = CpuSteps()
    gpu: GpuSteps = GpuSteps()
    retries: Retries = Retries()


def read_kubernetes_settings(path: Path) -> KubernetesSettings:
    """The file's fields.

    Raises:
        BadInputError: it cannot be read, or a field is missing, unknown or has a value that it cannot have.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(
            f"CELL_ASSETS_KUBERNETES={path} cannot be read: {error.strerror}; name the YAML file that describes the "
            "cluster, as docker/k8s/kubernetes.yaml does"
        ) from error
    return parse_yaml(KubernetesSettings, content, str(path), "database_secret: cell-assets-database")
