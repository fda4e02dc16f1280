"""A small screen as tables of single cells, as CytoTable would write them: mechanisms that differ in their mean."""

from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.assets.table_request import TableRequest
from cell_assets.imaging.feature_tables.treatments import TreatmentColumns

N_FEATURES = 12
N_COMPOUNDS = 10
"""Two of each mechanism."""
N_CONTROLS, N_EACH = 3, (1, 2, 2)
"""Wells of the control on every plate, and of each compound on one plate after the other: of the first, no well has
another of its compound beside it."""
N_WELLS = tuple(N_CONTROLS + each * N_COMPOUNDS for each in N_EACH)
CELLS = 24
"""Of every well."""
COLUMNS = TreatmentColumns(
    treatment="Metadata_Compound",
    dose="Metadata_Concentration",
    dose_unit="µM",
    moa="Metadata_moa",
    controls=("DMSO",),
)
TRAINING = {
    "cell_width": 32,
    "hidden_width": 16,
    "profile_width": 32,
    "sets": {"mean_cells": 20, "sd_cells": 4, "min_cells": 8, "sets_per_compound": 2},
    "max_epochs": 3,
    "threads": 1,
}
"""Changes to the quick preset for a training of seconds; what a real one learns is tested elsewhere."""


def table_of_plate(plate: int) -> pd.DataFrame:
    """Cells of one plate, with the offset that it gives all of its wells."""
    random = np.random.default_rng([3, plate])
    offset = random.normal(size=N_FEATURES)
    compounds = [(f"c{n}", f"m{n // 2}", 1.0) for n in range(N_COMPOUNDS)]
    wells = [("DMSO", "none", 0.0)] * N_CONTROLS + compounds * N_EACH[plate]
    parts = []
    for place, (compound, moa, dose) in enumerate(wells):
        direction = np.random.default_rng([4, int(moa[1:]) if moa != "none" else 99]).normal(size=N_FEATURES)
        shift = 0 if compound == "DMSO" else 2.0 * direction
        known = pd.DataFrame(
            {
                "Metadata_Plate": f"screen {plate}",
                "Metadata_Well": f"{'ABCD'[place // 6]}{place % 6 + 1:02d}",
                "Metadata_ImageNumber": place + 1,
                "Metadata_ObjectNumber": np.arange(1, CELLS + 1),
                "Metadata_Compound": compound,
                "Metadata_Concentration": dose,
                "Metadata_moa": moa,
            },
            index=range(CELLS),
        )
        cells = offset + shift + random.normal(size=(CELLS, N_FEATURES))
        features = pd.DataFrame(cells, columns=[f"Cells_Shape_{n}" for n in range(N_FEATURES)])
        parts.append(pd.concat([known, features], axis=1))
    return pd.concat(parts, ignore_index=True)


def write_screen(folder: Path, plates: int = 3) -> list[Path]:
    """One Parquet for each plate."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"plate{n}.parquet" for n in range(plates)]
    for n, file in enumerate(files):
        table_of_plate(n).to_parquet(file)
    return files


def table_requests(files: list[Path], experiment: str = "S1") -> list[TableRequest]:
    """What brings them in as P0, P1 and so on."""
    return [
        TableRequest(source=str(file), experiment=experiment, plate=f"P{n}", columns=COLUMNS)
        for n, file in enumerate(files)
    ]
