"""Two conditions filmed while one of them is infected, from simulated pixels to the report's dynamics."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest
from cell_assets.ledger.records import Number
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.end_to_end.lab import PlateFolder, opened, run, small_choices
from cell_assets_tests.reporting.drawings import dots, encoded_figures, line

pytestmark = pytest.mark.slow

MOCK, DENV = "virus_mock_0_MOI", "virus_DENV_5_MOI"
START_HOURS, INTERVAL_HOURS, N_TIMES = 4.0, 0.5, 20
SWAP_RECALL = ("dynaclr/track_disruptions_swap", "recall")
GROWTH, FRACTION, ONSET = (f"dynaclr/infection_state_{what}" for what in ("over_time", "fraction", "onset"))


@dataclass(frozen=True)
class Lab:
    settings: Settings
    states: pd.DataFrame
    """What the simulation knows of every cell."""
    figures: tuple[tuple[Figure, bytes], ...]
    """All that the run drew, with their PNGs."""

    def numbers(self) -> Mapping[tuple[str, str], Number]:
        with opened(self.settings) as session:
            return {(one.draft.report, one.draft.name): one for one in session.ledger.numbers("E1")}

    def report(self) -> Path:
        with opened(self.settings) as session:
            return session.store.read("dynaclr_report", "E1")[0]

    def drawn(self, name: str) -> Figure:
        """The figure whose PNG the report holds under this name."""
        written = (self.report() / "figures" / f"{name}.png").read_bytes()
        (found,) = [figure for figure, png in self.figures if png == written]
        return found


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """E1 with a plate of three FOVs a well, filmed from 4 to 13.5 hours after the virus."""
    folder = tmp_path_factory.mktemp("plates") / "infected"
    simulate(
        folder,
        SimulationParameters(
            seed=3,
            fovs_per_well=3,
            time_points=N_TIMES,
            interval_min=60 * INTERVAL_HOURS,
            start_hours_post_perturbation=START_HOURS,
            shape_zyx=(1, 96, 96),
            voxel_um_zyx=(3.0, 0.75, 0.75),
            cells_per_fov=14,
            write_true_labels=False,
        ),
    )
    fovs = {"patches": {"side_px": 32, "hours_post_perturbation_at_start": START_HOURS}}
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, PlateFolder(folder).request("E1", "P1"))
        with encoded_figures() as figures:
            outcome = run(session, RunRequest(experiment="E1", choices={**small_choices(), "fovs": fovs}))
        assert outcome.failed == (), outcome.failed
    return Lab(settings, pd.read_csv(folder / "states.csv"), tuple(figures))


def test_the_fraction_infected_grows_in_the_infected_wells_alone(lab: Lab) -> None:
    numbers = lab.numbers()
    rise = numbers[GROWTH, f"rise_{DENV}"].draft
    assert rise.ci_low is not None and rise.ci_low > 0 and rise.split == "test FOVs (simulated)"
    plateau = numbers[GROWTH, f"plateau_{DENV}"].draft
    assert plateau.value is not None or "no plateau was filmed" in str(plateau.why_missing)
    assert "does not rise" in str(numbers[GROWTH, f"plateau_time_h_{MOCK}"].draft.why_missing)
    hours = [START_HOURS + INTERVAL_HOURS * t for t in range(N_TIMES)]
    for condition in (MOCK, DENV):
        named = [numbers[FRACTION, f"infected_{condition}_at_{one:g}_h"].draft for one in hours]
        assert all(0 <= one.value <= 1 for one in named if one.value is not None)
        covered = numbers[GROWTH, f"intervals_with_annotated_fraction_{condition}"].draft
        assert covered.value is not None and 0 <= covered.value <= 1


def test_onsets_are_of_tracks_of_every_split_and_those_that_are_known_are_the_true_ones(lab: Lab) -> None:
    onsets = pd.read_parquet(lab.report() / "onsets" / "infection_state.parquet")
    # Train and val tracks calibrate the intervals, called by probes that did not learn from them.
    assert set(onsets["split"]) == {"train", "val", "test"}
    assert set(onsets["time_unit"]) == {"h"}
    assert (onsets.groupby("fov_name")["split"].nunique() == 1).all()
    key = ["fov_name", "track_id"]
    is_infected = lab.states["infection_state"] == "infected"
    first_infected = lab.states[is_infected].groupby(key)["t"].min().rename("true_t")
    known = onsets[onsets["annotated_course"] == "turns"].join(first_infected, on=key)
    assert len(known) > 5
    assert (known["annotated_onset_t"] == known["true_t"]).all()
    hours = START_HOURS + INTERVAL_HOURS * known["true_t"]
    assert known["annotated_onset_time"].to_numpy() == pytest.approx(hours.to_numpy())
    assert (known["condition"] == "virus DENV 5 MOI").all()
    numbers = lab.numbers()
    turned, annotated = (
        numbers[ONSET, f"turned_by_end{origin}_{DENV}"].draft for origin in ("", "_annotated")
    )
    assert turned.value is not None and annotated.value is not None and annotated.value > 0.5
    assert numbers[ONSET, f"turned_by_end_annotated_{MOCK}"].draft.value == 0
    coverage = numbers[ONSET, "interval_coverage"].draft
    assert (coverage.value is None) == (onsets["onset_low"].isna().all())
    # Mitosis comes and goes, so it has no onset.
    why = numbers["dynaclr/division_state_onset", "interval_coverage"].draft.why_missing
    assert "cells do not stay mitosis" in str(why)


def test_the_page_shows_both_and_says_that_they_are_simulated(lab: Lab) -> None:
    folder = lab.report()
    page = (folder / "report.html").read_text()
    assert "Simulated data." in page
    for name in ("infection_state_over_time", "infection_state_onset", "division_state_over_time"):
        png = base64.b64encode((folder / "figures" / f"{name}.png").read_bytes()).decode()
        assert re.search(
            rf'<figure id="{name}"[^>]*>\s*<img src="data:image/png;base64,{re.escape(png)}"', page
        )
    assert "Fraction infected over time (infection state)" in page
    assert not (folder / "figures" / "division_state_onset.png").exists()
    for (report, name), number in lab.numbers().items():
        if report in (GROWTH, FRACTION, ONSET):
            assert f"<code>{name}</code>" in page, number


def test_what_is_drawn_is_what_the_numbers_and_the_table_state(lab: Lab) -> None:
    numbers = lab.numbers()
    hours = [START_HOURS + INTERVAL_HOURS * t for t in range(N_TIMES)]
    for column, state in (("infection_state", "infected"), ("division_state", "mitosis")):
        figure = lab.drawn(f"{column}_over_time")
        assert figure.axes[0].get_ylabel() == f"fraction {state}"
        panels = {axes.get_title(loc="left").replace(" ", "_"): axes for axes in figure.axes}
        assert set(panels) == {MOCK, DENV}
        for condition, axes in panels.items():
            stated = [
                numbers[f"dynaclr/{column}_fraction", f"{state}_{condition}_at_{one:g}_h"].draft.value
                for one in hours
            ]
            assert line(axes, "called") == pytest.approx(np.column_stack([hours, stated]))
    survival, by_track = lab.drawn("infection_state_onset").axes
    for condition in (MOCK, DENV):
        turned = numbers[ONSET, f"turned_by_end_{condition}"].draft.value
        assert line(survival, condition.replace("_", " "))[-1, 1] == pytest.approx(1 - turned)
    onsets = pd.read_parquet(lab.report() / "onsets" / "infection_state.parquet")
    known = onsets[(onsets["split"] == "test") & (onsets["annotated_course"] == "turns")]
    seen = known[known["onset_t"].notna()][["annotated_onset_time", "onset_time"]].to_numpy()
    assert np.array(sorted(dots(by_track).tolist())) == pytest.approx(np.array(sorted(seen.tolist())))


def test_tracking_errors_divisions_and_the_animated_page_are_in_the_report(lab: Lab) -> None:
    folder, numbers = lab.report(), lab.numbers()
    for kind in ("swap", "merge"):
        report = f"dynaclr/track_disruptions_{kind}"
        recall, motion = numbers[report, "recall"].draft, numbers[report, "recall_motion"].draft
        assert recall.value is not None and 0 <= recall.value <= 1 and recall.split == "test FOVs (simulated)"
        assert (
            motion.value is not None and motion.value > 0.3
        )  # neighbours lie far beyond a step's usual length
    before = numbers["dynaclr/division_displacement", "before_division"].draft
    assert (before.value is None) == (before.why_missing is not None)
    page = (folder / "report.html").read_text()
    assert '<figure id="track_disruption_examples"' in page
    assert '<figure id="track_disruptions"' in page and '<a href="dynamics.html">' in page
    steps = pd.read_parquet(folder / "suspicious_steps.parquet")
    assert (
        0 < len(steps) <= 20
        and set(steps["plate"]) == {"P1"}
        and set(steps["fov_name"]) <= set(lab.states["fov_name"])
    )
    assert f'<td class="number">{steps["score"][0]:.1f}</td>' in page
    animated = (folder / "dynamics.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', animated, flags=re.S).group(1))
    assert data["times"] == [START_HOURS + INTERVAL_HOURS * t for t in range(N_TIMES)]
    titles = [colouring["title"] for colouring in data["sets"][0]["colourings"]]
    assert titles == [
        f"{column} state, {how}" for column in ("division", "infection") for how in ("annotated", "predicted")
    ]
    annotated = data["sets"][0]["colourings"][2]["names"]
    last = data["sets"][0]["frames"][-1]
    # Coordinates of PCA and UMAP stand between a row's track and its states.
    shown = {
        (data["sets"][0]["tracks"][row[0]], annotated[row[1 + 2 * len(data["projections"]) + 2]])
        for row in last
    }
    known = lab.states[lab.states["t"] == N_TIMES - 1]
    truth = {(f"P1|{row.fov_name}|{row.track_id}", row.infection_state) for row in known.itertuples()}
    assert shown and shown <= truth


def test_an_audit_comes_to_the_same_numbers(lab: Lab) -> None:
    numbers = lab.numbers()
    with opened(lab.settings) as session:
        for key in ((GROWTH, f"rise_{DENV}"), (ONSET, f"turned_by_end_{DENV}"), SWAP_RECALL):
            found = recompute(session.store, numbers[key].id)
            assert found.agrees, found.to_text()
            assert found.difference(found.ways[1]) == 0.0
