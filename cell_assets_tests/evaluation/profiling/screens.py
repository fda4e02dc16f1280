"""Made-up screens, whose mechanisms and plates have effects of known size."""

from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.profiling.learned_doses import DoseParameters, LearnedDoses
from cell_assets.evaluation.profiling.mean_profiles import (
    PROFILES_JSON,
    read_profiles_record,
    write_given_profiles,
)
from cell_assets.evaluation.profiling.profile_parameters import ProfileStudyParameters
from cell_assets.evaluation.profiling.published_profiles import ProfileFolders
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    MOA,
    PLATE_SPLIT,
    WellSplitParameters,
    split_wells,
    wells_table,
)
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import FloatArray
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.ledger.records import WellDraft

QUICK = ProfileStudyParameters(n_resamples=100, umap=False)
N_COMPOUNDS = 10


def screen(n_plates: int = 3) -> pd.DataFrame:
    """On each plate two wells of each of 10 compounds of 5 mechanisms, and four controls; plate P2 is held out."""
    wells = _unsplit(n_plates)
    held_out = ("P2",) if n_plates > 2 else ()
    return split_wells(
        wells, WellSplitParameters(test_fraction=0.4, val_fraction=0, held_out_plates=held_out)
    )


def stratified_screen() -> pd.DataFrame:
    """On each of six plates of two batches two wells of each of 10 compounds of 5 mechanisms, and four controls. As in
    Fig. 8 of CytoSummaryNet, plates of the first batch train (P0, P1), validate (P2) and test (P3); those of the other
    (P4, P5) are out of distribution. Six compounds train, two validate, two test."""
    batches = {f"P{n}": "Stain2" if n < 4 else "Stain5" for n in range(6)}
    return split_wells(
        _unsplit(6),
        WellSplitParameters(
            validation_plates=("P2",),
            held_out_plates=("P3",),
            out_of_distribution_plates=("P4", "P5"),
            batch_of_plate=batches,
        ),
    )


def _unsplit(n_plates: int) -> pd.DataFrame:
    drafts = [
        WellDraft(f"{row}{n}", "compound", f"c{n}", 1.0, "µM", f"m{n // 2}", False)
        for row in "AB"
        for n in range(N_COMPOUNDS)
    ]
    drafts += [WellDraft(f"C{n}", "compound", "DMSO", is_control=True) for n in range(4)]
    cells = {one.name: 7 for one in drafts}
    return pd.concat([wells_table(f"P{n}", drafts, cells, {}) for n in range(n_plates)], ignore_index=True)


def dose_series() -> pd.DataFrame:
    """On each of two plates two wells of each of 10 compounds of 5 mechanisms at 1 and 0.1 µM, and four controls; the
    higher dose alone is learned from, and two of five compounds are not."""
    drafts = [
        WellDraft(f"{row}{n}", "compound", f"c{n}", 0.1 if row in "BD" else 1.0, "µM", f"m{n // 2}", False)
        for row in "ABCD"
        for n in range(N_COMPOUNDS)
    ]
    drafts += [WellDraft(f"E{n}", "compound", "DMSO", is_control=True) for n in range(4)]
    cells = {one.name: 7 for one in drafts}
    wells = pd.concat([wells_table(f"P{n}", drafts, cells, {}) for n in range(2)], ignore_index=True)
    highest = DoseParameters(learned=LearnedDoses.HIGHEST)
    return split_wells(wells, WellSplitParameters(test_fraction=0.4, val_fraction=0, doses=highest))


def profiles(wells: pd.DataFrame, seed: int, mechanism: float = 0.0, plate: float = 0.0) -> Profiles:
    """Noise of spread 1, and effects of that spread for each mechanism and plate."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(wells), 12))
    for column, size in ((MOA, mechanism), (PLATE, plate)):
        codes = pd.factorize(wells[column])[0]
        features += size * random.normal(size=(codes.max() + 1, 12))[codes] * (codes >= 0)[:, None]
    return Profiles(wells, features, tuple(f"Cells_F{n}" for n in range(12)))


KINDS = (tuple("abc"), ("a_mad", "b_mad", "c_mad"), tuple(f"CovarianceSketch_{n}" for n in range(3)))
"""Names of medians, dispersions and covariances, without their compartment."""


def with_fusion(
    root: Path, n_kinds: int = 3, covariances_of_c0: FloatArray | None = None
) -> tuple[ProfileFolders, pd.DataFrame]:
    """Two plates that have means and `fusion` profiles, these of so many kinds; the table of the latter.

    Args:
        covariances_of_c0: (4, 3), of the two wells of compound c0 on each plate, in place of drawn ones.
    """
    wells = screen(2).drop(columns=[COMPOUND_SPLIT, PLATE_SPLIT])
    made = profiles(wells, seed=1, mechanism=0.5)
    names = [f"Cells_{name}" for kind in KINDS[:n_kinds] for name in kind]
    table = wells.join(pd.DataFrame(made.features[:, : len(names)], columns=names))
    if covariances_of_c0 is not None:
        table.loc[table[COMPOUND] == "c0", names[-3:]] = covariances_of_c0
    folders = {}
    for plate, own in table.groupby(PLATE):
        folder = root / str(plate)
        folder.mkdir(parents=True)
        write_given_profiles(own[[WELL, *names]], str(plate), own[list(wells.columns)], folder)
        record = read_profiles_record(folder)
        both = {**record.features, Representation.FUSION: len(names)}
        (folder / "fusion.parquet").write_bytes((folder / "mean.parquet").read_bytes())
        (folder / PROFILES_JSON).write_text(record.model_copy(update={"features": both}).model_dump_json())
        folders[str(plate)] = folder
    return ProfileFolders(folders), table
