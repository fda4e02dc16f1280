"""Patches that a manifest keeps: the rows chosen, their pixels, and what is refused."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError, ChangedBytesError
from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.ingest import ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.kept_patches import KeptPatchesRecord, KeptRows, keep_patches, kept_bytes
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table
from cell_assets.imaging.patches import PatchRequest, resolve_patches, write_patch_table
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets.store.store import FormatName, Store
from cell_assets_tests.imaging.test_patches import write_tracks
from cell_assets_tests.store.drafts import run_draft

POSITIONS = ("A/1/000", "A/2/000")


class Plate:
    """A published plate of two positions, and their tables by the policies `manifest` and `all`."""

    def __init__(self, store: Store, folder: Path) -> None:
        made = simulate(
            folder / "plate",
            SimulationParameters(
                seed=5,
                fovs_per_well=1,
                time_points=4,
                shape_zyx=(2, 64, 72),
                voxel_um_zyx=(3.0, 1.0, 1.0),
                cells_per_fov=7,
            ),
        )
        with store.write("raw_acquisition", "P1") as staged:
            ingest(made.plate, staged.path, IngestOptions(tracks=made.tracks))
            published = store.publish(staged, run_draft(), [], FormatName("cell_assets.acquisition", "1"))
        self.raw: Artifact = published.artifact
        self.path = store.path_of(self.raw)
        self.acquisition: Acquisition = open_acquisition(self.path)
        self.bare = {position: self._table(folder / "bare", position, "manifest") for position in POSITIONS}
        self.full = {position: self._table(folder / "full", position, "all") for position in POSITIONS}

    def _table(self, folder: Path, position: str, policy: str) -> Path:
        fov = field_of_view(self.acquisition.info, position)
        tracks, out = folder / "tracks" / position, folder / "tables" / position
        given = self.acquisition.given_tracks(position)
        assert given is not None
        out.mkdir(parents=True)
        tracks.parent.mkdir(parents=True)
        write_tracks(tracks, given)
        request = PatchRequest.model_validate({"policy": policy, "side_px": 21, "max_bytes": 2**30})
        write_patch_table(self.acquisition, fov, tracks, resolve_patches(fov, request), out)
        return out

    def keep(self, rows: dict[str, list[int]], out: Path, workers: int = 1) -> KeptPatchesRecord:
        out.mkdir()
        chosen = [
            KeptRows(position, self.bare[position], np.array(of, np.int64)) for position, of in rows.items()
        ]
        assert sorted(keep_patches(self.path, self.raw, chosen, out, workers)) == sorted(rows)
        written = sum(one.stat().st_size for one in out.rglob("c/**/*") if one.is_file())
        assert written == kept_bytes(chosen)
        return KeptPatchesRecord.model_validate_json((out / "kept_patches.json").read_bytes())

    def opened(self, position: str, kept: Path, memory_map: bool = True) -> PatchTable:
        return open_patch_table(self.bare[position], memory_map, acquisition=self.path, kept=kept)


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plate]:
    folder = tmp_path_factory.mktemp("kept")
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        yield Plate(Store(folder / "store", ledger), folder)


@pytest.mark.parametrize("memory_map", [True, False])
def test_kept_patches_are_the_stored_ones_bit_for_bit(plate: Plate, tmp_path: Path, memory_map: bool) -> None:
    n_first = len(open_patch_table(plate.full[POSITIONS[0]]))
    rows = {POSITIONS[0]: list(range(0, n_first, 2)), POSITIONS[1]: [0, 1, 5]}
    record = plate.keep(rows, tmp_path / "kept", workers=2)
    assert [(one.position, one.n_cells, one.n_kept) for one in record.positions] == [
        (POSITIONS[0], n_first, len(rows[POSITIONS[0]])),
        (POSITIONS[1], len(open_patch_table(plate.full[POSITIONS[1]])), 3),
    ]
    for position, of in rows.items():
        kept = plate.opened(position, tmp_path / "kept", memory_map)
        assert kept.is_memory_mapped is memory_map
        asked = [*of[::-1], of[0]]
        stored = open_patch_table(plate.full[position])
        np.testing.assert_array_equal(kept.read(asked), stored.read(asked))
        assert kept.cells.equals(stored.cells)
        again = pickle.loads(pickle.dumps(kept))  # noqa: S301 - our own bytes, as a data loader's workers get them
        np.testing.assert_array_equal(again.read(asked), stored.read(asked))


def test_the_same_rows_make_the_same_bytes_however_many_workers(plate: Plate, tmp_path: Path) -> None:
    rows = {position: [1, 3, 4] for position in POSITIONS}
    files = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        plate.keep(rows, out, workers)
        files.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert files[0] == files[1]


def test_a_patch_that_was_not_kept_is_named(plate: Plate, tmp_path: Path) -> None:
    plate.keep({POSITIONS[0]: [0, 2]}, tmp_path / "kept")
    kept = plate.opened(POSITIONS[0], tmp_path / "kept")
    cell = kept.cells.iloc[1]
    with pytest.raises(BadInputError, match=rf"track {cell['track_id']} at t={cell['t']} was not kept"):
        kept.read([0, 1, 2])
    with pytest.raises(IndexError):
        kept.read([len(kept)])
    with pytest.raises(BadInputError, match="holds no patches of A/2/000"):
        plate.opened(POSITIONS[1], tmp_path / "kept")


def test_a_position_without_any_row_keeps_an_empty_array(plate: Plate, tmp_path: Path) -> None:
    plate.keep({POSITIONS[0]: []}, tmp_path / "kept")
    kept = plate.opened(POSITIONS[0], tmp_path / "kept")
    assert kept.read([]).shape == (0, 2, 2, 21, 21)


def test_patches_of_another_table_are_refused(plate: Plate, tmp_path: Path) -> None:
    plate.keep({POSITIONS[0]: [0]}, tmp_path / "kept")
    beyond = pd.DataFrame({"row": [len(open_patch_table(plate.full[POSITIONS[0]]))]})
    write_parquet(beyond, tmp_path / "kept" / POSITIONS[0] / "rows.parquet")
    with pytest.raises(BadInputError, match="was kept of another patch table"):
        plate.opened(POSITIONS[0], tmp_path / "kept")


def test_more_than_somebody_allowed_is_refused_before_anything_is_written(
    plate: Plate, tmp_path: Path
) -> None:
    bare = plate.bare[POSITIONS[0]]
    copy = tmp_path / "table"
    copy.mkdir()
    for file in bare.iterdir():
        (copy / file.name).write_bytes(
            file.read_bytes().replace(b'"max_bytes": 1073741824', b'"max_bytes": 1000')
        )
    out = tmp_path / "kept"
    out.mkdir()
    chosen = [KeptRows(POSITIONS[0], copy, np.arange(5))]
    with pytest.raises(BadInputError, match=r"5 patches of 3,528 bytes need 17,.* more than max_bytes=1,000"):
        list(keep_patches(plate.path, plate.raw, chosen, out, 1))
    assert list(out.iterdir()) == []


def test_damaged_pixels_are_not_kept(plate: Plate, tmp_path: Path) -> None:
    chunks = (plate.path / "plate.zarr" / POSITIONS[1] / "0" / "c").rglob("*")
    chunk = max((one for one in chunks if one.is_file()), key=lambda one: one.stat().st_size)
    whole = chunk.read_bytes()
    chunk.chmod(0o644)
    chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(ChangedBytesError, match="is not what was ingested"):
            plate.keep({POSITIONS[1]: [0]}, tmp_path / "kept")
    finally:
        chunk.write_bytes(whole)
