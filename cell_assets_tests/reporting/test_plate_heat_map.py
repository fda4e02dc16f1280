"""Heat maps of whole plates: the colour of every well, hatching where there is no value, the same bytes again."""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cell_assets.imaging.quality.wells import PlateLayout, plate_layout
from cell_assets.reporting.plate_heat_map import HeatMapPanel, plate_heat_map_figure, write_plate_heat_maps


def whole_plate(n_rows: int, n_columns: int) -> PlateLayout:
    layout = plate_layout(
        [f"{chr(65 + row)}/{column + 1}" for row in range(n_rows) for column in range(n_columns)]
    )
    assert layout is not None
    return layout


def share_of(png: bytes, colour: np.ndarray) -> float:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return float((np.abs(pixels - colour).max(axis=-1) < 3).mean())


@pytest.mark.parametrize(("n_rows", "n_columns"), [(8, 12), (16, 24)])
def test_wells_have_the_colour_of_their_value(n_rows: int, n_columns: int) -> None:
    """A quarter of the plate low, half of it high: their colours cover areas of one to two."""
    values = np.full((n_rows, n_columns), 5.0)
    values[:, : n_columns // 4], values[:, n_columns // 2 :] = 1.0, 9.0
    png = plate_heat_map_figure(
        whole_plate(n_rows, n_columns), "Plate", [HeatMapPanel("Signal", "µm", values)]
    )
    low, high = (np.array(mpl.colormaps["viridis"](end)[:3]) * 255 for end in (0.0, 1.0))
    assert share_of(png, low) > 0.05
    assert share_of(png, high) / share_of(png, low) == pytest.approx(2.0, rel=0.1)


def test_missing_wells_are_hatched_and_not_coloured() -> None:
    layout, values = whole_plate(8, 12), np.full((8, 12), 1.0)
    values[0, 0] = 2.0
    whole = plate_heat_map_figure(layout, "Plate", [HeatMapPanel("Signal", "µm", values)])
    values[4:] = np.nan
    half = plate_heat_map_figure(layout, "Plate", [HeatMapPanel("Signal", "µm", values)])
    low = np.array(mpl.colormaps["viridis"](0.0)[:3]) * 255
    assert share_of(half, low) == pytest.approx(share_of(whole, low) / 2, rel=0.1)
    hatch = np.array([0xB6, 0xBF, 0xC9])
    assert share_of(half, hatch) > 0.005 > share_of(whole, hatch)


def wells(n: int, channel: str | None = "DNA", **measures: float) -> pd.DataFrame:
    names = [f"A/{k + 1}" for k in range(n)]
    return pd.DataFrame({"channel": [channel] * n, "well": names} | {k: [v] * n for k, v in measures.items()})


def test_a_figure_per_channel_and_one_of_counts(tmp_path: Path) -> None:
    table = pd.concat(
        [
            wells(3, "DNA", over_background=3.0),
            wells(3, "GFP/../a b", focus_slope=-2.0),
            wells(3, None, n_cells=9.0),
        ]
    )
    layout = whole_plate(8, 12)
    for folder in ("one", "again"):
        write_plate_heat_maps(tmp_path / folder, table, layout)
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == ["plate_0_DNA.png", "plate_1_GFP_a_b.png", "plate_cell_counts.png"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_one_well_makes_no_picture(tmp_path: Path) -> None:
    write_plate_heat_maps(tmp_path / "figures", wells(1, over_background=3.0), whole_plate(8, 12))
    assert not (tmp_path / "figures").exists()
