"""Heads, the choice of cells, and the numbers of class attribution."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from scipy.stats import spearmanr

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells, Manifest
from cell_assets.evaluation.pixels.attribution_cells import choose_cells
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import (
    SCORE_COLUMNS,
    MapKind,
    attribution_numbers,
    numbers_without_head,
    rank_correlation,
    share_inside,
)
from cell_assets.evaluation.pixels.attribution_store import AttributionWriter
from cell_assets.evaluation.pixels.state_heads import StateHeads, fit_state_heads
from cell_assets.evaluation.scores.annotated_states import AnnotatedStates
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, study_embeddings
from cell_assets.evaluation.studies.published_study import StudiedCells
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets_tests.evaluation.movies import informative_features, track_table

KEYS = ["plate", "fov_name", "track_id", "t"]


def studied(states: pd.DataFrame | None, cells: pd.DataFrame) -> StudiedCells:
    """In an order that is not the canonical one."""
    shuffled = cells.assign(condition="mock").sample(frac=1, random_state=3).reset_index(drop=True)
    label = (shuffled["infection_state"] == "infected").to_numpy()
    features = informative_features(label, seed=5)
    manifest = Manifest(
        experiment="E1",
        plates={},
        fovs=(),
        conditions={},
        split_unit=SplitUnit.TRACK,
        split_parameters={},
        simulated=True,
    )
    tracks = cells.drop_duplicates(KEYS[:3])[[*KEYS[:3], "lineage_root", "split"]]
    embedded = EmbeddedCells(features, shuffled, features[:, :2], None)
    return StudiedCells(manifest, FrozenCells(tracks), {}, embedded, AnnotatedStates(states, ()), 5.0)


def turning() -> pd.DataFrame:
    """Every third track of the table turns at t = 4, and every fifth track's cells are all infected."""
    cells = track_table()
    turns = (cells["track_id"] % 3 == 0) & (cells["t"] >= 4) | (cells["track_id"] % 5 == 0)
    return cells.assign(infection_state=np.where(turns, "infected", "uninfected"))


def states_of(cells: pd.DataFrame, **columns: object) -> pd.DataFrame:
    return cells[[*KEYS, "infection_state"]].assign(**columns)


def test_a_head_is_the_probe_of_the_report() -> None:
    cells = turning()
    of = studied(states_of(cells), cells)
    heads = fit_state_heads(of, "E1", seed=7)
    (head,) = heads.heads
    assert (head.column, head.positive, head.negative) == ("infection_state", "infected", "uninfected")
    report = study_embeddings(
        of.embedded,
        of.known.states,
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.TRACK,
        interval_min=5.0,
        simulated=True,
        parameters=StudyParameters(seed=7, n_resamples=100),
    )
    (task,) = (task for task in report.evaluation.tasks if task.name == "infection_state")
    said = heads.cells[KEYS].assign(ours=1 / (1 + np.exp(-head.logit)))
    both = task.predictions.merge(said, on=KEYS, validate="one_to_one")
    assert len(both) == len(task.predictions) == int(heads.test.sum())
    np.testing.assert_allclose(both["ours"], both["probability"], rtol=1e-9)


def test_columns_without_a_head_say_why() -> None:
    cells = turning()
    columns = {
        "area": np.arange(len(cells)) * 1.5,
        "death": "alive",
        "phase": np.array(["G1", "S", "G2"])[np.arange(len(cells)) % 3],
        "late": np.where(cells["split"] == "test", np.where(cells["t"] > 3, "yes", "no"), "no"),
    }
    heads = fit_state_heads(studied(states_of(cells, **columns), cells), "E1", seed=0)
    assert [head.column for head in heads.heads] == ["infection_state"]
    assert heads.without["death"] == "every annotated cell is alive, so there is nothing to tell apart"
    assert heads.without["phase"] == "it has 3 states, and a head tells two apart"
    assert "area" not in heads.without
    assert "labelled training rows are negative, so there is nothing to learn" in heads.without["late"]
    numbers = numbers_without_head("death", heads.without["death"], "dynaclr", "test tracks")
    assert {number.why_missing for number in numbers} == {heads.without["death"]}


@pytest.mark.parametrize(
    ("states", "why"),
    [
        (None, "no cell is annotated"),
        (track_table()[KEYS].assign(death="alive"), "death: every annotated cell is alive"),
    ],
)
def test_without_any_head_the_sentence_says_why(states: pd.DataFrame | None, why: str) -> None:
    with pytest.raises(
        BadInputError, match=f"attribution of E1 needs an annotation column of two states.*{why}"
    ):
        fit_state_heads(studied(states, track_table()), "E1", seed=0)


@pytest.fixture(scope="module")
def heads() -> StateHeads:
    cells = turning()
    return fit_state_heads(studied(states_of(cells), cells), "E1", seed=0)


def test_scored_cells_are_test_cells_of_both_states_from_as_many_tracks_as_can_be(heads: StateHeads) -> None:
    rows = choose_cells(heads, AttributionParameters(cells_per_state=10)).scored["infection_state"]
    chosen = heads.cells.iloc[rows]
    (head,) = heads.heads
    assert (chosen["split"] == "test").all()
    assert head.label[rows].sum() == (~head.label[rows]).sum() == 10
    # Two test tracks turn (9, 24, 39 minus none): every track of a state is seen before one is seen again.
    for state in (True, False):
        of_state = heads.test & head.known & (head.label == state)
        n_tracks = heads.cells.loc[of_state, "track_id"].nunique()
        counts = chosen.loc[head.label[rows] == state, "track_id"].value_counts()
        assert len(counts) == min(10, n_tracks)
        assert counts.max() - counts.min() <= 1


