"""The same network on counts of genes: perturbations that it did not learn from are found again on other donors."""

from pathlib import Path

import pandas as pd
import pytest

from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    WellSplitParameters,
    is_treated,
    split_wells,
    wells_table,
)
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import AVERAGE_PRECISION, CHANCE, Question, ranked_queries
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.imaging.feature_tables.count_parameters import CountNormalization
from cell_assets.methods.cytosummary.checkpoint import load_config
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets_tests.methods.cytosummary.synthetic_counts import (
    GENES,
    PERTURBATIONS,
    cells_of_wells,
    drafts,
    tables_of,
    write_counts,
)
from cell_assets_tests.methods.cytosummary.test_method import small


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_perturbations_that_were_not_learned_from_are_found_on_other_donors(
    seed: int, tmp_path: Path
) -> None:
    tables = tables_of(
        write_counts(tmp_path / "screen.h5ad", seed), CountNormalization.LOG_PER_10K, tmp_path / "tables"
    )
    wells = split_wells(
        pd.concat([wells_table(one.plate, drafts(), cells_of_wells(one), {}) for one in tables]),
        WellSplitParameters(val_fraction=0.25, test_fraction=0.25, seed=seed),
    )
    (model := tmp_path / "model").mkdir()
    METHOD.train(tables, wells, small(seed=seed, max_epochs=25, compounds_per_batch=12), model)
    config = load_config(model)
    assert config.features == tuple(f"Cells_LogCounts_g{n}" for n in range(GENES))
    held_out = set(wells.loc[wells[COMPOUND_SPLIT] == "test", COMPOUND])
    assert len(held_out) == len(PERTURBATIONS) // 4 and not held_out & set(config.compounds)
    profiled = []
    for one in tables:
        (out := tmp_path / one.plate).mkdir()
        METHOD.profile(model, one, wells, out, {})
        profiled.append(pd.read_parquet(out / "profiles.parquet"))
    profiles = Profiles.of_table(pd.concat(profiled, ignore_index=True))
    treated = profiles.select(is_treated(profiles.metadata))
    asked = ranked_queries(treated, Question(COMPOUND, (PLATE,), COMPOUND))
    asked = asked[asked[COMPOUND].isin(held_out)]
    assert len(asked) == 6 * 2 * 3
    assert asked[CHANCE].mean() < 0.1
    assert asked[AVERAGE_PRECISION].mean() > 0.6
