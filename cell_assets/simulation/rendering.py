"""Ideal volumes of one frame: dry mass, sensor, organelle, true nuclear labels; work stays in boxes round cells.

A voxel index i stands for the point i * voxel_um; the field's corner lies half a voxel before index 0.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_assets.simulation.looks import (
    OUTLINE_WAVES,
    TEXTURE_DEPTH,
    TEXTURE_SIDE,
    TEXTURE_STEP_UM,
    CellLooks,
    Textures,
)
from cell_assets.simulation.optics import Volume
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.population import CellHistory, Floats, footprint_radius_um, height_to_radius

NUCLEUS_SHARE_OF_VOLUME = 0.2
FLAT_NUCLEUS_HEIGHT_TO_RADIUS = 0.5
ER_RING_WIDTH_UM = 2.2
"""Distance from the nuclear surface over which the resting sensor falls to 1/e."""
GATHERED_WIDTH_UM = 1.6
"""Distance from the nuclear surface over which the organelle of an infected cell falls to 1/e."""
BODY_EDGE_UM, NUCLEUS_EDGE_UM = 1.2, 0.8
TEXTURE_DRIFT_PER_HOUR = 0.5
"""Texture planes per hour by which a cell's granules change while it lives."""


@dataclass(frozen=True)
class CellPose:
    """One cell at one frame, as the renderer needs it; lengths µm in the picture, (z, y, x)."""

    cell: int
    centre: tuple[float, float, float]
    long_axis: float
    body_radius: float
    body_half_height: float
    nucleus_axes: tuple[float, float, float]
    """Semi-axes: up (z), along and across the long axis."""
    rounding: float
    translocation: float
    label: int
    """Value in the label image; 0 for cells whose centre lies outside the field."""


@dataclass(frozen=True)
class RenderedFrame:
    """Volumes (Z, Y, X) of one frame before any optics."""

    density: Volume
    sensor: Volume
    organelle: Volume | None
    """None where it is not imaged."""
    labels: NDArray[np.uint16]


def nucleus_axes_um(volume_um3: float, rounding: float, aspect: float) -> tuple[float, float, float]:
    """Semi-axes (z, along, across) of the nuclear ellipsoid, a fifth of the cell's volume.

    In mitosis it stands for the chromosomes' area: as high as wide, elongated into a metaphase plate.
    """
    flat = FLAT_NUCLEUS_HEIGHT_TO_RADIUS + (1 - FLAT_NUCLEUS_HEIGHT_TO_RADIUS) * rounding
    radius = (3 * NUCLEUS_SHARE_OF_VOLUME * volume_um3 / (4 * math.pi * flat)) ** (1 / 3)
    stretch = math.sqrt(aspect + (1.7 - aspect) * rounding)
    return flat * radius, radius * stretch, radius / stretch


