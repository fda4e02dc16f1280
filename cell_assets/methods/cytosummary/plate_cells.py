"""Cells of several plates as training takes them: standardised by plate, ordered by well."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import BATCH, COMPOUND, is_treated
from cell_assets.methods.cytosummary.parameters import Positives
from cell_assets.methods.cytosummary.sets import IntArray, WellCells


@dataclass(frozen=True)
class PlateCells:
    """N cells of one plate's W wells."""

    plate: str
    features: NDArray[np.float32]
    """(N, D), of zero mean and unit variance over all of the plate's cells (paper, Preprocessing); may be a memory
    map."""
    starts: IntArray
    """(W + 1,) where the cells of each well begin, and N."""
    wells: pd.DataFrame
    """W rows with `Metadata_Perturbation` and `Metadata_IsControl`, as `well_manifest` has them, and where batches are
    told apart `Metadata_Batch`."""
    controls: NDArray[np.float32] | None = None
    """(C, D) some of the plate's control cells, changed as all of its cells are, where φ is to see them; in memory
    throughout training, 4 C D bytes a plate."""

    def between(self, first: int, end: int) -> "PlateCells":
        """The wells from place `first` to before `end`; their features are a view, controls the plate's own."""
        starts = self.starts[first : end + 1]
        return replace(
            self,
            features=self.features[starts[0] : starts[-1]],
            starts=starts - starts[0],
            wells=self.wells.iloc[first:end],
        )

    def seen_controls(self) -> NDArray[np.float32]:
        """`controls`, of cells that were conditioned so."""
        if self.controls is None:
            raise RuntimeError(f"plate {self.plate}: φ is to see control cells, and none were kept for it")
        return self.controls


def compared_plates(plates: Sequence[PlateCells], positives: Positives) -> list[list[int]]:
    """Places of the plates whose wells are compared with each other, group by group, in the order of their first.

    Raises:
        BadInputError: batches are asked for, and nobody says that of a plate.
    """
    if positives is Positives.WITHIN_PLATE:
        return [[place] for place in range(len(plates))]
    if positives is Positives.ACROSS_PLATES:
        return [list(range(len(plates)))] if plates else []
    groups: dict[str, list[int]] = {}
    for place, plate in enumerate(plates):
        groups.setdefault(batch_of(plate.plate, plate.wells), []).append(place)
    return list(groups.values())


def batch_of(plate: str, wells: pd.DataFrame) -> str:
    """The batch of a plate with these wells.

    Raises:
        BadInputError: nobody says it.
    """
    batch = wells[BATCH].iloc[0] if BATCH in wells.columns else None
    if batch is None or pd.isna(batch):
        raise BadInputError(
            f"plate {plate}: nobody says of which batch it is, and positives=within-batch compares wells of one batch "
            "alone; name that of every plate in batch_of_plate of well_split"
        )
    return str(batch)


def trained_wells(plates: Sequence[PlateCells], compounds: Sequence[str]) -> tuple[WellCells, ...]:
    """Wells of every plate that training draws from: of `compounds`, by their place in that list, without controls.

    Raises:
        BadInputError: plates differ in features, or a compound has no well.
    """
    widths = {plate.plate: plate.features.shape[1] for plate in plates}
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{plate} has {width}" for plate, width in widths.items())
        raise BadInputError(f"plates differ in features: {said}; give those that all have")
    code = {compound: place for place, compound in enumerate(compounds)}
    found = []
    for plate in plates:
        chosen = np.flatnonzero(plate.wells[COMPOUND].isin(code.keys()).to_numpy() & is_treated(plate.wells))
        codes = plate.wells[COMPOUND].iloc[chosen].map(code).to_numpy().astype(np.int64)
        found.append(WellCells(plate.starts[chosen], np.diff(plate.starts)[chosen], codes))
    seen = np.unique(np.concatenate([wells.compound for wells in found]))
    without = [compound for compound, place in code.items() if place not in set(seen.tolist())]
    if without:
        raise BadInputError(
            f"compound {without[0]} ({len(without)} in all) has no treated well on these plates; leave it out of "
            "training"
        )
    return tuple(found)
