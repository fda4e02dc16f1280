"""One field of view from seed to camera counts. Pure computation: what is written where is `plate_files`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_assets.simulation.layout import SimulatedField
from cell_assets.simulation.looks import draw_looks, draw_textures
from cell_assets.simulation.optics import field_optics, stage_drift_um
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.population import CellHistory, LifeSimulator
from cell_assets.simulation.rendering import FrameRenderer
from cell_assets.simulation.seeds import Draw, fov_stream
from cell_assets.simulation.truth import FieldTruth, field_truth


@dataclass(frozen=True)
class Frame:
    """One time point of one field."""

    t: int
    pixels: NDArray[np.uint16]
    """(C, Z, Y, X) camera counts: phase, sensor and, where it is imaged, the organelle."""
    labels: NDArray[np.uint16]
    """(Z, Y, X) true nuclei, value = track_id, 0 = none."""


class FieldMovie:
    """A field's truth, and its frames drawn one by one."""

    def __init__(self, parameters: SimulationParameters, place: SimulatedField) -> None:
        key, seed = place.seed_key, parameters.seed
        self._parameters = parameters
        self._place = place
        self.history: CellHistory = LifeSimulator(
            parameters, place.well.condition, fov_stream(seed, key, Draw.LIFE)
        ).run()
        looks_stream = fov_stream(seed, key, Draw.LOOKS)
        looks = draw_looks(self.history, parameters.shape_zyx[0], looks_stream)
        self._optics = field_optics(parameters, looks_stream)
        self._renderer = FrameRenderer(parameters, self.history, looks, draw_textures(looks_stream))
        self.drift_um = stage_drift_um(parameters, place)
        self._centres_um = self._centres(looks.depth_um)
        self.truth: FieldTruth = field_truth(place.name, parameters, self.history, self._centres_um)

    def _centres(self, depth_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Nuclei (T, N, 3) in the picture: z, y, x in µm from the centre of voxel 0."""
        planes = self._parameters.shape_zyx[0]
        dz, dy, dx = self._parameters.voxel_um_zyx
        lateral = self.history.position_um + self.drift_um[:, None] - np.array([dy / 2, dx / 2])
        height = np.broadcast_to((planes - 1) / 2 * dz + depth_um, lateral.shape[:2])
        return np.concatenate([height[..., None], lateral], axis=-1)

    def frames(self) -> Iterator[Frame]:
        """Draw all frames in order; memory holds one."""
        for t in range(self._parameters.time_points):
            yield self.frame(t)

    def frame(self, t: int) -> Frame:
        """Draw frame `t`; frames do not depend on one another."""
        p = self._parameters
        ideal = self._renderer.render(t, self._centres_um[t], self.truth.track_ids[t])
        camera = fov_stream(p.seed, self._place.seed_key, Draw.CAMERA, t)
        phase = self._optics.phase_counts(ideal.density, camera)
        sensor = self._optics.sensor_counts(ideal.sensor, t * p.interval_hours, camera)
        channels = [phase, sensor]
        if ideal.organelle is not None:
            # A stream of its own, so that the other channels keep their bytes.
            camera = fov_stream(p.seed, self._place.seed_key, Draw.ORGANELLE_CAMERA, t)
            channels.append(self._optics.sensor_counts(ideal.organelle, t * p.interval_hours, camera))
        return Frame(t, np.stack(channels), ideal.labels)