class FrameRenderer:
    """Draws the frames of one field of view."""

    def __init__(
        self, parameters: SimulationParameters, history: CellHistory, looks: CellLooks, textures: Textures
    ) -> None:
        self._parameters = parameters
        self._history = history
        self._looks = looks
        self._textures = textures
        planes, height, width = parameters.shape_zyx
        self._z_um: Floats = np.arange(planes, dtype=np.float64) * parameters.voxel_um_zyx[0]
        self._y_um: Floats = np.arange(height, dtype=np.float64) * parameters.voxel_um_zyx[1]
        self._x_um: Floats = np.arange(width, dtype=np.float64) * parameters.voxel_um_zyx[2]

    def render(self, t: int, centres_um: NDArray[np.float64], labels: NDArray[np.int64]) -> RenderedFrame:
        """Draw frame `t`: nuclei at `centres_um` (N, 3) in the picture, with `labels` (N,), 0 for none."""
        shape = self._parameters.shape_zyx
        density, sensor = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        organelle = np.zeros(shape, np.float32) if self._parameters.organelle_channel else None
        nearest = np.ones(shape, np.float32)
        truth = np.zeros(shape, np.uint16)
        for cell in np.flatnonzero(self._history.alive[t]):
            pose = self._pose(t, int(cell), centres_um[cell], int(labels[cell]))
            self._draw(pose, t * self._parameters.interval_hours, density, sensor, organelle, truth, nearest)
        self._mark_unseen(centres_um, labels, truth)
        return RenderedFrame(density, sensor, organelle, truth)

    def _mark_unseen(
        self, centres_um: NDArray[np.float64], labels: NDArray[np.int64], truth: NDArray[np.uint16]
    ) -> None:
        """Give a nucleus that falls between coarse planes its central voxel: every track row has a label."""
        seen = set(np.unique(truth).tolist())
        for cell in np.flatnonzero(labels):
            if labels[cell] not in seen:
                voxel = np.rint(centres_um[cell] / self._parameters.voxel_um_zyx).astype(int)
                truth[tuple(np.clip(voxel, 0, np.array(truth.shape) - 1))] = labels[cell]

    def _pose(self, t: int, cell: int, centre: NDArray[np.float64], label: int) -> CellPose:
        history = self._history
        volume, rounding = history.volume_um3[t, cell : cell + 1], history.rounding[t, cell : cell + 1]
        radius = footprint_radius_um(volume, rounding)
        return CellPose(
            cell=cell,
            centre=(float(centre[0]), float(centre[1]), float(centre[2])),
            long_axis=float(history.long_axis[t, cell]),
            body_radius=radius.item(),
            body_half_height=(height_to_radius(rounding) * radius).item(),
            nucleus_axes=nucleus_axes_um(
                volume.item(), rounding.item(), float(self._looks.nucleus_aspect[cell])
            ),
            rounding=rounding.item(),
            translocation=float(history.translocation[t, cell]),
            label=label,
        )

    def _draw(
        self,
        pose: CellPose,
        hours: float,
        density: Volume,
        sensor: Volume,
        organelle: Volume | None,
        truth: NDArray[np.uint16],
        nearest: Volume,
    ) -> None:
        """Add one cell to the volumes; `nearest` holds how deep the label owner of each voxel has it."""
        reach = 1.45 * pose.body_radius + 1.0
        rows = _window(self._y_um, pose.centre[1], reach)
        columns = _window(self._x_um, pose.centre[2], reach)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        up = (self._z_um - pose.centre[0]).astype(np.float32)[:, None, None]
        dy = (self._y_um[rows] - pose.centre[1]).astype(np.float32)[:, None]
        dx = (self._x_um[columns] - pose.centre[2]).astype(np.float32)[None, :]
        cos, sin = np.float32(math.cos(pose.long_axis)), np.float32(math.sin(pose.long_axis))
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        box = (slice(None), rows, columns)

        height, long, short = pose.nucleus_axes
        depth = np.sqrt(
            (along / np.float32(long)) ** 2
            + (across / np.float32(short)) ** 2
            + (up / np.float32(height)) ** 2
        )
        mean_radius = np.float32((long + short) / 2)
        nucleus = _soft((1 - depth) * (mean_radius / np.float32(NUCLEUS_EDGE_UM)))
        body = self._body(pose, along, across, up)
        granules, reticulum = self._texture(pose.cell, along, across, up, hours)
        outside_um = np.maximum(depth - 1, 0) * mean_radius
        mass = self._cell_density(pose, body, nucleus, granules, along, across, outside_um)
        # Neighbours press against each other instead of lying on top of each other.
        density[box] = np.maximum(density[box], mass)
        sensor[box] += self._cell_sensor(pose, body, nucleus, reticulum, outside_um)
        if organelle is not None:
            organelle[box] += self._cell_organelle(pose, body, nucleus, reticulum, outside_um)
        if pose.label:
            mine = depth < nearest[box]
            nearest[box][mine] = depth[mine]
            truth[box][mine] = pose.label

    def _body(self, pose: CellPose, along: Volume, across: Volume, up: Volume) -> Volume:
        """Occupancy (Z, y, x) of the cell: a dome with a wavy outline that rounds up in mitosis."""
        looks, spread = self._looks, 1 - pose.rounding
        offset = looks.body_offset[pose.cell] * pose.body_radius * spread
        u, v = along - np.float32(offset[0]), across - np.float32(offset[1])
        angle = np.arctan2(v, u)
        outline = np.ones_like(angle)
        for wave, amplitude, phase in zip(
            OUTLINE_WAVES, looks.outline_amplitude[pose.cell], looks.outline_phase[pose.cell], strict=True
        ):
            outline += np.float32(spread * amplitude) * np.cos(np.float32(wave) * angle + np.float32(phase))
        lateral = (u * u + v * v) / (np.float32(pose.body_radius) * outline) ** 2
        depth = np.sqrt(lateral + (up / np.float32(pose.body_half_height)) ** 2)
        return _soft((1 - depth) * np.float32(pose.body_radius / BODY_EDGE_UM))

    def _texture(
        self, cell: int, along: Volume, across: Volume, up: Volume, hours: float
    ) -> tuple[Volume, Volume]:
        """Granules and reticulum (Z, y, x) in the cell's own coordinates; the nearest texture voxel is enough
        below the blur."""
        shift = self._looks.texture_shift[cell]
        row = (np.floor(across / TEXTURE_STEP_UM[1]).astype(np.int64) + shift[1]) % TEXTURE_SIDE
        column = (np.floor(along / TEXTURE_STEP_UM[2]).astype(np.int64) + shift[2]) % TEXTURE_SIDE
        plane = np.floor(up / TEXTURE_STEP_UM[0] + TEXTURE_DRIFT_PER_HOUR * hours).astype(np.int64) + shift[0]
        plane %= TEXTURE_DEPTH
        return self._textures.granules[plane, row, column], self._textures.reticulum[plane, row, column]

    def _cell_density(
        self,
        pose: CellPose,
        body: Volume,
        nucleus: Volume,
        granules: Volume,
        along: Volume,
        across: Volume,
        outside_um: Volume,
    ) -> Volume:
        """Dry mass: granular cytoplasm, thinner smooth nucleus with rim and nucleoli; dense when round."""
        rounding, spread = np.float32(pose.rounding), np.float32(1 - pose.rounding)
        # Infection coarsens the cytoplasm a little: phase alone tells it, but poorly.
        grain = np.float32(0.2 * (1 + 0.25 * pose.translocation)) * (1 - np.float32(0.5) * rounding)
        cytoplasm = 0.8 + grain * granules * (1 - np.float32(0.7) * nucleus)
        cytoplasm *= 1 + np.float32(0.9) * rounding
        rim = np.float32(0.16) * spread * np.exp(-((outside_um / np.float32(0.7)) ** 2)) * (1 - nucleus)
        inside = np.float32(0.9) * rounding - np.float32(0.3) * spread
        _, long, short = pose.nucleus_axes
        spots = np.zeros(along.shape, np.float32)
        for place_along, place_across in self._looks.nucleoli[pose.cell]:
            du = along - np.float32(place_along * long)
            dv = across - np.float32(place_across * short)
            spots += np.exp(-(du * du + dv * dv) / np.float32(2 * 0.75**2))
        mass = body * (cytoplasm + rim) + nucleus * (inside + np.float32(0.55) * spread * spots)
        return np.asarray(mass * np.float32(self._looks.density[pose.cell]), dtype=np.float32)

    def _cell_sensor(
        self, pose: CellPose, body: Volume, nucleus: Volume, reticulum: Volume, outside_um: Volume
    ) -> Volume:
        """Sensor: a reticular ring of ER around the nucleus; infection and mitosis each bring it inside."""
        looks, cell = self._looks, pose.cell
        resting = looks.resting_nuclear_share[cell]
        infected = resting + (looks.infected_nuclear_share[cell] - resting) * pose.translocation
        mitotic = resting + (looks.mitotic_nuclear_share[cell] - resting) * pose.rounding
        inside = np.float32(max(infected, mitotic))
        ring = np.exp(-outside_um / np.float32(ER_RING_WIDTH_UM)) + np.float32(0.07)
        ring *= body * (1 - nucleus) * np.maximum(1 + np.float32(0.3) * reticulum, 0)
        filled = nucleus * (1 + np.float32(0.08) * reticulum)
        total = inside * filled + (1 - inside) * ring
        return np.asarray(total * np.float32(looks.expression[cell]), dtype=np.float32)

    def _cell_organelle(
        self, pose: CellPose, body: Volume, nucleus: Volume, reticulum: Volume, outside_um: Volume
    ) -> Volume:
        """A fine network over the whole cytoplasm; infection makes it dense and coarse beside the nucleus."""
        moved = np.float32(pose.translocation)
        spread = np.maximum(0.5 + np.float32(0.35) * reticulum, 0)
        gathered = 1.6 * np.exp(-outside_um / np.float32(GATHERED_WIDTH_UM)) + np.float32(0.08)
        gathered *= np.maximum(1 + np.float32(0.6) * reticulum, 0)
        network = (1 - moved) * spread + moved * gathered
        return np.asarray(
            body * (1 - nucleus) * network * np.float32(self._looks.expression[pose.cell]), dtype=np.float32
        )


def _window(axis_um: Floats, centre: float, reach: float) -> slice:
    """Indices of an evenly spaced axis within `reach` of `centre`."""
    return slice(int(np.searchsorted(axis_um, centre - reach)), int(np.searchsorted(axis_um, centre + reach)))


def _soft(signed: Volume) -> Volume:
    """A ramp from 0 to 1 of width one around zero: an edge without stairs."""
    return np.clip(signed + np.float32(0.5), 0, 1)
