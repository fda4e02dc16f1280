"""Segmentation of one position: which backend, with which parameters, into which files.

The output folder holds `labels.zarr` and `segmentation.json` (backend, parameters, objects per frame). How
a volume is thresholded is in `threshold_segmentation`; how labels lie on disk is in `label_store`.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.errors import BadInputError
from cell_assets.imaging.channels import ChannelKind, infer_channel_kind
from cell_assets.imaging.fields_of_view import FieldOfView, FrameSource
from cell_assets.imaging.label_store import open_labels, write_labels
from cell_assets.imaging.threshold_segmentation import (
    ForegroundRule,
    Polarity,
    ThresholdParameters,
    threshold_labels,
)

SEGMENTATION_JSON = "segmentation.json"
_DEFAULT_WIDTH_PX = 14.0


class SegmentationBackend(StrEnum):
    """Where labels come from."""

    AUTO = "auto"
    """GIVEN where the acquisition carries labels, else THRESHOLD; never recorded."""
    GIVEN = "given"
    THRESHOLD = "threshold"


class SegmentationRequest(BaseModel):
    """What a person may ask for; None is filled in by `resolve_segmentation` from the position."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    backend: SegmentationBackend = SegmentationBackend.AUTO
    """Where labels come from."""
    channel: str | None = None
    """Default: the first channel whose name says nucleus, else the first channel."""
    polarity: Polarity | None = None
    """Default: dark in a phase channel, bright in a fluorescence channel."""
    rule: ForegroundRule | None = None
    """Default: local for dark objects, otsu for bright ones."""
    width_px: float | None = Field(default=None, gt=0)
    """Narrowest extent of an object in pixels; give this or `width_um`. Default: 14 px."""
    width_um: float | None = Field(default=None, gt=0)
    """The same in micrometres."""
    min_size: int | None = Field(default=None, ge=1)
    """Voxels. Default: 2.5 times the width's square for `local`, half of a disk or ball for `otsu`."""
    max_size: int | None = Field(default=None, ge=2)
    """Voxels. Default: 5.5 times `min_size` for `local`, 20 times for `otsu`."""


class ResolvedSegmentation(BaseModel):
    """A backend with every parameter: what is recorded and what runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal[SegmentationBackend.GIVEN, SegmentationBackend.THRESHOLD]
    threshold: ThresholdParameters | None = None
    """Only for THRESHOLD."""


class SegmentationRecord(BaseModel):
    """Content of `segmentation.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.segmentation"] = "cell_assets.segmentation"
    version: Literal[1] = 1
    position: str
    parameters: ResolvedSegmentation
    objects_per_frame: tuple[int, ...]


def resolve_segmentation(
    source: FrameSource, fov: FieldOfView, request: SegmentationRequest
) -> ResolvedSegmentation:
    """Fill in what `request` leaves open, so that AUTO and defaults never reach a record.

    Raises:
        BadInputError: the channel does not exist, both widths are given, or GIVEN is asked of a position
            without labels.
    """
    has_labels = source.has_labels(fov.position)
    if request.backend is SegmentationBackend.GIVEN and not has_labels:
        raise BadInputError(
            f"{fov.position}: segmentation backend 'given' needs labels, and the acquisition carries none; "
            "use 'threshold'"
        )
    if request.backend is SegmentationBackend.GIVEN or (
        request.backend is SegmentationBackend.AUTO and has_labels
    ):
        return ResolvedSegmentation(backend=SegmentationBackend.GIVEN)
    return ResolvedSegmentation(
        backend=SegmentationBackend.THRESHOLD, threshold=_resolve_threshold(fov, request)
    )


def segment_position(
    source: FrameSource, fov: FieldOfView, parameters: ResolvedSegmentation, folder: Path
) -> SegmentationRecord:
    """Segment every frame of a position into `folder` (which exists and is empty).

    Memory: one frame, its labels and one shard of labels.

    Raises:
        BadInputError: given labels are missing for a frame or have another shape than the position.
    """
    counts: list[int] = []
    write_labels(folder, fov, _counted(_label_frames(source, fov, parameters), counts))
    record = SegmentationRecord(position=fov.position, parameters=parameters, objects_per_frame=tuple(counts))
    (folder / SEGMENTATION_JSON).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    return record


def read_segmentation_record(folder: Path) -> SegmentationRecord:
    """The record of a segmentation folder."""
    return SegmentationRecord.model_validate_json((folder / SEGMENTATION_JSON).read_text(encoding="utf-8"))


def read_segmentation_frame(folder: Path, t: int) -> NDArray[np.uint32]:
    """Labels `(Z, Y, X)` of time point `t` of a segmentation folder."""
    return open_labels(folder).frame(t)


def _resolve_threshold(fov: FieldOfView, request: SegmentationRequest) -> ThresholdParameters:
    if request.width_px is not None and request.width_um is not None:
        raise BadInputError("segmentation: width_px and width_um are both given; give one")
    channel = request.channel if request.channel is not None else _default_channel(fov)
    fov.channel_index(channel)
    polarity = request.polarity
    if polarity is None:
        phase = infer_channel_kind(channel) is ChannelKind.PHASE
        polarity = Polarity.DARK if phase else Polarity.BRIGHT
    rule = request.rule
    if rule is None:
        rule = ForegroundRule.LOCAL if polarity is Polarity.DARK else ForegroundRule.OTSU
    width_um = request.width_um
    if width_um is None:
        width_um = (request.width_px or _DEFAULT_WIDTH_PX) * fov.spacing[2]
    min_size = request.min_size if request.min_size is not None else _default_min_size(fov, rule, width_um)
    spread = 5.5 if rule is ForegroundRule.LOCAL else 20
    return ThresholdParameters(
        channel=channel,
        polarity=polarity,
        rule=rule,
        width_um=width_um,
        min_size=min_size,
        max_size=request.max_size if request.max_size is not None else round(spread * min_size),
    )


def _default_min_size(fov: FieldOfView, rule: ForegroundRule, width_um: float) -> int:
    z, y, x = fov.spacing
    disk_um2 = np.pi / 4 * width_um**2
    flat_um2 = 2.5 * width_um**2 if rule is ForegroundRule.LOCAL else disk_um2 / 2
    if fov.shape[2] == 1:
        return max(1, round(flat_um2 / (y * x)))
    return max(1, round(flat_um2 * 2 / 3 * width_um / (z * y * x)))


def _default_channel(fov: FieldOfView) -> str:
    hints = ("nuc", "dapi", "hoechst", "h2b", "dna")
    named = (name for name in fov.channel_names if any(hint in name.lower() for hint in hints))
    return next(named, fov.channel_names[0])


def _label_frames(
    source: FrameSource, fov: FieldOfView, parameters: ResolvedSegmentation
) -> Iterator[NDArray[np.generic]]:
    threshold = parameters.threshold
    for t in range(fov.shape[0]):
        if threshold is not None:
            volume = source.read_frame(fov.position, t)[fov.channel_index(threshold.channel)]
            yield threshold_labels(volume, threshold, fov.spacing)
            continue
        labels = source.given_labels(fov.position, t)
        if labels is None:
            raise BadInputError(
                f"{fov.position}: the acquisition's labels lack t={t}; give a label frame for it"
            )
        yield labels


def _counted(frames: Iterator[NDArray[np.generic]], counts: list[int]) -> Iterator[NDArray[np.generic]]:
    for frame in frames:
        values = np.unique(frame)
        counts.append(int((values != 0).sum()))
        yield frame
