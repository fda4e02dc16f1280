"""Patches that are stored, kept beside their table, or cut when they are read: one interface, the same values."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.ingest import ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table, stores_patches
from cell_assets.imaging.patches import (
    PatchPolicy,
    PatchRequest,
    ResolvedPatches,
    resolve_patches,
    table_bytes,
    write_patch_table,
)
from cell_assets.imaging.track_tables import Column
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.imaging.test_patches import write_tracks

POSITION = "A/1/000"


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory: pytest.TempPathFactory) -> Acquisition:
    """Two channels, three planes, five frames."""
    folder = tmp_path_factory.mktemp("policies")
    made = simulate(
        folder / "plate",
        SimulationParameters(
            seed=3,
            fovs_per_well=1,
            time_points=5,
            shape_zyx=(3, 64, 72),
            voxel_um_zyx=(3.0, 1.0, 1.0),
            cells_per_fov=8,
        ),
    )
    ingest(made.plate, folder / "raw", IngestOptions(tracks=made.tracks))
    return open_acquisition(folder / "raw")


def resolved(acquisition: Acquisition, **request: object) -> ResolvedPatches:
    return resolve_patches(field_of_view(acquisition.info, POSITION), PatchRequest.model_validate(request))


def table(acquisition: Acquisition, folder: Path, parameters: ResolvedPatches) -> Path:
    tracks = acquisition.given_tracks(POSITION)
    assert tracks is not None
    out = folder / parameters.policy.value
    out.mkdir()
    write_tracks(folder / "tracks", tracks)
    write_patch_table(
        acquisition, field_of_view(acquisition.info, POSITION), folder / "tracks", parameters, out
    )
    return out


def both(acquisition: Acquisition, folder: Path, **request: object) -> tuple[PatchTable, PatchTable]:
    """The stored and the cut one."""
    policies = (PatchPolicy.ALL, PatchPolicy.NONE)
    folders = [
        table(acquisition, folder, resolved(acquisition, policy=policy, **request)) for policy in policies
    ]
    assert [stores_patches(one) for one in folders] == [True, False]
    stored, cut = (open_patch_table(one, acquisition=acquisition.path) for one in folders)
    return stored, cut


@pytest.mark.parametrize(
    "request_",
    [
        {"side_px": 24},
        {"side_px": 41},
        {"side_px": 17, "z_range": (1, 3)},
        {"side_px": 16, "channels": [{"name": "RFP", "kind": "fluorescence"}]},
    ],
    ids=str,
)
def test_cut_patches_are_the_stored_ones_bit_for_bit(
    acquisition: Acquisition, tmp_path: Path, request_: dict[str, object]
) -> None:
    if "channels" in request_:
        request_ = {
            **request_,
            "channels": [{"name": acquisition.info.channel_names[-1], "kind": "fluorescence"}],
        }
    stored, cut = both(acquisition, tmp_path, **request_)
    rows = np.arange(len(stored))
    patches = cut.read(rows)
    assert patches.dtype == stored.read([0]).dtype.newbyteorder("=")
    np.testing.assert_array_equal(patches, stored.read(rows))
    assert stored.cells["at_border"].any()
    assert stored.cells.equals(cut.cells)
    assert stored.info.channels == cut.info.channels
    again = pickle.loads(pickle.dumps(cut))  # noqa: S301 - our own bytes, as a data loader's workers get them
    np.testing.assert_array_equal(again.read([3, 1]), patches[[3, 1]])


@settings(max_examples=25)
@given(data=st.data())
def test_rows_come_in_the_order_asked_for(
    acquisition: Acquisition, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    stored, cut = _tables(acquisition, tmp_path_factory)
    rows = data.draw(st.lists(st.integers(0, len(stored) - 1), max_size=20))
    np.testing.assert_array_equal(cut.read(rows), stored.read(rows))


_made: list[tuple[PatchTable, PatchTable]] = []


def _tables(acquisition: Acquisition, factory: pytest.TempPathFactory) -> tuple[PatchTable, PatchTable]:
    if not _made:
        _made.append(both(acquisition, factory.mktemp("rows"), side_px=20))
    return _made[0]


def test_each_frame_is_decoded_once_and_only_one_is_held(
    acquisition: Acquisition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cut = both(acquisition, tmp_path, side_px=20)
    read: list[int] = []
    image = cut._patches._image

    class Counted:
        dtype = image.dtype

        def __getitem__(self, t: int) -> object:
            read.append(t)
            return image[t]

    monkeypatch.setattr(cut._patches, "_image", Counted())
    times = cut.cells[Column.T].to_numpy()
    cut.read(np.arange(len(cut))[::-1])
    assert read == sorted(set(times))


@pytest.mark.parametrize("policy", [PatchPolicy.MANIFEST, PatchPolicy.NONE])
def test_a_table_without_patches_asks_for_its_acquisition(
    acquisition: Acquisition, tmp_path: Path, policy: PatchPolicy
) -> None:
    path = table(acquisition, tmp_path, resolved(acquisition, policy=policy, side_px=20))
    assert {one.name for one in path.iterdir()} == {"cells.parquet", "patch_table.json"}
    with pytest.raises(BadInputError, match=rf"holds no patches \(policy {policy.value}\)"):
        open_patch_table(path)


def test_a_table_that_lost_its_patches_is_refused(acquisition: Acquisition, tmp_path: Path) -> None:
    path = table(acquisition, tmp_path, resolved(acquisition, side_px=20))
    (path / "patches.zarr").rename(tmp_path / "taken")
    with pytest.raises(BadInputError, match=r"patches\.zarr: is missing"):
        open_patch_table(path, acquisition=acquisition.path)


@pytest.mark.parametrize("policy", PatchPolicy)
@pytest.mark.parametrize("side", [8, 33])
def test_a_table_weighs_no_more_than_was_said(
    acquisition: Acquisition, tmp_path: Path, policy: PatchPolicy, side: int
) -> None:
    parameters = resolved(acquisition, policy=policy, side_px=side)
    path = table(acquisition, tmp_path, parameters)
    written = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    n_cells = len(open_patch_table(path, acquisition=acquisition.path))
    fov = field_of_view(acquisition.info, POSITION)
    assert written <= table_bytes(fov, parameters, n_cells)
    if policy is PatchPolicy.ALL:
        pixels = n_cells * int(np.prod((2, 3, side, side))) * fov.dtype.itemsize
        assert table_bytes(fov, parameters, n_cells) <= 1.05 * pixels + 400 * n_cells + 2**17
