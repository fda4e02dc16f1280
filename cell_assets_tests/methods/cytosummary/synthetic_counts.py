"""Counts of genes in single cells, as `.h5ad` has them: perturbations switch on gene programs, donors are plates."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from cell_assets.imaging.feature_tables.count_parameters import CountNormalization, CountParameters
from cell_assets.imaging.feature_tables.feature_table import (
    open_source,
    read_feature_table_record,
    write_feature_table,
)
from cell_assets.imaging.feature_tables.one_plate import OnePlate
from cell_assets.ledger.records import WellDraft
from cell_assets.methods.contract import CellTable

DONORS = ("D1", "D2", "D3")
PROGRAMS, GENES_EACH, OTHER_GENES = 6, 8, 32
GENES = PROGRAMS * GENES_EACH + OTHER_GENES
PERTURBATIONS = tuple(f"p{n:02}" for n in range(24))
CELLS_PER_WELL = 40
RESPONDING = 0.5
"""Of a perturbation's cells, those whose programs change."""


def drafts() -> list[WellDraft]:
    """Two wells of every perturbation and four of controls, on every donor's plate."""
    names = [*PERTURBATIONS, *PERTURBATIONS, *["NTC"] * 4]
    return [
        WellDraft(f"{'ABCDEFGH'[n // 12]}/{n % 12 + 1}", "guide", name, is_control=name == "NTC")
        for n, name in enumerate(names)
    ]


def write_counts(file: Path, seed: int) -> Path:
    """Every perturbation changes the rate of each program by its own factor, in half of its cells; donors differ in
    what they express, and cells in how deeply they were sequenced."""
    random = np.random.default_rng(seed)
    program = np.append(np.repeat(np.arange(PROGRAMS), GENES_EACH), np.full(OTHER_GENES, PROGRAMS))
    base = random.gamma(2, 1, GENES)
    effects = {name: random.normal(0, 1.2, PROGRAMS) for name in PERTURBATIONS} | {"NTC": np.zeros(PROGRAMS)}
    counts, obs = [], []
    for donor in DONORS:
        of_donor = base * random.lognormal(0, 0.5, GENES)
        for draft in drafts():
            responds = random.random((CELLS_PER_WELL, 1)) < RESPONDING
            change = np.append(effects[str(draft.perturbation)], 0.0)[program] * responds
            depth = random.lognormal(0, 0.7, (CELLS_PER_WELL, 1))
            counts.append(random.poisson(of_donor * np.exp(change) * depth))
            obs += [(donor, draft.name.replace("/", "0", 1), draft.perturbation)] * CELLS_PER_WELL
    known = pd.DataFrame(obs, columns=["plate", "well", "guide"], index=[f"cell{n}" for n in range(len(obs))])
    genes = pd.DataFrame(index=[f"g{n}" for n in range(GENES)])
    ad.AnnData(csr_matrix(np.concatenate(counts).astype(np.float32)), known, genes).write_h5ad(file)
    return file


def tables_of(file: Path, normalization: CountNormalization, root: Path) -> list[CellTable]:
    """The feature table of every donor."""
    found = []
    for donor in DONORS:
        folder = root / donor
        folder.mkdir(parents=True)
        source = open_source(file, CountParameters(normalization=normalization))
        write_feature_table(OnePlate(source, donor, donor), folder)
        found.append(CellTable(donor, folder))
    return found


def cells_of_wells(table: CellTable) -> dict[str, int]:
    """Cells by well, of those that have a count."""
    record = read_feature_table_record(table.path)
    return {name.partition("|")[2]: n for name, n in record.wells.items()}
