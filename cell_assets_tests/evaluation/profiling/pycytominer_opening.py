"""A file of profiles in pycytominer's hands, which is told nothing of its columns."""

from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.profiling.cytominer import feature_select, normalize


def found_by_pycytominer(table: pd.DataFrame) -> list[str]:
    """The columns that it takes for features."""
    # Not before `cytominer`, which takes back what importing pycytominer changes.
    from pycytominer.cyto_utils.features import infer_cp_features

    names: list[str] = infer_cp_features(table)
    return names


def opened_by_pycytominer(file: Path, n_features: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is known of the file's wells, and its features, as pycytominer tells them apart.

    It selects from the file and normalises it to its controls on the way.
    """
    table = pd.read_parquet(file)
    names = found_by_pycytominer(table)
    assert len(names) == n_features
    known, features = table.drop(columns=names), table[names]
    assert known.columns.str.startswith("Metadata_").all()

    selected = feature_select(str(file), operation="variance_threshold")
    told = feature_select(table, features=names, operation="variance_threshold")
    assert selected.columns.tolist() == told.columns.tolist()

    found = normalize(str(file), samples="Metadata_IsControl == True", method="standardize")
    assert found.columns.tolist() == table.columns.tolist()
    values = features.to_numpy(np.float64)
    controls = values[known["Metadata_IsControl"].to_numpy(bool)]
    mean, sd = controls.mean(0), controls.std(0)
    varies = sd > 1e-3 * np.abs(controls).max(0)
    assert varies.any()
    np.testing.assert_allclose(
        found[names].to_numpy(np.float64)[:, varies],
        ((values - mean) / np.where(varies, sd, 1))[:, varies],
        rtol=1e-3,
    )
    return known, features
