import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, sync_playwright

from cell_assets.errors import BadInputError
from cell_assets.reporting.dynamics_page import (
    MOST_CELLS,
    NOT_KNOWN,
    SIDE,
    MovingCells,
    render_dynamics_page,
)
from cell_assets.reporting.embedding_figures import Colouring, Projection
from cell_assets_tests.chromium import FLAGS, chromium

SCREENSHOTS = Path(__file__).parents[2] / "test-output" / "dynamics_page"
HOURS = (3.0, 3.5, 4.0, 4.5)


def moving(n_tracks: int = 6, title: str = "Test cells", with_umap: bool = True) -> MovingCells:
    """Track k moves right by one at every time point and turns infected at time point k; track 0 ends after two."""
    rows = [(track, k) for track in range(n_tracks) for k in range(len(HOURS)) if track or k < 2]
    track, k = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    xy = np.column_stack([k, track]).astype(float)
    state = pd.Series(np.where(k >= track, "infected", "uninfected"), index=np.arange(len(rows)) + 7)
    projections = (Projection("PCA", xy, ("PC 1", "PC 2")), Projection("UMAP", -xy, ("UMAP 1", "UMAP 2")))
    return MovingCells(
        title=title,
        track=np.array([f"P1|A/1/000|{one}" for one in track]),
        plate=np.full(len(rows), "P1"),
        time=np.array(HOURS)[k],
        interval=0.5,
        projections=projections if with_umap else projections[:1],
        colourings=(
            Colouring("infection_state, annotated", state.where(track != 1)),
            Colouring("infection_state, predicted", state),
        ),
    )


def rendered(*sets: MovingCells, **changes: object) -> str:
    options = {"time_title": "hours post perturbation", "is_simulated": True, **changes}
    return render_dynamics_page("Cells of <E1>", sets or (moving(),), **options)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.S).group(1))


