"""`plate.yaml` and `experiment.yaml`: what a lab writes beside its plates, read without trusting it."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from cell_assets.errors import BadInputError
from cell_assets.landing.checksums import ChecksumKind
from cell_assets.landing.typed_yaml import parse_yaml
from cell_assets.ledger.names import check_name

PLATE_FILE = "plate.yaml"
EXPERIMENT_FILE = "experiment.yaml"

_EXAMPLE = "experiment: E1"


def _inside(path: str) -> str:
    """A relative path that stays inside the plate's folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "://" in path or "\0" in path:
        raise ValueError("give a relative path that stays inside the plate's folder")
    return path


def _experiment_name(name: str) -> str:
    return _name("experiment", name)


def _plate_name(name: str) -> str:
    return _name("plate", name)


def _name(kind: str, name: str) -> str:
    try:
        return check_name(kind, name)
    except BadInputError as error:
        raise ValueError(str(error)) from error


Inside = Annotated[str, AfterValidator(_inside)]
ExperimentName = Annotated[str, AfterValidator(_experiment_name)]
PlateName = Annotated[str, AfterValidator(_plate_name)]


class PlateFile(BaseModel):
    """A `plate.yaml`: one plate and how it is to be read. Paths are relative to its folder; lengths in µm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: ExperimentName
    plate: PlateName
    format: str = "auto"
    pattern: str | None = None
    """Template of the filenames, such as `{well}_{fov}_{channel}.tif`."""
    labels: str | None = None
    """Name of the label image that outlines the cells, for OME-Zarr plates with several."""
    source: Inside = "."
    """Where the pixels are; by default the folder itself."""
    plate_map: Inside | None = None
    tracks: Inside | None = None
    states: Inside | None = None
    channel_names: tuple[str, ...] | None = None
    pixel_size_um: tuple[float, float] | None = None
    """(y, x)."""
    z_step_um: float | None = None
    interval_min: float | None = None
    checksums: Inside | None = None
    """A file of `digest  relative/path` lines; the paths start where the file lies."""
    checksum_kind: ChecksumKind | None = None
    """Unset: told by the length, where 64 digits are SHA-256."""
    on_duplicate: Literal["ignore", "quarantine"] = "ignore"
    """What becomes of this folder when the same plate with the same bytes came before from elsewhere."""

    @property
    def side_files(self) -> tuple[str, ...]:
        """Files given beside the pixels."""
        return tuple(path for path in (self.plate_map, self.states, self.checksums) if path is not None)


class ExperimentFile(BaseModel):
    """An `experiment.yaml`: which plates an experiment waits for, and what was chosen for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: ExperimentName
    plates: tuple[PlateName, ...] = ()
    closed: bool = False
    """No other plate is waited for than those that are listed or have arrived."""
    methods: tuple[str, ...] = ()
    choices: dict[str, Any] = {}
    """As `cell-assets run` records them; what is not named here stays as it was chosen before."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.plates and not self.closed:
            raise ValueError("list the plates that it expects, or say `closed: true`")
        if len(set(self.plates)) != len(self.plates):
            raise ValueError("plates names a plate twice")
        return self


def parse_plate_file(content: bytes, where: str) -> PlateFile:
    """A `plate.yaml` from its bytes.

    Raises:
        BadInputError: one sentence that names file, field and value.
    """
    return parse_yaml(PlateFile, content, where, _EXAMPLE)


def parse_experiment_file(content: bytes, where: str) -> ExperimentFile:
    """An `experiment.yaml` from its bytes.

    Raises:
        BadInputError: one sentence that names file, field and value.
    """
    return parse_yaml(ExperimentFile, content, where, _EXAMPLE)
