"""Plates of which the least relevant cells are debris that bends means, published as a method publishes them."""

from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.profiling.published_relevance import RelevanceFolders
from cell_assets.evaluation.profiling.relevance_table import RELEVANCE_PARQUET, ROW
from cell_assets.evaluation.profiling.well_manifest import (
    COUNT,
    WellSplitParameters,
    split_wells,
    wells_table,
)
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.ledger.records import WellDraft

N_FEATURES = 70
"""More than are read at once."""
CELLS, DEBRIS = 40, 8
"""Of every well; debris is a fifth of the cells."""
DEBRIS_FEATURE = "Cells_Shape_69"
_DRAFTS = tuple(
    WellDraft(f"{row}{n}", "compound", f"c{n}", 1.0, "µM", f"m{n // 2}", False)
    for row in "AB"
    for n in range(8)
) + tuple(WellDraft(f"C{n}", "compound", "DMSO", is_control=True) for n in range(4))


def cells_of(plate: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A plate's cells in a mixed order, and which of them are debris."""
    random = np.random.default_rng([7, plate])
    parts, debris = [], []
    for draft in _DRAFTS:
        mechanism = 99 if draft.is_control else int(str(draft.moa)[1:])
        shift = 0 if draft.is_control else np.random.default_rng([8, mechanism]).normal(size=N_FEATURES) / 8
        values = shift + random.normal(size=(CELLS, N_FEATURES))
        values[:DEBRIS] += 4 * random.normal(size=N_FEATURES)
        values[:, -1] = np.where(np.arange(CELLS) < DEBRIS, 6, 0) + random.random(CELLS)
        features = pd.DataFrame(values, columns=[f"Cells_Shape_{n}" for n in range(N_FEATURES)])
        known = pd.DataFrame(
            {PLATE: f"P{plate}", WELL: draft.name, "Metadata_ObjectNumber": np.arange(CELLS)}
        )
        parts.append(pd.concat([known, features], axis=1))
        debris.append(np.arange(CELLS) < DEBRIS)
    order = random.permutation(CELLS * len(parts))
    table = pd.concat(parts, ignore_index=True).iloc[order].reset_index(drop=True)
    return table, np.concatenate(debris)[order]


def published(folder: Path, n_plates: int = 4, held_out: tuple[str, ...] = ()) -> dict[str, RelevanceFolders]:
    """Their folders, by plate; debris has the least combined relevance and the least sensitivity."""
    drafted = [
        wells_table(f"P{n}", _DRAFTS, {one.name: CELLS for one in _DRAFTS}, {}) for n in range(n_plates)
    ]
    split = split_wells(
        pd.concat(drafted, ignore_index=True),
        WellSplitParameters(val_fraction=0, test_fraction=0, held_out_plates=held_out),
    )
    found = {}
    for plate in range(n_plates):
        cells, profiles = folder / f"cells{plate}", folder / f"profiles{plate}"
        cells.mkdir(parents=True)
        profiles.mkdir()
        table, debris = cells_of(plate)
        table.to_parquet(folder / f"{plate}.parquet")
        write_feature_table(open_source(folder / f"{plate}.parquet"), cells)
        own = split[split[PLATE] == f"P{plate}"].reset_index(drop=True)
        write_parquet(own.assign(Learned_0=1.0), profiles / "profiles.parquet")
        (profiles / "profiles.json").write_text('{"plate": "x", "without_relevance": {}}')
        write_relevance(profiles, table, debris, own)
        found[f"P{plate}"] = RelevanceFolders(profiles, cells)
    return found


def write_relevance(profiles: Path, table: pd.DataFrame, debris: np.ndarray, wells: pd.DataFrame) -> None:
    """Well by well, in the order of the wells."""
    assert set(wells[COUNT]) == {CELLS}
    random = np.random.default_rng(len(table))
    score = np.where(debris, 0.0, 0.3) + 0.2 * random.random(len(table))
    scored = table[[PLATE, WELL, "Metadata_ObjectNumber"]].assign(
        **{
            ROW: np.arange(len(table)),
            "combined": score,
            "lesser_rank": score,
            "sensitivity": score,
            "activation": random.random(len(table)),
        }
    )
    by_well = [scored[scored[WELL] == name] for name in wells[WELL]]
    scores = ["combined", "lesser_rank", "sensitivity", "activation"]
    ordered = pd.concat(by_well, ignore_index=True).astype(dict.fromkeys(scores, "float32"))
    write_parquet(ordered, profiles / RELEVANCE_PARQUET)
