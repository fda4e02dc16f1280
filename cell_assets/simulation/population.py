"""The life of the cells of one field of view: motion, growth, division, infection. No pixels here.

Lengths µm, times hours, positions (y, x) on the specimen (the stage's drift comes later). Motion is
a persistent random walk (Ornstein-Uhlenbeck velocity) with soft repulsion; volume grows exponentially and
doubles over a cycle.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_assets.simulation.parameters import ConditionParameters, SimulationParameters

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NO_PARENT = -1
FLAT_HEIGHT_TO_RADIUS = 0.3
"""Half height over footprint radius of a spread cell."""
BIRTH_VOLUME_UM3 = 1600.0
"""A549 cells measure about 1500-4000 µm³ between birth and division."""
ROUNDING_HOURS = 0.4
"""Time in which a cell entering mitosis rounds up."""
RESPREAD_START_HOURS, RESPREAD_HOURS = 0.3, 0.5
"""Daughters stay round for the first, then flatten over the second."""
LONGEST_STEP_HOURS = 1 / 6
REPULSION_PER_HOUR = 4.0
MARGIN_UM = 14.0
"""Cells live this far beyond the field of view, so that they enter, leave and are cut by its edges."""


@dataclass(frozen=True)
class CellHistory:
    """Everything that happened, at every frame; arrays are (T, N) over frames and cells, or (N,) per cell."""

    alive: NDArray[np.bool_]
    position_um: Floats
    """(T, N, 2), y and x of the nucleus relative to the field's corner at frame 0; 0 where not alive."""
    long_axis: Floats
    """Angle of the nucleus's long axis from the x axis, radians."""
    volume_um3: Floats
    rounding: Floats
    """0 spread (interphase) to 1 round (mitosis)."""
    translocation: Floats
    """Share of the sensor's way from the ER into the nucleus that infection has caused, 0 to 1."""
    hours_since_onset: Floats
    """Hours since half of the way; negative before it; -inf in cells that are never infected."""
    parent: Integers
    """(N,) index of the parent, or -1."""

    @property
    def n_frames(self) -> int:
        return int(self.alive.shape[0])


@dataclass
class _Culture:
    """The cells that are alive now: one entry per cell in every array."""

    index: Integers
    position: Floats
    velocity: Floats
    long_axis: Floats
    age: Floats
    cycle: Floats
    birth_volume: Floats
    onset: Floats

    def volume(self) -> Floats:
        return self.birth_volume * 2.0 ** np.minimum(self.age / self.cycle, 1.0)

    def rounding(self, mitosis_hours: float) -> Floats:
        entering = smooth_step((self.age - (self.cycle - mitosis_hours)) / ROUNDING_HOURS)
        leaving = 1 - smooth_step((self.age - RESPREAD_START_HOURS) / RESPREAD_HOURS)
        return np.maximum(entering, leaving)


def smooth_step(x: Floats) -> Floats:
    """0 below 0, 1 above 1, smooth between."""
    clipped = np.clip(x, 0.0, 1.0)
    return clipped * clipped * (3 - 2 * clipped)


def height_to_radius(rounding: Floats) -> Floats:
    """Half height of a cell over its footprint's radius: flat when spread, 1 when round."""
    return FLAT_HEIGHT_TO_RADIUS + (1 - FLAT_HEIGHT_TO_RADIUS) * rounding


def footprint_radius_um(volume_um3: Floats, rounding: Floats) -> Floats:
    """Radius of the ellipsoid of revolution with this volume and rounding."""
    return np.cbrt(3 * volume_um3 / (4 * math.pi * height_to_radius(rounding)))


