"""Figures and page of class attribution, from made-up maps."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import (
    RANDOM_DROP,
    SCORE_COLUMNS,
    MapKind,
    Region,
    area_column,
    attribution_numbers,
    correlation_column,
    drop_column,
    share_column,
)
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import NumberDraft, ReadReceipt
from cell_assets.reporting.attribution_figures import (
    AttributedFrame,
    AttributedTrack,
    attribution_figure,
    sanity_figure,
)
from cell_assets.reporting.attribution_page import AttributionContent, HeadWords, render_attribution
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.wording import title_text
from cell_assets_tests.evaluation.movies import track_table
from cell_assets_tests.reporting.drawings import bars, dots, drawn_figures, upright_lines


def numbers(column: str, seed: int = 0) -> tuple[NumberDraft, ...]:
    rng = np.random.default_rng(seed)
    scores = track_table().iloc[::8].copy()
    for name in SCORE_COLUMNS:
        scores[name] = rng.uniform(0.2, 0.6, len(scores))
    return attribution_numbers(scores, column, "dynaclr", "test tracks (simulated)", AttributionParameters())


def track(n_frames: int = 6, segment: bool = True) -> AttributedTrack:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-16:16, -16:16]
    disk = y**2 + x**2 < 36

    def frame(n: int) -> AttributedFrame:
        noise = rng.normal(size=(2, 32, 32)).astype(np.float32)
        maps = {
            kind: (0.01 * rng.normal(size=(2, 2, 32, 32)) + 0.1 * disk * (n - 2.5)).astype(np.float32)
            for kind in MapKind
        }
        states = ("infected" if n > 2 else "uninfected", "not annotated")
        return AttributedFrame(
            f"t {n}, {n / 2:g} h",
            noise + 3 * disk,
            maps,
            disk if segment else None,
            np.array([n / 6, 0.5]),
            states,
        )

    return AttributedTrack(
        ("Phase", "mCherry"),
        ("infection_state", "division_state"),
        ("infected", "mitosis"),
        tuple(map(frame, range(n_frames))),
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int64)


def test_red_speaks_for_the_state_and_blue_against_it() -> None:
    drawn = pixels(attribution_figure(track()))
    red, blue = drawn[..., 0] - drawn[..., 2] > 80, drawn[..., 2] - drawn[..., 0] > 80
    # The early half of the track speaks against, the late half for.
    places_red, places_blue = np.flatnonzero(red.any(0)), np.flatnonzero(blue.any(0))
    assert np.median(places_red) > np.median(places_blue) + 100


def test_a_cell_without_label_is_drawn_without_its_edge_and_bytes_are_the_same_again() -> None:
    whole, bare = attribution_figure(track()), attribution_figure(track(segment=False))
    assert whole != bare
    assert whole == attribution_figure(track())


def test_a_map_that_is_zero_everywhere_is_drawn() -> None:
    frames = tuple(
        replace(frame, maps={kind: np.zeros_like(one) for kind, one in frame.maps.items()})
        for frame in track(2).frames
    )
    zero = replace(track(2), frames=frames)
    with drawn_figures() as figures:
        attribution_figure(zero)
    images = np.array([axes.images[0] for axes in figures[0].axes]).reshape(2 + 2 * 2 * 2, 2)
    for channel in (0, 1):
        for image, frame in zip(images[channel], zero.frames, strict=True):
            assert image.get_array().tolist() == frame.image[channel].tolist()
    for image in images[2:].ravel():
        # White, the middle of a scale that is not empty.
        assert not image.get_array().any() and image.get_cmap().name == "RdBu_r"
        assert image.norm.vmin == -image.norm.vmax < 0


def test_every_head_map_and_channel_is_drawn_as_it_is_with_what_is_said_of_it() -> None:
    one = track(3)
    with drawn_figures() as figures:
        attribution_figure(one)
    panels = np.array(figures[0].axes).reshape(2 + 2 * 2 * 2, 3)
    blocks = [(head, kind) for head in (0, 1) for kind in MapKind]
    for block, (head, kind) in enumerate(blocks):
        limit = np.percentile(np.abs([frame.maps[kind][head] for frame in one.frames]), 99.5)
        for channel in (0, 1):
            row = panels[2 + 2 * block + channel]
            assert (
                f"for “{('infected', 'mitosis')[head]}”\n{('Phase', 'mCherry')[channel]}"
                in row[0].get_ylabel()
            )
            for axes, frame in zip(row, one.frames, strict=True):
                assert axes.images[0].get_array().tolist() == frame.maps[kind][head, channel].tolist()
                assert axes.images[0].norm.vmax == pytest.approx(limit)
    assert [axes.get_title() for axes in panels[0]] == ["t 0, 0 h", "t 1, 0.5 h", "t 2, 1 h"]
    assert panels[2, 1].get_title() == "P = 0.17\ntrue: uninfected"


def test_checks_are_drawn_as_the_numbers_state_them() -> None:
    columns = ["infection_state", "division_state"]
    stated = content().numbers
    with drawn_figures() as figures:
        sanity_figure(columns, stated)
    panels = np.array(figures[0].axes).reshape(2, 3)
    for row, column in zip(panels, columns, strict=True):
        values = {one.name: one for one in stated if one.report.endswith(f"attribution_{column}")}
        asked = (
            [share_column(kind, region) for region in Region for kind in MapKind],
            [correlation_column(kind) for kind in MapKind],
            [*(drop_column(kind) for kind in MapKind), RANDOM_DROP],
        )
        for axes, names in zip(row, asked, strict=True):
            assert dots(axes).tolist() == [[values[name].value, place] for place, name in enumerate(names)]
            intervals = [[values[name].ci_low, values[name].ci_high, k] for k, name in enumerate(names)]
            assert bars(axes).tolist() == intervals
        areas = [values[area_column(region)].value for region in Region for _ in MapKind]
        assert upright_lines(row[0]) == areas
        assert row[0].get_title(loc="left") == title_text(column).capitalize()


def content() -> AttributionContent:
    stated = (*numbers("infection_state"), *numbers("division_state", 1))
    figure = ReportFigure(
        "sanity_checks", "Sanity checks", "", sanity_figure(["infection_state", "division_state"], stated)
    )
    return AttributionContent(
        title="DynaCLR attribution on <E1>",
        subtitle="2 heads",
        simulated=True,
        method="dynaclr",
        baseline="the mean",
        split=SplitStatement(SplitUnit.TRACK, ("train", "val"), "test", 30, 10, 10, None),
        heads=(HeadWords("infection_state", "One."), HeadWords("division_state", "Two.")),
        without={"death": "every annotated cell is alive"},
        numbers=stated,
        figures=(figure,),
        notes=("A note.",),
        inputs=(ReadReceipt(1, "raw_acquisition", "P1", "ab" * 32),),
        settings=AttributionParameters(),
        parameters={"seed": 0},
    )


def test_the_page_says_how_maps_were_made_and_what_every_number_is() -> None:
    page = render_attribution(content())
    for said in (
        "DynaCLR attribution on &lt;E1&gt;",
        "Simulated data.",
        "window of 15 × 8 × 8 voxels of one channel",
        "already multiplied by the input",
        "16 Gauss-Legendre points on each piece of the path, which is cut at 0.001, 0.01, 0.1",
        "The baseline of both is 0 in normalised units: the mean.",
        "within 5 µm of it",
        "the 10 % of",
        "There is no head: every annotated cell is alive.",
        "A note.",
        "ab" * 32,
    ):
        assert said in page, said
    for number in content().numbers:
        assert f"<code>{number.name}</code>" in page
    assert page == render_attribution(content())


@pytest.mark.parametrize("cuts", [(), (0.5,)])
def test_an_uncut_path_is_said_to_be_one(cuts: tuple[float, ...]) -> None:
    settings = AttributionParameters(path_cuts=cuts)
    said = replace(content(), settings=settings).path
    assert ("cut at 0.5" in said) == bool(cuts)
