"""Figures and page of class attribution, from made-up maps."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import SCORE_COLUMNS, MapKind, attribution_numbers
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
from cell_assets_tests.evaluation.movies import track_table


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
    assert attribution_figure(replace(track(2), frames=frames))


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