class LifeSimulator:
    """Runs one field's cells from the first frame to the last."""

    def __init__(
        self, parameters: SimulationParameters, condition: ConditionParameters, rng: np.random.Generator
    ) -> None:
        self._parameters = parameters
        self._condition = condition
        self._rng = rng
        self._hours = parameters.start_hours_post_perturbation
        # The arena follows the stage, whose drift could otherwise leave an empty strip in the picture.
        reach = MARGIN_UM + parameters.drift_um_per_hour * parameters.interval_hours * parameters.time_points
        height, width = parameters.extent_um
        self._low = np.array([-reach, -reach])
        self._high = np.array([height + reach, width + reach])
        self._parents: list[int] = []
        self._culture = self._seed_cells()

    def run(self) -> CellHistory:
        """Simulate all frames; the same generator state gives the same history."""
        interval = self._parameters.interval_hours
        n_steps = max(1, math.ceil(interval / LONGEST_STEP_HOURS - 1e-9))
        frames = [self._record()]
        for _ in range(self._parameters.time_points - 1):
            for _ in range(n_steps):
                self._step(interval / n_steps)
            frames.append(self._record())
        return self._history(frames)

    def _seed_cells(self) -> _Culture:
        rng, p = self._rng, self._parameters
        height, width = p.extent_um
        inside = rng.uniform((3, 3), (height - 3, width - 3), (p.cells_per_fov, 2))
        arena_area = float(np.prod(self._high - self._low))
        n_candidates = round(p.cells_per_fov * arena_area / (height * width))
        candidates = rng.uniform(self._low, self._high, (n_candidates, 2))
        outside = ((candidates < 0) | (candidates > (height, width))).any(axis=1)
        position = np.concatenate([inside, candidates[outside]])
        n = len(position)
        cycle = p.cycle_hours * np.exp(rng.normal(0, 0.12, n))
        # Ages of a culture in exponential growth: density proportional to 2^-age.
        age = -np.log2(1 - rng.uniform(0, 1, n) / 2) * cycle
        birth_volume = BIRTH_VOLUME_UM3 * np.exp(rng.normal(0, 0.12, n))
        self._parents = [NO_PARENT] * n
        culture = _Culture(
            index=np.arange(n),
            position=position,
            velocity=rng.normal(0, p.speed_um_per_hour / math.sqrt(2), (n, 2)),
            long_axis=rng.uniform(0, math.pi, n),
            age=age,
            cycle=cycle,
            birth_volume=birth_volume,
            onset=self._draw_onsets(n),
        )
        for _ in range(60):
            moved = culture.position + self._repulsion(culture) * 0.1
            culture.position = np.clip(moved, self._low, self._high)
            culture.position[: p.cells_per_fov] = np.clip(
                culture.position[: p.cells_per_fov], (2, 2), (height - 2, width - 2)
            )
        return culture

    def _draw_onsets(self, n: int) -> Floats:
        """Hours post perturbation of each cell's onset; infinite for cells that stay clean."""
        p = self._parameters
        probability = p.susceptible_share * -math.expm1(-self._condition.moi)
        onset = p.onset_median_hours * np.exp(self._rng.normal(0, p.onset_log_sd, n))
        return np.where(self._rng.uniform(0, 1, n) < probability, onset, np.inf)

    def _repulsion(self, culture: _Culture) -> Floats:
        """Velocity (n, 2) by which overlapping cells part, µm per hour."""
        reach = 0.9 * footprint_radius_um(culture.volume(), culture.rounding(self._parameters.mitosis_hours))
        apart = culture.position[:, None] - culture.position[None]
        distance = np.sqrt((apart**2).sum(axis=-1))
        np.fill_diagonal(distance, np.inf)
        overlap = np.clip(reach[:, None] + reach[None] - distance, 0, None)
        direction = apart / np.maximum(distance, 1e-6)[..., None]
        return REPULSION_PER_HOUR * 0.5 * (overlap[..., None] * direction).sum(axis=1)

    def _step(self, dt: float) -> None:
        p, rng, cells = self._parameters, self._rng, self._culture
        freedom = (1 - cells.rounding(p.mitosis_hours))[:, None]
        memory = math.exp(-dt / p.persistence_hours)
        kick = p.speed_um_per_hour / math.sqrt(2) * math.sqrt(1 - memory**2)
        cells.velocity = memory * cells.velocity + kick * rng.normal(0, 1, cells.velocity.shape)
        moved = cells.position + dt * (freedom * cells.velocity + self._repulsion(cells))
        bounced = (moved < self._low) | (moved > self._high)
        cells.velocity = np.where(bounced, -cells.velocity, cells.velocity)
        cells.position = np.clip(moved, self._low, self._high)
        heading = np.arctan2(cells.velocity[:, 0], cells.velocity[:, 1])
        turn = 0.8 * np.sin(2 * (heading - cells.long_axis)) * dt + rng.normal(
            0, 0.25 * math.sqrt(dt), len(heading)
        )
        cells.long_axis = cells.long_axis + freedom[:, 0] * turn
        cells.age = cells.age + dt
        self._hours += dt
        if (dividing := cells.age >= cells.cycle).any():
            self._divide(dividing)

    def _divide(self, dividing: NDArray[np.bool_]) -> None:
        """Replace each dividing cell by two daughters that share its volume, across its metaphase plate."""
        p, rng, cells = self._parameters, self._rng, self._culture
        n = int(dividing.sum())
        mother_volume = 2 * cells.birth_volume[dividing]
        share = np.clip(rng.normal(0.5, 0.02, n), 0.4, 0.6)
        axis = cells.long_axis[dividing] + math.pi / 2
        away = np.stack([np.sin(axis), np.cos(axis)], axis=1)
        half_distance = 0.72 * np.cbrt(3 * mother_volume / 2 / (4 * math.pi))[:, None]
        mother_onset = cells.onset[dividing]
        daughters = []
        for sign, part in ((1, share), (-1, 1 - share)):
            # A cell that the virus has already changed passes its state on; one still clean keeps its fate,
            # with some play in when the sensor starts to move.
            later = np.maximum(mother_onset + rng.normal(0, 0.5, n), self._hours)
            daughters.append(
                _Culture(
                    index=np.arange(len(self._parents), len(self._parents) + n),
                    position=np.clip(
                        cells.position[dividing] + sign * half_distance * away, self._low, self._high
                    ),
                    velocity=rng.normal(0, p.speed_um_per_hour / math.sqrt(2), (n, 2)),
                    long_axis=cells.long_axis[dividing],
                    age=np.zeros(n),
                    cycle=p.cycle_hours * np.exp(rng.normal(0, 0.12, n)),
                    birth_volume=mother_volume * part,
                    onset=np.where(mother_onset <= self._hours, mother_onset, later),
                )
            )
            self._parents += cells.index[dividing].tolist()
        staying = _select(cells, ~dividing)
        self._culture = _join(staying, *daughters)

    def _record(self) -> "_Frame":
        cells = self._culture
        since = self._hours - cells.onset
        # 10 % to 90 % of a logistic curve spans 2 ln 9 of its units.
        steepness = 2 * math.log(9) / self._parameters.translocation_hours
        return _Frame(
            index=cells.index.copy(),
            position=cells.position.copy(),
            long_axis=cells.long_axis.copy(),
            volume=cells.volume(),
            rounding=cells.rounding(self._parameters.mitosis_hours),
            since_onset=since,
            translocation=1 / (1 + np.exp(-np.clip(steepness * since, -50, 50))),
        )

    def _history(self, frames: list["_Frame"]) -> CellHistory:
        shape = (len(frames), len(self._parents))
        history = CellHistory(
            alive=np.zeros(shape, bool),
            position_um=np.zeros((*shape, 2)),
            long_axis=np.zeros(shape),
            volume_um3=np.zeros(shape),
            rounding=np.zeros(shape),
            translocation=np.zeros(shape),
            hours_since_onset=np.full(shape, -np.inf),
            parent=np.array(self._parents, dtype=np.int64),
        )
        for t, frame in enumerate(frames):
            history.alive[t, frame.index] = True
            history.position_um[t, frame.index] = frame.position
            history.long_axis[t, frame.index] = frame.long_axis
            history.volume_um3[t, frame.index] = frame.volume
            history.rounding[t, frame.index] = frame.rounding
            history.translocation[t, frame.index] = frame.translocation
            history.hours_since_onset[t, frame.index] = frame.since_onset
        return history


@dataclass(frozen=True)
class _Frame:
    """State of the living cells at one frame."""

    index: Integers
    position: Floats
    long_axis: Floats
    volume: Floats
    rounding: Floats
    since_onset: Floats
    translocation: Floats


def _select(cells: _Culture, keep: NDArray[np.bool_]) -> _Culture:
    return _Culture(
        cells.index[keep],
        cells.position[keep],
        cells.velocity[keep],
        cells.long_axis[keep],
        cells.age[keep],
        cells.cycle[keep],
        cells.birth_volume[keep],
        cells.onset[keep],
    )


def _join(*groups: _Culture) -> _Culture:
    return _Culture(
        np.concatenate([group.index for group in groups]),
        np.concatenate([group.position for group in groups]),
        np.concatenate([group.velocity for group in groups]),
        np.concatenate([group.long_axis for group in groups]),
        np.concatenate([group.age for group in groups]),
        np.concatenate([group.cycle for group in groups]),
        np.concatenate([group.birth_volume for group in groups]),
        np.concatenate([group.onset for group in groups]),
    )
