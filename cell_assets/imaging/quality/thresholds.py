"""Limits that a person sets for the measures of frames, and which frames break them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, model_validator


class FrameMeasure(StrEnum):
    """A measure of a frame that may have a limit; see `ChannelFrames.table` for units."""

    FOCUS_SLOPE = "focus_slope"
    HIGH_FREQUENCY_SHARE = "high_frequency_share"
    BACKGROUND = "background"
    OVER_BACKGROUND = "over_background"
    SATURATED_SHARE = "saturated_share"
    DRIFT_UM = "drift_um"


class FrameThreshold(BaseModel):
    """Lowest and highest value of a measure that is still good, both included; at least one is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    measure: FrameMeasure
    channel: str | None = None
    """None: every channel."""
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _states_a_range(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError(f"threshold of {self.measure.value}: give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"threshold of {self.measure.value}: low {self.low:g} is above high {self.high:g}"
            )
        return self


@dataclass(frozen=True)
class Breach:
    """One frame beyond one threshold."""

    fov_name: str
    channel: str
    t: int
    measure: FrameMeasure
    value: float
    limit: float

    def __str__(self) -> str:
        side = "below" if self.value < self.limit else "above"
        return (
            f"{self.fov_name} {self.channel} t={self.t}: {self.measure.value} {self.value:.4g} is {side} "
            f"{self.limit:g}"
        )


def breaches(frames: pd.DataFrame, thresholds: Sequence[FrameThreshold]) -> tuple[Breach, ...]:
    """Every breach, by threshold and then in the order of `frames` (see `ChannelFrames.table`).

    A frame without a value breaks no threshold: that it is empty is told apart.
    """
    return tuple(breach for threshold in thresholds for breach in _breaches_of(frames, threshold))


def _breaches_of(frames: pd.DataFrame, threshold: FrameThreshold) -> Iterator[Breach]:
    measure = threshold.measure
    if threshold.channel is not None:
        frames = frames[frames["channel"] == threshold.channel]
    for row in frames.dropna(subset=[measure.value]).to_dict("records"):
        value = float(row[measure.value])
        for limit, is_beyond in (
            (threshold.low, threshold.low is not None and value < threshold.low),
            (threshold.high, threshold.high is not None and value > threshold.high),
        ):
            if limit is not None and is_beyond:
                yield Breach(str(row["fov_name"]), str(row["channel"]), int(row["t"]), measure, value, limit)