@pytest.fixture(scope="module")
def browser_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page in a real browser that may reach nothing; an error of its script fails the test that sees it."""
    file = tmp_path_factory.mktemp("page") / "dynamics.html"
    file.write_text(rendered(moving(), moving(3, "Independent experiment")))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium()), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(20_000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: asked.append(str(error)))
        page.goto(file.as_uri())
        yield page
        assert asked == [file.as_uri()]
        browser.close()


def points(page: Page, panel: int = 0) -> dict[str, tuple[float, float, str]]:
    """Place and state of every cell that a panel shows."""
    found = (
        page.locator(".panel")
        .nth(panel)
        .locator("circle.cell")
        .evaluate_all(
            "cells => cells.filter(c => c.style.display !== 'none')"
            ".map(c => [c.dataset.track, +c.getAttribute('cx'), +c.getAttribute('cy'), c.dataset.state])"
        )
    )
    return {track.rpartition("|")[2]: (x, y, state) for track, x, y, state in found}


@pytest.mark.needs_chromium
def test_the_slider_moves_the_points_to_where_the_data_say(browser_page: Page) -> None:
    browser_page.select_option("#projection", label="PCA")
    seen = []
    for k in range(len(HOURS)):
        browser_page.locator("#slider").fill(str(k))
        assert browser_page.inner_text("#time") == f"{HOURS[k]:g} hours post perturbation"
        seen.append(points(browser_page))
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        browser_page.wait_for_timeout(400)  # for the eased move to end before the picture
        browser_page.screenshot(path=SCREENSHOTS / f"{k}.png")
    assert set(seen[1]) == {"0", "1", "2", "3", "4", "5"} and set(seen[2]) == {"1", "2", "3", "4", "5"}
    # x and y are 3 and 5 wide: the longer fills the page but for a margin of 40 on both sides.
    step = (SIDE - 80) / 5
    for k, now in enumerate(seen):
        for track, (x, y, _) in now.items():
            assert x == pytest.approx(SIDE / 2 + (k - 1.5) * step, abs=1)
            assert y == pytest.approx(SIDE / 2 - (int(track) - 2.5) * step, abs=1)


@pytest.mark.needs_chromium
def test_panels_show_annotation_and_prediction_of_every_set_with_counts(browser_page: Page) -> None:
    browser_page.locator("#slider").fill("1")
    titles = browser_page.locator(".panel h2").all_inner_texts()
    assert titles == [
        f"{of}: infection state, {what}"
        for of in ("Test cells", "Independent experiment")
        for what in ("annotated", "predicted")
    ]
    assert {track: state for track, (_, _, state) in points(browser_page, 0).items()}["1"] == NOT_KNOWN
    predicted = {track: state for track, (_, _, state) in points(browser_page, 1).items()}
    assert predicted == {
        "0": "infected", "1": "infected", "2": "uninfected", "3": "uninfected", "4": "uninfected", "5": "uninfected",
    }  # fmt: skip
    assert browser_page.locator(".panel").nth(1).locator(".legend").inner_text().split("\n") == [
        "infected 2",
        "uninfected 4",
    ]
    assert set(points(browser_page, 3)) == {"0", "1", "2"}


@pytest.mark.needs_chromium
def test_arrow_keys_and_play_step_through_time_and_the_projection_can_be_changed(browser_page: Page) -> None:
    browser_page.locator("#slider").fill("0")
    browser_page.locator("h1").click()
    browser_page.keyboard.press("ArrowRight")
    browser_page.keyboard.press("ArrowRight")
    browser_page.keyboard.press("ArrowLeft")
    assert browser_page.inner_text("#time").startswith("3.5")
    before = points(browser_page)["2"]
    browser_page.select_option("#projection", label="UMAP")
    x, y, _ = points(browser_page)["2"]
    assert (x, y) == (SIDE - before[0], SIDE - before[1])
    browser_page.click("#play")
    browser_page.wait_for_function("document.querySelector('#slider').value === '3'")
    browser_page.click("#play")
    assert browser_page.inner_text("#play") == "Play"
    at = browser_page.locator("#slider").input_value()
    browser_page.wait_for_timeout(900)
    assert browser_page.locator("#slider").input_value() == at


def frames_shown(page: str, which: int) -> list[list[int]]:
    """x of every cell of a set in the first projection, by time; x is the frame that a cell was seen in."""
    frames = data_of(page)["sets"][which]["frames"]
    places = sorted({row[1] for frame in frames for row in frame})
    return [[places.index(row[1]) for row in frame] for frame in frames]


def test_between_its_frames_a_plate_holds_the_last_one_and_is_empty_before_and_after_its_film() -> None:
    every_half_hour = moving(3)
    # Filmed every 3 h from hour 0.5, so from before the others until they have long ended.
    slow = replace(moving(3), time=np.round(0.5 + (every_half_hour.time - 3.0) * 6, 6), interval=3.0)
    page = rendered(every_half_hour, slow)
    assert data_of(page)["times"] == [0.5, 3.0, 3.5, 4.0, 4.5, 6.5, 9.5]
    assert frames_shown(page, 1) == [[0] * 3, [0] * 3, [1] * 3, [1] * 3, [1] * 3, [2] * 2, [3] * 2]
    assert frames_shown(page, 0) == [[], [0] * 3, [1] * 3, [2] * 2, [3] * 2, [], []]
    assert [one["totals"] for one in data_of(page)["sets"]] == [[0, 3, 3, 2, 2, 0, 0], [3, 3, 3, 3, 3, 2, 2]]


def test_a_film_that_has_ended_is_held_for_one_interval() -> None:
    third = 1 / 3
    film = moving(1)
    one = replace(film, time=np.round([10.0, 10 + third], 6), interval=third)
    longer = replace(moving(2), time=np.round([10.0, 10 + third, 10.0, 10 + third, 10 + 2 * third, 11.0], 6))
    assert data_of(rendered(one, longer))["sets"][0]["totals"] == [1, 1, 1, 0]


def test_plates_of_one_set_that_were_filmed_at_other_times_are_shown_together() -> None:
    film = moving(4)
    later = np.isin(film.track, ["P1|A/1/000|2", "P1|A/1/000|3"])
    both = replace(film, time=film.time + 0.25 * later, plate=np.where(later, "P2", "P1"), track=film.track)
    assert data_of(rendered(both))["sets"][0]["totals"] == [2, 4, 4, 4, 3, 3, 3, 3]


def test_no_more_cells_are_shown_than_stated_and_whole_tracks_as_far_as_that_goes() -> None:
    data = data_of(rendered(moving(50), most_cells=8))
    (one,) = data["sets"]
    assert one["totals"] == [50, 50, 49, 49]
    frames = [{row[0] for row in frame} for frame in one["frames"]]
    assert [len(frame) for frame in frames] == [8] * 4
    assert len(set.union(*frames)) <= 9  # one more where track 0 has ended
    many = rendered(moving(2 * MOST_CELLS))
    assert f"At most {MOST_CELLS} cells" in many and len(many) < 300_000
    assert all(len(frame) == MOST_CELLS for frame in data_of(many)["sets"][0]["frames"])


def test_the_same_cells_give_the_same_page_whatever_their_index_and_another_seed_other_cells() -> None:
    assert rendered(moving(50), most_cells=8) == rendered(moving(50), most_cells=8)
    assert rendered(moving(50), most_cells=8) != rendered(moving(50), most_cells=8, seed=1)


def test_the_page_needs_nothing_from_outside_and_texts_cannot_leave_the_data() -> None:
    page = rendered(moving(title="</script><script>alert(1)</script>"))
    assert "<script>alert" not in page and "Cells of &lt;E1&gt;" in page
    assert data_of(page)["sets"][0]["title"] == "</script><script>alert(1)</script>"
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links == ["report.html"]
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "Simulated data." in page and "Simulated data." not in rendered(is_simulated=False)


def test_sets_without_cells_or_of_other_projections_are_refused() -> None:
    with pytest.raises(BadInputError, match="needs at least one cell"):
        render_dynamics_page("E1", [], time_title="h", is_simulated=False)
    with pytest.raises(BadInputError, match="Independent are not projected to PCA, UMAP"):
        rendered(moving(), moving(title="Independent", with_umap=False))