def test_examples_change_their_state_in_the_middle(heads: StateHeads) -> None:
    chosen = choose_cells(heads, AttributionParameters(example_tracks=2, example_times=4))
    assert len(chosen.examples) == 2
    (head,) = heads.heads
    for track in chosen.examples:
        cells = heads.cells.iloc[track.rows]
        assert cells["track_id"].nunique() == 1
        # Tracks turn between t = 3 and 4: the ends, and the pair around the change.
        assert cells["t"].tolist() == [0, 3, 4, 7]
        assert head.label[track.rows].tolist() == [False, False, True, True]
    assert set(np.concatenate([track.rows for track in chosen.examples])) <= set(chosen.rows)


def test_a_short_side_of_the_change_leaves_its_places_to_the_other(heads: StateHeads) -> None:
    late = {"example_tracks": 1, "example_times": 6}
    (head,) = heads.heads
    label = head.label & (heads.cells["t"] >= 7).to_numpy()
    moved = StateHeads(
        heads.cells,
        heads.test & (heads.cells["track_id"] % 5 != 0).to_numpy(),
        heads.split,
        (type(head)(**{**vars(head), "label": label}),),
        {},
    )
    (track,) = choose_cells(moved, AttributionParameters.model_validate(late)).examples
    assert heads.cells["t"].iloc[track.rows].tolist()[-2:] == [6, 7]
    assert len(track.rows) == 6


def test_the_choice_depends_on_the_seed_alone(heads: StateHeads) -> None:
    first, same, other = (choose_cells(heads, AttributionParameters(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.rows, same.rows)
    assert not np.array_equal(first.scored["infection_state"], other.scored["infection_state"])


def test_a_share_is_of_absolute_attribution_over_all_channels() -> None:
    attribution = np.array([[[[1.0, -2.0, 0.0]]], [[[3.0, 0.0, -4.0]]]])  # (2, 1, 1, 3)
    region = np.array([[[True, True, False]]])
    assert share_inside(attribution, region) == pytest.approx((1 + 2 + 3) / 10)
    assert share_inside(np.zeros((1, 1, 1, 3)), region) is None


def test_rank_correlation_is_spearmans_of_absolute_values() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 1, 5, 5)).round(1)
    expected = spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic
    assert rank_correlation(a, b) == pytest.approx(expected)
    assert rank_correlation(a, -a) == pytest.approx(1)
    assert rank_correlation(a, np.ones_like(a)) is None


def test_numbers_are_means_over_cells_with_intervals_over_tracks() -> None:
    scores = pd.DataFrame({"plate": "P1", "fov_name": "A/1/000", "track_id": [1, 1, 2, 3, 4, 5, 6, 7]})
    for place, name in enumerate(SCORE_COLUMNS):
        scores[name] = np.arange(8.0) + place
    scores["occlusion_share_in_segment"] = [0.5, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, np.nan]
    scores["area_share_of_segment"] = 0.25
    scores["completeness_error"] = [0.1] * 7 + [0.8]
    numbers = {
        number.name: number
        for number in attribution_numbers(scores, "state", "dynaclr", "test tracks", AttributionParameters())
    }
    share = numbers["occlusion_share_in_segment"]
    assert share.report == "dynaclr/attribution_state"
    assert share.value == pytest.approx(0.6)
    assert (share.n, share.unit) == (6, "tracks")
    # Both cells of track 1 are drawn together, and together they are 0.6 too.
    assert share.ci_low == pytest.approx(0.6) and share.ci_high == pytest.approx(0.6)
    over = numbers["occlusion_share_in_segment_over_area"]
    assert over.value == pytest.approx(0.35)
    assert numbers["largest_completeness_error"].value == pytest.approx(0.8)
    assert numbers["largest_completeness_error"].ci_low is None
    gain = numbers["occlusion_logit_drop_over_random"].value
    assert gain == pytest.approx(
        SCORE_COLUMNS.index("occlusion_logit_drop") - SCORE_COLUMNS.index("random_logit_drop")
    )
    scores["occlusion_share_in_segment"] = np.nan
    (missing,) = (
        number
        for number in attribution_numbers(scores, "state", "dynaclr", "test tracks", AttributionParameters())
        if number.name == "occlusion_share_in_segment"
    )
    assert missing.why_missing == "it is defined for none of the scored cells"


def test_maps_are_written_one_by_one_and_none_is_forgotten(tmp_path: Path) -> None:
    maps = {
        kind: np.random.default_rng(n).normal(size=(2, 1, 1, 3, 4)).astype(np.float32)
        for n, kind in enumerate(MapKind)
    }
    with AttributionWriter(tmp_path, 2, ["a", "b"], ["Phase"], "the mean") as writer:
        assert [writer.write(maps), writer.write({kind: -one for kind, one in maps.items()})] == [0, 1]
    group = zarr.open_group(tmp_path / "attributions.zarr", mode="r")
    assert group.attrs["heads"] == ["a", "b"]
    for kind, values in maps.items():
        assert np.array_equal(group[kind.value], np.stack([values, -values]))
    with (
        pytest.raises(RuntimeError, match="1 of 2 cells were written"),
        AttributionWriter(tmp_path / "short", 2, ["a", "b"], ["Phase"], "the mean") as writer,
    ):
        writer.write(maps)
