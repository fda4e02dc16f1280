"""Tables that somebody made to harm: one sentence each, in an honest table's memory, and nothing read elsewhere."""

import gzip
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.count_parameters import CountNormalization, CountParameters
from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table
from cell_assets.imaging.feature_tables.well_table import read_well_table
from cell_assets_tests.anonymous_memory import Peak

AS_THEY_ARE = CountParameters(normalization=CountNormalization.COUNTS)
LEAST_MIB = 400
"""More than any of these honest tables takes, and less than a twentieth of what they claim."""


class Bomb:
    """Runs code where a pickle is trusted."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.victim,)


def counts_file(path: Path, change: Callable[[h5py.File], None] = lambda _: None) -> Path:
    """An honest .h5ad of 20 cells and 5 genes, and then something done to it."""
    obs = pd.DataFrame({"plate": ["P"] * 20, "well": ["A01"] * 20}, index=[f"c{n}" for n in range(20)])
    counts = csr_matrix(np.arange(1, 101).reshape(20, 5).astype(float))
    ad.AnnData(counts, obs, pd.DataFrame(index=[f"g{n}" for n in range(5)])).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def read_counts(path: Path, out: Path) -> None:
    write_feature_table(open_source(path, AS_THEY_ARE), out)


def replaced(file: h5py.File, name: str, **how: object) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    made = file.create_dataset(name, **how)
    made.attrs.update(attributes)


def obs_in_another_file(file: h5py.File) -> None:
    other = Path(file.filename).with_name("secret.h5")
    with h5py.File(other, "w") as beside:
        file.copy("obs", beside)
    del file["obs"]
    file["obs"] = h5py.ExternalLink(str(other), "/obs")


def counts_in_another_file(file: h5py.File) -> None:
    raw = Path(file.filename).with_name("secret.raw")
    raw.write_bytes(np.ones(100).tobytes())
    replaced(file, "X/data", shape=(100,), dtype="<f8", external=[(str(raw), 0, 800)])


def counts_by_another_name(file: h5py.File) -> None:
    file.move("X/indices", "elsewhere")
    file["X/indices"] = h5py.SoftLink("/elsewhere")


def obs_within_itself(file: h5py.File) -> None:
    file["obs/well/again"] = file["obs"]


def a_billion_cells(file: h5py.File) -> None:
    for name in ("_index", "plate", "well"):
        del file["obs"][name]
        made = file["obs"].create_dataset(name, (10**9,), h5py.string_dtype(), chunks=(10**6,))
        made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    file["X"].attrs["shape"] = [10**9, 5]


def a_chunk_of_gigabytes(file: h5py.File) -> None:
    del file["X"]
    counts = file.create_dataset("X", (20, 5), "<f8", chunks=(10_000_000, 40), maxshape=(None, None))
    counts.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def ends_beyond_the_values(file: h5py.File) -> None:
    ends = file["X/indptr"][:].astype(np.int64)
    ends[5] = ends[-1] = 10**10
    replaced(file, "X/indptr", data=ends)


def ends_before_their_beginnings(file: h5py.File) -> None:
    file["X/indptr"][3] = 90


def indices_outside(file: h5py.File) -> None:
    file["X/indices"][...] = 10**9


def indices_below(file: h5py.File) -> None:
    file["X/indices"][7] = -(10**9)


def pickled_column(file: h5py.File) -> None:
    file["obs/plate"].attrs["encoding-type"] = "pickle"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (obs_in_another_file, "has no obs that can be read (obs is a link to another place or file)"),
        (counts_in_another_file, "/X/data takes its values from other files; copy them in"),
        (counts_by_another_name, "has no X that can be read (X/indices is a link to another place or file)"),
        (obs_within_itself, "has no obs that can be read ("),
        (a_billion_cells, "obs claims 24 GB"),
        (a_chunk_of_gigabytes, "/X is stored in chunks of (10000000, 40) values"),
        (ends_beyond_the_values, "has no X that can be read (its indptr says where cells lie as no matrix"),
        (ends_before_their_beginnings, "has no X that can be read (its indptr says where cells lie"),
        (indices_outside, "has no X that can be read (indices must be < 5"),
        (indices_below, "has no X that can be read (indices must be >= 0"),
        (pickled_column, "has no obs that can be read ("),
    ],
)
def test_counts_that_lie_are_refused(change: Callable[[h5py.File], None], said: str, tmp_path: Path) -> None:
    path = counts_file(tmp_path / "counts.h5ad", change)
    (tmp_path / "out").mkdir()
    with Peak() as peak, pytest.raises(BadInputError) as refused:
        read_counts(path, tmp_path / "out")
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert peak.mib < LEAST_MIB


def test_honest_counts_are_read(tmp_path: Path) -> None:
    read_counts(counts_file(tmp_path / "counts.h5ad"), tmp_path)
    assert pd.read_parquet(tmp_path / "cells.parquet")["Cells_Counts_g4"].iloc[-1] == 100


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_one_wrong_byte_is_a_sentence_or_another_value(at: float, byte: int, tmp_path: Path) -> None:
    path = counts_file(tmp_path / "counts.h5ad")
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] = byte
    path.write_bytes(content)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    try:
        read_counts(path, out)
    except BadInputError as error:
        assert "\n" not in str(error)
    for left in out.iterdir():
        left.unlink()


def database(path: Path, image: str) -> Path:
    """CellProfiler's tables of objects, empty, and whatever makes the one of images."""
    with closing(sqlite3.connect(path)) as sql:
        for name, parents in (("Cells", ""), ("Nuclei", ""), ("Cytoplasm", ", Cytoplasm_Parent_Cells int, "
                              "Cytoplasm_Parent_Nuclei int")):  # fmt: skip
            sql.execute(
                f"CREATE TABLE Per_{name} (ImageNumber int, {name}_Number_Object_Number int, {name}_A float{parents})"
            )
        sql.executescript(image)
        sql.commit()
    return path


