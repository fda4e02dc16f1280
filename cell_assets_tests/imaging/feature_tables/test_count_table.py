"""Counts of genes as features: values by hand, generated tables against NumPy on the whole, and what is refused."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.sparse import csc_matrix, csr_matrix

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables import count_table
from cell_assets.imaging.feature_tables.columns import is_feature
from cell_assets.imaging.feature_tables.count_parameters import CountNormalization, CountParameters
from cell_assets.imaging.feature_tables.count_table import CountTable
from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table
from cell_assets.imaging.feature_tables.one_plate import OnePlate

LOG = CountParameters(normalization=CountNormalization.LOG_PER_10K)
BY_HAND = np.array([[1, 3, 0], [0, 0, 0], [0, 5, 5], [2, 0, 0]])
GENES = ("TP53", "MT-CO1", "HLA-A.1")


def saved(path: Path, counts: np.ndarray | csr_matrix | csc_matrix, **obs: object) -> Path:
    """Four or more cells of two samples; `obs` replaces columns, None takes one out."""
    n = counts.shape[0]
    columns = {
        "plate": np.array(["S1", "S2"])[np.arange(n) % 2],
        "well": "A01",
        "n_genes": np.arange(n),
    } | obs
    frame = pd.DataFrame(
        {name: value for name, value in columns.items() if value is not None},
        index=[f"cell{i}" for i in range(n)],
    )
    genes = GENES if counts.shape[1] == 3 else [f"g{i}" for i in range(counts.shape[1])]
    ad.AnnData(counts.astype(np.float32), frame, pd.DataFrame(index=list(genes))).write_h5ad(path)
    return path


def variable(n: int) -> CountParameters:
    return LOG.model_copy(update={"variable_genes": n})


def named(plate: str, well: str, layer: str | None = None) -> CountParameters:
    return LOG.model_copy(update={"plate": plate, "well": well, "layer": layer})


def generated(n: int = 500, genes: int = 40) -> np.ndarray:
    """Gene 7 is there in one cell of ten, and many times: it is the most variable."""
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(1, 2, genes) * random.gamma(3, 1, (n, 1)))
    counts[:, 7] = np.where(random.random(n) < 0.1, 50, 0)
    return counts


@pytest.mark.parametrize("stored", [np.asarray, csr_matrix])
@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_values_by_hand(stored: type, rows_at_once: int, tmp_path: Path) -> None:
    source = CountTable(saved(tmp_path / "c.h5ad", stored(BY_HAND)), LOG, rows_at_once)
    assert source.features == ("Cells_LogCounts_TP53", "Cells_LogCounts_MT-CO1", "Cells_LogCounts_HLA-A.1")
    assert all(map(is_feature, source.features))
    found = pd.concat(source.batches(), ignore_index=True)
    assert list(found.columns) == [*source.known, *source.features]
    # A quarter, three quarters and half of 10,000, and all of it.
    expected = np.log([[2501, 7501, 1], [1, 5001, 5001], [10_001, 1, 1]])
    np.testing.assert_allclose(found[list(source.features)], expected, rtol=1e-6)
    assert found["Metadata_Cell"].tolist() == ["cell0", "cell2", "cell3"]
    assert found["Metadata_Plate"].tolist() == ["S1", "S1", "S2"]
    assert found["Metadata_n_genes"].tolist() == [0, 2, 3]
    assert source.left_over() == {"Cells": 1}
    assert set(source.keys) == {"Metadata_Plate", "Metadata_Well", "Metadata_Cell"}


def test_counts_may_stay_as_they_are_and_then_have_other_names(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.h5ad", csr_matrix(BY_HAND))
    source = CountTable(path, CountParameters(normalization=CountNormalization.COUNTS))
    found = pd.concat(source.batches(), ignore_index=True)
    assert source.features == ("Cells_Counts_TP53", "Cells_Counts_MT-CO1", "Cells_Counts_HLA-A.1")
    np.testing.assert_array_equal(found[list(source.features)], BY_HAND[[0, 2, 3]])
    assert not set(source.features) & set(CountTable(path, LOG).features)


def test_what_becomes_of_counts_is_said_of_counts_and_of_nothing_else(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.h5ad", BY_HAND)
    with pytest.raises(
        BadInputError, match=r"holds counts of genes; say what becomes of them.*--counts log-per-10k"
    ):
        open_source(path)
    with pytest.raises(BadInputError, match=r"cells.parquet: holds no counts of genes"):
        open_source(tmp_path / "cells.parquet", LOG)
    with pytest.raises(ValidationError, match="normalization"):
        CountParameters.model_validate({"variable_genes": 3})


def test_the_most_variable_genes_are_those_of_the_whole_table(tmp_path: Path) -> None:
    counts = generated()
    path = saved(tmp_path / "c.h5ad", csr_matrix(counts))
    shares = counts / counts.sum(1, keepdims=True) * 10_000
    dispersion = shares.var(0) / shares.mean(0)
    expected = np.sort(np.argsort(-dispersion)[:6])
    assert 7 in expected
    sources = [CountTable(path, variable(6), rows) for rows in (7, 1000)]
    for source in sources:
        assert source.features == tuple(f"Cells_LogCounts_g{place}" for place in expected)
        found = pd.concat(source.batches())[list(source.features)]
        # Shares are of all counts, and not of those of the genes that are kept.
        np.testing.assert_allclose(found, np.log1p(shares[:, expected]), rtol=1e-6)
    with pytest.raises(BadInputError, match="41 variable genes cannot be chosen of 40"):
        CountTable(path, variable(41))


def test_memory_is_that_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "c.h5ad", csr_matrix(generated()))
    asked = []
    sparse = count_table.csr_array

    def counted(rows: csr_matrix) -> object:
        asked.append(rows.shape[0])
        return sparse(rows)

    monkeypatch.setattr(count_table, "csr_array", counted)
    assert sum(len(batch) for batch in CountTable(path, LOG, rows_at_once=60).batches()) == 500
    assert asked == [60] * 8 + [20]


def test_columns_and_layer_go_by_the_callers_names(tmp_path: Path) -> None:
    path = tmp_path / "c.h5ad"
    obs = pd.DataFrame(
        {"library": pd.Categorical(["L1", "L1", "L2"]), "guide": ["TP53_1", None, "NTC"]},
        index=["a", "b", "c"],
    )
    table = ad.AnnData(np.full((3, 3), 0.5, np.float32), obs, pd.DataFrame(index=list(GENES)))
    table.layers["counts"] = csr_matrix(np.eye(3, dtype=np.int64))
    table.write_h5ad(path)
    source = CountTable(path, named("library", "guide", "counts"))
    found = pd.concat(source.batches())
    assert found["Metadata_Plate"].tolist() == ["L1", "L1", "L2"]
    assert (
        found["Metadata_Well"].iloc[[0, 2]].tolist() == ["TP53_1", "NTC"] and found["Metadata_Well"].isna()[1]
    )
    np.testing.assert_allclose(found[list(source.features)], np.eye(3) * np.log(10_001), rtol=1e-6)
    with pytest.raises(BadInputError, match="obs has no column batch, which says the plate of a cell"):
        CountTable(path, named("batch", "guide", "counts"))
    with pytest.raises(BadInputError, match="obs column guide cannot be both plate and well"):
        CountTable(path, named("guide", "guide", "counts"))
    with pytest.raises(BadInputError, match="there is no layers/raw; its layers are counts"):
        CountTable(path, named("library", "guide", "raw"))
    with pytest.raises(BadInputError, match=r"X holds 0\.5 of gene TP53 in cell a, which is no count"):
        next(CountTable(path, named("library", "guide")).batches())


def test_a_file_becomes_the_feature_table_of_one_plate(tmp_path: Path) -> None:
    counts = generated()
    counts[[3, 8]] = 0
    wells = np.array(["A01", "B02"])[np.arange(500) // 2 % 2]
    path = saved(tmp_path / "c.h5ad", csr_matrix(counts), well=pd.Categorical(wells))
    (tmp_path / "all").mkdir()
    record = write_feature_table(open_source(path, LOG), tmp_path / "all")
    assert (record.cells, record.features, record.left_over, record.missing) == (498, 40, {"Cells": 2}, {})
    assert record.wells == {"S1|A01": 124, "S1|B02": 125, "S2|A01": 125, "S2|B02": 124}
    (tmp_path / "one").mkdir()
    write_feature_table(OnePlate(open_source(path, LOG), "P7", "S2"), tmp_path / "one")
    found = pd.read_parquet(tmp_path / "one" / "cells.parquet")
    kept = [i for i in range(500) if i % 2 and i != 3]
    assert found["Metadata_Cell"].tolist() == [f"cell{i}" for i in kept]
    assert found["Metadata_Plate"].unique().tolist() == ["P7"]
    assert found["Metadata_Well"].tolist() == [{"A01": "A/1", "B02": "B/2"}[wells[i]] for i in kept]
    shares = counts[kept] / counts[kept].sum(1, keepdims=True) * 10_000
    np.testing.assert_allclose(
        found[[f"Cells_LogCounts_g{i}" for i in range(40)]], np.log1p(shares), rtol=1e-5
    )


def test_columns_named_as_metadata_are_found(tmp_path: Path) -> None:
    renamed = {"plate": None, "well": None, "Metadata_Plate": "P", "Metadata_Well": "A01"}
    source = open_source(saved(tmp_path / "c.h5ad", BY_HAND, **renamed), LOG)
    assert next(source.batches())["Metadata_Plate"].tolist() == ["P"] * 3
    both = saved(tmp_path / "both.h5ad", BY_HAND, Metadata_Plate="P")
    with pytest.raises(BadInputError, match="two columns of obs become Metadata_Plate"):
        open_source(both, LOG)


@pytest.mark.parametrize(("value", "said"), [(-1, "-1"), (2.5, "2.5"), (np.nan, "nan"), (np.inf, "inf")])
@pytest.mark.parametrize("stored", [np.asarray, csr_matrix])
def test_what_is_no_count_is_named(value: float, said: str, stored: type, tmp_path: Path) -> None:
    counts = generated().astype(np.float64)
    counts[321, 5] = value
    path = saved(tmp_path / "c.h5ad", stored(counts))
    with pytest.raises(BadInputError, match=f"X holds {said} of gene g5 in cell cell321, which is no count"):
        list(CountTable(path, LOG, rows_at_once=50).batches())
    with pytest.raises(BadInputError, match="of gene g5 in cell cell321"):
        CountTable(path, variable(3))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.h5ad"
    with pytest.raises(BadInputError, match=r"c.h5ad: cannot be read as HDF5"):
        open_source(path, LOG)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(BadInputError, match=r"c.h5ad: has no obs that can be read"):
        open_source(path, LOG)
    with pytest.raises(BadInputError, match="X is stored as csc_matrix, which is not by cell"):
        open_source(saved(path, csc_matrix(BY_HAND)), LOG)
    table = ad.AnnData(BY_HAND, pd.DataFrame({"plate": list("PPPP"), "well": "A01"}, index=list("abcd")))
    for names, said in (
        (["a", "b", "a"], "gene a stands 2 times"),
        (["a", "b", "x_Parent_y"], "name of a place"),
    ):
        table.var_names = names
        table.write_h5ad(path)
        with pytest.raises(BadInputError, match=said):
            open_source(path, LOG)
