"""Limits that a person sets for a plate's quality, and what is done with what lies beyond them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class Level(StrEnum):
    """What a measure is about, and so what is left out where it is beyond a limit."""

    FRAME = "frame"
    """One time point of one FOV."""
    FOV = "FOV"
    WELL = "well"
    PLATE = "plate"


class Measure(StrEnum):
    """A measure of plate_qc that may have a limit; each belongs to one level."""

    FOCUS_SLOPE = "focus_slope"
    HIGH_FREQUENCY_SHARE = "high_frequency_share"
    BACKGROUND = "background"
    OVER_BACKGROUND = "over_background"
    SATURATED_SHARE = "saturated_share"
    DRIFT_UM = "drift_um"
    BLEACHING_RATE_PER_MIN = "bleaching_rate_per_min"
    N_CELLS = "n_cells"
    """Median over the frames of a well, from labels that came with the plate."""
    FLATNESS_MIN_OVER_MAX = "flatness_min_over_max"
    FLATNESS_CV = "flatness_cv"
    POSITION_SHARE = "position_share"
    """Of the wells' deviations, what rows and columns explain: the edge effect."""
    Z_PRIME = "z_prime"
    ROBUST_Z_PRIME = "robust_z_prime"
    SSMD = "ssmd"
    """Its size: the sign says only which control's name sorts first."""
    ROBUST_SSMD = "robust_ssmd"

    @property
    def level(self) -> Level:
        """What is beyond a limit of this measure: a frame, an FOV, a well or a plate."""
        return _OTHER_LEVELS.get(self, Level.FRAME)

    @property
    def compares_wells(self) -> bool:
        """Whether it says how wells of a plate differ in a value, which a threshold then names."""
        return self in _COMPARISONS


_OTHER_LEVELS = {
    Measure.BLEACHING_RATE_PER_MIN: Level.FOV,
    Measure.N_CELLS: Level.WELL,
    Measure.FLATNESS_MIN_OVER_MAX: Level.PLATE,
    Measure.FLATNESS_CV: Level.PLATE,
    Measure.POSITION_SHARE: Level.PLATE,
    Measure.Z_PRIME: Level.PLATE,
    Measure.ROBUST_Z_PRIME: Level.PLATE,
    Measure.SSMD: Level.PLATE,
    Measure.ROBUST_SSMD: Level.PLATE,
}
_COMPARISONS = frozenset(
    {
        Measure.POSITION_SHARE,
        Measure.Z_PRIME,
        Measure.ROBUST_Z_PRIME,
        Measure.SSMD,
        Measure.ROBUST_SSMD,
    }
)


class ComparedValue(StrEnum):
    """A value of wells by which controls, and edge and interior, are compared."""

    OVER_BACKGROUND = "over_background"
    BACKGROUND = "background"
    HIGH_FREQUENCY_SHARE = "high_frequency_share"
    N_CELLS = "n_cells"


class Action(StrEnum):
    """What is done with what lies beyond a threshold."""

    WARN = "warn"
    """It is named by a check."""
    EXCLUDE = "exclude"
    """It is named by a check and left out of the experiment's manifest, and so of everything after it."""


class Threshold(BaseModel):
    """Lowest and highest value of a measure that is still good, both included; at least one is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    measure: Measure
    """What is measured."""
    of: ComparedValue | None = None
    """For a measure that compares wells: the value by which they are compared."""
    channel: str | None = None
    """None: every channel."""
    low: float | None = None
    """Lowest value that is still good."""
    high: float | None = None
    """Highest value that is still good."""
    action: Action = Action.WARN
    """What is done with what lies beyond."""

    @model_validator(mode="after")
    def _can_be_held(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError(f"threshold of {self.measure.value}: give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"threshold of {self.measure.value}: low {self.low:g} is above high {self.high:g}"
            )
        if self.measure.compares_wells and self.of is None:
            named = ", ".join(ComparedValue)
            raise ValueError(f"threshold of {self.measure.value}: say of which value, of: {named}")
        if not self.measure.compares_wells and self.of is not None:
            raise ValueError(f"threshold of {self.measure.value}: it is of no other value, leave `of` out")
        if self.channel is not None and "n_cells" in (self.measure, self.of):
            raise ValueError("threshold of n_cells: cells are counted in no channel, leave channel out")
        return self

    @property
    def title(self) -> str:
        """The measure as it is named to people, for example `z_prime of over_background`."""
        return self.measure.value if self.of is None else f"{self.measure.value} of {self.of.value}"


def excluding(thresholds: Sequence[Threshold]) -> tuple[Threshold, ...]:
    """The thresholds beyond which cells are left out."""
    return tuple(threshold for threshold in thresholds if threshold.action is Action.EXCLUDE)