@pytest.mark.parametrize(
    "image",
    [
        "CREATE VIEW Per_Image AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS "
        "ImageNumber, 'P' AS Image_Metadata_Plate, 'A01' AS Image_Metadata_Well FROM n;",
        "CREATE VIRTUAL TABLE Per_Image USING fts5(ImageNumber, Image_Metadata_Plate, Image_Metadata_Well);",
        "create  view per_image as select 1 as ImageNumber, 'P' as Image_Metadata_Plate, 'A' as Image_Metadata_Well;",
    ],
    ids=["endless view", "virtual table", "lower case"],
)
def test_rows_that_a_database_makes_up_are_refused(image: str, tmp_path: Path) -> None:
    path = database(tmp_path / "cells.sqlite", image)
    with pytest.raises(
        BadInputError, match=r"cells.sqlite: Per_Image is no table but a view; write its rows"
    ):
        open_source(path)


def profiles(n: int, **columns: object) -> pa.Table:
    return pa.table(
        {"Metadata_Plate": ["P"] * n, "Metadata_Well": ["A01"] * n, "Cells_A": np.zeros(n), **columns}
    )


def test_profiles_that_unpack_to_more_than_a_table_of_wells_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held to 64 MB, as files of gigabytes take long to write."""
    monkeypatch.setattr("cell_assets.imaging.feature_tables.well_table._MOST_BYTES", 2**26)
    large, packed = tmp_path / "wells.parquet", tmp_path / "wells.csv.gz"
    pq.write_table(profiles(3 * 2**20), large, compression="zstd")
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(b"Metadata_Plate,Metadata_Well,Cells_A\n" + b"P,A01,0\n" * 2**24)
    for path in (large, packed):
        assert path.stat().st_size < 2**20
        with Peak() as peak, pytest.raises(BadInputError, match=f"{path.name}: unpacks to more than"):
            read_well_table(path)
        assert peak.mib < 16


def test_packed_profiles_are_read_as_pycytominer_writes_them(tmp_path: Path) -> None:
    given_ = pd.DataFrame({"Metadata_Plate": ["001"], "Metadata_Well": ["A01"], "Cells_A": [0.1]})
    for suffix in ("csv", "csv.gz", "csv.bz2", "csv.xz"):
        given_.to_csv(tmp_path / f"wells.{suffix}", index=False)
        assert read_well_table(tmp_path / f"wells.{suffix}").rows.equals(given_)
    (tmp_path / "cut.csv.gz").write_bytes((tmp_path / "wells.csv.gz").read_bytes()[:-9])
    (tmp_path / "no.csv.gz").write_bytes(b"Metadata_Plate,Metadata_Well,A\n")
    for name in ("cut.csv.gz", "no.csv.gz"):
        with pytest.raises(BadInputError, match=f"{name}: cannot be read as profiles of wells"):
            read_well_table(tmp_path / name)


@pytest.mark.parametrize("name", ["arrow.py_extension_type", "arrow.py_extension", "python.object"])
def test_nothing_that_is_pickled_in_a_parquet_file_is_run(name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    pickled = pickle.dumps(Bomb(victim))
    cells = profiles(1, Metadata_ObjectNumber=[1])
    marked = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": pickled}
    place = cells.schema.get_field_index("Cells_A")
    schema = cells.schema.set(place, cells.schema.field(place).with_metadata(marked))
    path = tmp_path / "cells.parquet"
    pq.write_table(cells.cast(schema), path)
    write_feature_table(open_source(path), tmp_path)
    read_well_table(path)
    pq.write_table(cells.replace_schema_metadata({b"pandas": pickled}), path)
    with pytest.raises(BadInputError, match="cannot be read as profiles of wells"):
        read_well_table(path)
    assert not victim.exists()
