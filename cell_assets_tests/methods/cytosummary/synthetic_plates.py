"""Feature tables of small plates, whose compounds differ in how two features are correlated."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.profiling.well_manifest import WellSplitParameters, split_wells, wells_table
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.feature_table import write_feature_table
from cell_assets.ledger.records import WellDraft
from cell_assets.methods.contract import CellTable

COMPOUNDS = [f"c{i}" for i in range(8)]
CELLS_PER_WELL = 40
FEATURES = [f"Cells_Texture_{i}" for i in range(4)] + ["Nuclei_AreaShape_Area"]
EMPTY_WELL = "X01"
"""Of compound c0; no cell was found in it."""
Change = Callable[[pd.DataFrame], pd.DataFrame]


def drafts(compounds: Sequence[str] = COMPOUNDS) -> list[WellDraft]:
    """Two wells of every compound, two of controls, and one without a cell."""
    known = [*compounds, *compounds, "DMSO", "DMSO"]
    wells = [
        WellDraft(f"{'ABCDEFGH'[i // 12]}{i % 12 + 1:02}", perturbation=name, is_control=name == "DMSO")
        for i, name in enumerate(known)
    ]
    return [*wells, WellDraft(EMPTY_WELL, perturbation=compounds[0])]


def cells_of(plate: str, seed: int, compounds: Sequence[str] = COMPOUNDS) -> pd.DataFrame:
    """One row per cell."""
    random, parts = np.random.default_rng(seed), []
    for draft in drafts(compounds)[:-1]:
        r = (
            np.linspace(-0.9, 0.9, len(COMPOUNDS))[COMPOUNDS.index(draft.perturbation)]
            if not draft.is_control
            else 0.0
        )
        values = random.normal(size=(CELLS_PER_WELL, len(FEATURES)))
        values[:, 1] = r * values[:, 0] + np.sqrt(1 - r**2) * values[:, 1]
        known = {
            "Metadata_Plate": plate,
            "Metadata_Well": draft.name,
            "Metadata_ObjectNumber": range(CELLS_PER_WELL),
        }
        parts.append(
            pd.concat([pd.DataFrame(known), pd.DataFrame(values * 3 + 100, columns=FEATURES)], axis=1)
        )
    return pd.concat(parts, ignore_index=True)


def write_plate(
    folder: Path,
    plate: str,
    seed: int,
    change: Change = lambda cells: cells,
    compounds: Sequence[str] = COMPOUNDS,
    rows_at_once: int = 100,
) -> CellTable:
    """The feature table of one plate, after `change` of its cells."""
    folder.mkdir(parents=True)
    change(cells_of(plate, seed, compounds)).to_parquet(folder / "given.parquet")
    write_feature_table(CellParquet(folder / "given.parquet", rows_at_once=rows_at_once), folder)
    return CellTable(plate, folder)


def manifest(
    plates: Sequence[str], compounds: Sequence[str] = COMPOUNDS, dosed: bool = False, **split: object
) -> pd.DataFrame:
    """Wells of these plates, with their splits; `dosed`, the first well of a compound has 10 µM and others have 1."""
    known = drafts(compounds)
    if dosed:
        known = [
            replace(draft, dose=10.0 if place < len(compounds) else 1.0, dose_unit="µM")
            for place, draft in enumerate(known)
        ]
    counted = {draft.name: CELLS_PER_WELL for draft in known[:-1]}
    wells = pd.concat([wells_table(plate, known, counted, {}) for plate in plates], ignore_index=True)
    return split_wells(
        wells, WellSplitParameters.model_validate({"val_fraction": 0.25, "test_fraction": 0.25} | split)
    )
