"""Cells as they differ from their own plate's untreated ones.

Standardising over all of a plate's cells, as the paper does, moves with what the plate was treated with, and leaves how
stain and optics mix features. The controls, which the paper throws away, are the same cells on every plate: whatever
differs between those of two plates is of the plates. Whitening by them is TVN (Ando et al. 2017), of single cells in
place of wells. What a network makes of them, in `conditioned_network.py`, is learned with φ.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import IS_CONTROL
from cell_assets.evaluation.units import FloatArray
from cell_assets.methods.cytosummary.parameters import Conditioning
from cell_assets.methods.cytosummary.plate_cells import PlateCells

_RIDGE = 0.1
"""Of the mean variance, added to every direction's before whitening: directions in which control cells hardly differ
would otherwise be nothing but enlarged noise."""
CONTROL_CELLS = 1024
"""Of a plate at most, that φ sees: means over them are known to 3 % of a standard deviation."""
_CELLS_AT_ONCE = 8192


@dataclass(frozen=True)
class ControlMoments:
    """Of the cells of a plate's control wells."""

    mean: FloatArray
    """(D,)."""
    covariance: FloatArray
    """(D, D)."""

    @classmethod
    def of(cls, plate: PlateCells) -> "ControlMoments":
        """In float64, block by block: memory is that of 8192 cells and of the covariance.

        Raises:
            BadInputError: no control well has a cell there, or only one does.
        """
        d = plate.features.shape[1]
        count, total, products = 0, np.zeros(d), np.zeros((d, d))
        for well in np.flatnonzero(plate.wells[IS_CONTROL].to_numpy(np.bool_)):
            for block in _blocks(int(plate.starts[well]), int(plate.starts[well + 1])):
                cells = plate.features[block].astype(np.float64)
                count, total, products = count + len(cells), total + cells.sum(0), products + cells.T @ cells
        if count < 2:
            raise BadInputError(
                f"plate {plate.plate}: {count} cells of control wells are there to condition on; name its controls in "
                "the plate map, or train with conditioning=none"
            )
        mean = total / count
        return cls(mean, products / count - np.outer(mean, mean))

    def map(self, conditioning: Conditioning) -> FloatArray:
        """(D, D) by which centred cells are multiplied."""
        variance = np.diag(self.covariance)
        # A feature that control cells agree upon cannot scale anything; the plate's own scale stays.
        if conditioning is not Conditioning.WHITENED:
            return np.asarray(np.diag(1 / np.sqrt(np.where(variance > 1e-12, variance, 1.0))))
        values, directions = np.linalg.eigh(
            self.covariance + _RIDGE * variance.mean() * np.eye(len(variance))
        )
        # Symmetric, so that features stay near themselves, and plates near each other.
        return np.asarray((directions / np.sqrt(values)) @ directions.T)


def condition(plate: PlateCells, conditioning: Conditioning, seed: int) -> PlateCells:
    """The plate with all of its cells changed, in place, to how they differ from those of its control wells.

    Args:
        seed: of which control cells are kept for φ, where it is to see them.

    Raises:
        BadInputError: as `ControlMoments.of`.
    """
    if conditioning is Conditioning.NONE:
        return plate
    controls = ControlMoments.of(plate)
    by = controls.map(conditioning)
    for block in _blocks(0, len(plate.features)):
        plate.features[block] = (plate.features[block] - controls.mean) @ by
    return with_controls(plate, conditioning, seed)


def with_controls(plate: PlateCells, conditioning: Conditioning, seed: int) -> PlateCells:
    """The plate, whose cells are conditioned already, with the control cells that φ is to see, if it is."""
    if conditioning is not Conditioning.LEARNED:
        return plate
    return replace(plate, controls=_some_controls(plate, seed))


def _some_controls(plate: PlateCells, seed: int) -> NDArray[np.float32]:
    """(C, D) control cells, each as likely as any other, and the same ones wherever wells of one cell lie."""
    wells = np.flatnonzero(plate.wells[IS_CONTROL].to_numpy(np.bool_))
    # Profiling lays wells of one cell last and training does not, while φ is to see the same cells in both.
    wells = wells[np.argsort(np.diff(plate.starts)[wells] == 1, kind="stable")]
    rows = np.concatenate([np.arange(plate.starts[well], plate.starts[well + 1]) for well in wells])
    n = min(CONTROL_CELLS, len(rows))
    chosen = np.random.default_rng([seed, 3]).choice(len(rows), n, replace=False)
    return np.array(plate.features[rows[np.sort(chosen)]])


def _blocks(begin: int, end: int) -> Iterator[slice]:
    for start in range(begin, end, _CELLS_AT_ONCE):
        yield slice(start, min(start + _CELLS_AT_ONCE, end))
