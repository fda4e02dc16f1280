"""plate_qc as the lab sees it: tables and heat maps in the store, pictures in the Dagster UI's metadata."""

from collections.abc import Callable

import dagster as dg
import numpy as np
import pandas as pd

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.quality.plate_quality import plate_quality, read_plate_quality
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, instance_of, opened


def test_tables_and_heat_maps_are_published_and_shown(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        folder, _ = session.store.read("plate_qc", "P1")
        raw, _ = session.store.read("raw_acquisition", "P1")
        published = read_plate_quality(folder).screening
        measured = plate_quality(open_acquisition(raw)).screening
        assert published is not None and measured is not None
        pd.testing.assert_frame_equal(published.frames, measured.frames, check_dtype=False)
        info = open_acquisition(raw).info
        n_frames = len(info.channel_names) * sum(position.shape[0] for position in info.positions)
        assert len(published.frames) == n_frames
        assert np.isfinite(published.frames["focus_slope"]).all()
        figures = sorted(file.stem for file in (folder / "figures").iterdir())
        assert len(figures) == len(info.channel_names)
        with instance_of(session) as instance:
            (record,) = instance.fetch_materializations(dg.AssetKey("plate_qc"), limit=5).records
        assert record.asset_materialization is not None
        shown = record.asset_materialization.metadata["figures"].value
        assert isinstance(shown, str)
        assert [stem for stem in figures if f"![{stem}](data:image/png;base64," in shown] == figures
