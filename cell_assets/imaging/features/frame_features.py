"""All features of the cells of one frame."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.channels import ChannelKind, infer_channel_kind
from cell_assets.imaging.features.intensities import (
    background,
    fluorescence_area,
    nucleus_intensities,
    nucleus_ring_ratio,
    radial_profile,
    ring_intensities,
    ring_pixels,
)
from cell_assets.imaging.features.labelled_plane import FloatArray, LabelledPlane, labelled_planes
from cell_assets.imaging.features.neighbours import neighbours
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.features.shapes import shapes
from cell_assets.imaging.features.textures import textures
from cell_assets.imaging.label_geometry import Spacing

AT_EDGE = "Metadata_AtFieldEdge"
"""The label touches the edge of the field, so that shape and ring are of what is seen of the cell."""


def channel_columns(names: Sequence[str]) -> dict[str, str]:
    """Each channel's part of a column's name: letters, digits and _ alone, no two the same."""
    columns: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W+", "_", name)
        taken = sum(re.sub(r"\W+", "_", other) == plain for other in columns)
        columns[name] = f"{plain}_{taken + 1}" if taken else plain
    return columns


def ratio_column(channel_column: str) -> str:
    """Column of the nuclear over the cytoplasmic mean of a channel."""
    return f"Nuclei_Ring_Ratio_{channel_column}"


def frame_features(
    labels: NDArray[np.generic],
    pixels: NDArray[np.generic],
    channel_names: Sequence[str],
    spacing: Spacing,
    parameters: FeatureParameters,
) -> pd.DataFrame:
    """One row per label, index `label` rising; AT_EDGE and the features, float64, NaN where one cannot be computed.

    Every feature says its unit where it is measured (`shapes`, `intensities`, `textures`, `neighbours`). Shapes,
    intensities and textures are of one plane for each cell (see `labelled_plane`), the background of the whole
    volume, neighbours in 3-D. The ratio of nucleus to ring and the area of fluorescence are of fluorescence
    channels alone: they say where a protein is, and phase is no amount of one.

    Args:
        labels: `(Z, Y, X)`, 0 = ground.
        pixels: `(C, Z, Y, X)`.

    Raises:
        BadInputError: a channel is said to be phase that is not there.
    """
    for name in parameters.phase_channels or ():
        if name not in channel_names:
            raise BadInputError(
                f"phase_channels names {name!r}, and the channels are {', '.join(channel_names)}; name one of them"
            )
    columns = channel_columns(channel_names)
    grounds = [background(volume, parameters.background_percentile) for volume in pixels]
    parts = [
        _plane_features(plane, pixels[:, plane.z], list(columns.items()), grounds, spacing[1:], parameters)
        for plane in labelled_planes(labels)
    ]
    table = (
        pd.concat(parts).sort_index()
        if parts
        else pd.DataFrame(index=pd.Index(np.empty(0, np.int64), name="label"))
    )
    return table.assign(**neighbours(labels, spacing, parameters.neighbour_radius_um))


def _is_phase(channel: str, parameters: FeatureParameters) -> bool:
    if parameters.phase_channels is None:
        return infer_channel_kind(channel) is ChannelKind.PHASE
    return channel in parameters.phase_channels


def _plane_features(
    plane: LabelledPlane,
    images: NDArray[np.generic],
    channels: Sequence[tuple[str, str]],
    grounds: Sequence[float],
    pixel_um: tuple[float, float],
    parameters: FeatureParameters,
) -> pd.DataFrame:
    found: dict[str, FloatArray] = shapes(plane, pixel_um)
    ring = ring_pixels(plane, parameters.ring_width_um, pixel_um)
    for (name, column), image, ground in zip(channels, images, grounds, strict=True):
        found |= nucleus_intensities(plane, image, column)
        found |= ring_intensities(plane, ring, image, column)
        if not _is_phase(name, parameters):
            found[ratio_column(column)] = nucleus_ring_ratio(
                found[f"Nuclei_Intensity_MeanIntensity_{column}"],
                found[f"Cytoplasm_Intensity_MeanIntensity_{column}"],
                ground,
            )
            found |= fluorescence_area(plane, ring, image, column, pixel_um)
        found |= radial_profile(plane, image, column, ground, parameters.radial_rings, pixel_um)
        found |= textures(plane, image, column, parameters.texture_distance_px, parameters.texture_levels)
    table = pd.DataFrame(found, index=pd.Index(plane.label, name="label"))
    table.insert(0, AT_EDGE, _at_edge(plane))
    return table


def _at_edge(plane: LabelledPlane) -> NDArray[np.bool_]:
    image = plane.labels
    outermost = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    touches = np.zeros(int(image.max()) + 1, bool)
    touches[outermost] = True
    return touches[1 : plane.n + 1]
