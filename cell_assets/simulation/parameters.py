"""What a simulated plate is made of: every value that decides its bytes, checked before anything is written.

The number of worker processes is not here, since it must not change a byte.
"""

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cell_assets.errors import BadInputError

CHANNEL_NAMES = ("Phase", "mCherry")
"""Quantitative phase, and the infection sensor (mCherry with a nuclear localisation signal, held at the ER
until the viral protease cuts it free; Pahmeier et al. 2021)."""
ORGANELLE_NAME = "GFP"
"""A marker of an organelle that infection remodels (DynaCLR, Fig. 6), where it is asked for."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, strict=True)]

TYPICAL_NUCLEUS_RADIUS_UM = 6.0
CAMERA_MAXIMUM = 65_535


class CheckedParameters(BaseModel):
    """Frozen values whose faults reach a person as one `BadInputError` that names the field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as fault:
            raise BadInputError(_sentence(type(self).__name__, fault)) from fault


class ConditionParameters(CheckedParameters):
    """What the wells of one plate column were given."""

    virus: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+-]*$")
    """Name in the plate map, for example `mock` or `DENV`."""
    moi: NotNegative = 0.0
    """Infectious particles per cell; a cell stays clean with probability exp(-moi) (Poisson)."""
    is_control: bool = False


class SimulationParameters(CheckedParameters):
    """One plate: columns are conditions, rows are replicate wells. The defaults are the demo.

    Axes are (T, C, Z, Y, X), lengths µm, intervals minutes, ages and infection times hours.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    conditions: tuple[ConditionParameters, ...] = (
        ConditionParameters(virus="mock", moi=0.0, is_control=True),
        ConditionParameters(virus="DENV", moi=5.0),
    )
    wells_per_condition: Annotated[int, Field(ge=1, le=26, strict=True)] = 1
    fovs_per_well: Annotated[int, Field(ge=1, le=1000, strict=True)] = 3
    time_points: Count = 24
    interval_min: Positive = 30.0
    start_hours_post_perturbation: NotNegative = 3.0
    """Hours between adding the virus and the first frame."""
    shape_zyx: tuple[Count, Count, Count] = (5, 192, 192)
    voxel_um_zyx: tuple[Positive, Positive, Positive] = (3.0, 0.5, 0.5)
    write_true_labels: bool = True
    """Write nuclear masks (uint16, value = track_id) into the plate, as label image `nuclei`."""
    organelle_channel: bool = False
    """Image a third channel, GFP: a network over the cytoplasm that infection gathers round the nucleus."""

    cells_per_fov: Count = 11
    """Cells inside each field of view at the first frame; the margin around it has the same density."""
    speed_um_per_hour: NotNegative = 7.0
    persistence_hours: Positive = 0.75
    """Memory of the velocity (persistent random walk, an Ornstein-Uhlenbeck process)."""
    cycle_hours: Annotated[float, Field(ge=4, allow_inf_nan=False)] = 20.0
    """Mean time from birth to division; single cells vary by 12 % (standard deviation)."""
    mitosis_hours: Annotated[float, Field(ge=0.25, le=3)] = 1.25
    """From the start of rounding to the split; daughters stay round for a further half hour."""

    susceptible_share: Share = 0.92
    """Share of cells that an infectious particle can infect at all."""
    onset_median_hours: Positive = 7.5
    """Median hours post perturbation at which half of a cell's sensor has left the ER."""
    onset_log_sd: NotNegative = 0.28
    """Standard deviation of the logarithm of the onset time."""
    translocation_hours: Positive = 4.0
    """Time in which the sensor goes from 10 % to 90 % of its way into the nucleus."""

    photobleaching_per_hour: NotNegative = 0.03
    """Rate at which the sensor dims, as the exponent of exp(-rate * hours since the first frame)."""
    drift_um_per_hour: NotNegative = 0.25
    """Stage drift in one random direction, shared by all fields of the plate."""
    drift_jitter_um: NotNegative = 0.15
    """Standard deviation of each field's own misplacement at each frame after the first."""
    sensor_photons: Positive = 90.0
    """Median photons per voxel where the sensor is densest, before the blur."""
    background_photons: NotNegative = 20.0
    photon_gain: Positive = 2.0
    """Camera counts per photon."""
    camera_offset: Annotated[int, Field(ge=0, le=1000, strict=True)] = 100
    read_noise_counts: NotNegative = 3.0
    phase_noise: NotNegative = 0.05
    """Standard deviation of the phase image's Gaussian noise; a cell's cytoplasm is about 1."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "SimulationParameters":
        if not 1 <= len(self.conditions) <= 48:
            raise BadInputError(
                f"SimulationParameters conditions has {len(self.conditions)} entries; give 1 to 48, one "
                "plate column each"
            )
        _, height_px, width_px = self.shape_zyx
        if min(height_px, width_px) < 32:
            raise BadInputError(
                f"SimulationParameters shape_zyx is {self.shape_zyx}; a field of view needs at least "
                "32 pixels in y and in x"
            )
        if self.cells_per_fov > self.most_cells_per_fov:
            raise BadInputError(
                f"SimulationParameters cells_per_fov is {self.cells_per_fov}, but a field of "
                f"{self.extent_um[0]:g} x {self.extent_um[1]:g} µm holds at most "
                f"{self.most_cells_per_fov} cells; lower it or enlarge shape_zyx"
            )
        if (full := self.photon_gain * self.sensor_photons * 20 + self.camera_offset) > CAMERA_MAXIMUM:
            raise BadInputError(
                f"SimulationParameters sensor_photons * photon_gain would let bright cells reach {full:.0f} "
                f"counts, past the camera's {CAMERA_MAXIMUM}; lower one of them"
            )
        return self

    @property
    def extent_um(self) -> tuple[float, float]:
        """Height and width of a field of view."""
        return (
            self.shape_zyx[1] * self.voxel_um_zyx[1],
            self.shape_zyx[2] * self.voxel_um_zyx[2],
        )

    @property
    def most_cells_per_fov(self) -> int:
        """Cells whose nuclei cover 60 % of a field of view; more could not keep apart."""
        height_um, width_um = self.extent_um
        return int(0.6 * height_um * width_um / (math.pi * TYPICAL_NUCLEUS_RADIUS_UM**2))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the image channels, in their order."""
        return (*CHANNEL_NAMES, ORGANELLE_NAME) if self.organelle_channel else CHANNEL_NAMES

    @property
    def interval_hours(self) -> float:
        return self.interval_min / 60

    @property
    def n_positions(self) -> int:
        return len(self.conditions) * self.wells_per_condition * self.fovs_per_well

    @property
    def raw_bytes(self) -> int:
        """Uncompressed size of the plate's pixels and label masks, all of 2 bytes a voxel."""
        arrays = len(self.channel_names) + int(self.write_true_labels)
        return 2 * arrays * self.n_positions * self.time_points * math.prod(self.shape_zyx)


def _sentence(owner: str, fault: ValidationError) -> str:
    """The first fault in one sentence with field, value and remedy."""
    first = fault.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "values"
    if first["type"] == "extra_forbidden":
        return f"{owner} has no field {field}; remove it or correct its spelling"
    return f"{owner} {field} is {first['input']!r}: {first['msg'].lower()}; give another value"
