"""One division in several embeddings: which is chosen, that every panel draws its own table, and who has none."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.motion.division_steps import study_division_steps
from cell_assets.evaluation.studies.training_comparison import ReportedTraining, chosen_divisions
from cell_assets.evaluation.units import FloatArray
from cell_assets.reporting.comparison_page import comparison_figures
from cell_assets.reporting.division_figure import FIRST, PARENT, SECOND, Highlight, trajectory_table
from cell_assets.reporting.division_grid import division_grid, without_trajectories
from cell_assets.reporting.embedding_figures import Projection
from cell_assets_tests.evaluation.motion.test_division_steps import families
from cell_assets_tests.evaluation.moving_tracks import plain_evaluation
from cell_assets_tests.evaluation.studies.test_training_comparison import training
from cell_assets_tests.reporting.drawings import drawn_figures, labels_of, legend_of, line, points


def embedding(cells: pd.DataFrame, seed: int) -> FloatArray:
    """Two coordinates that depend on the cell, its time and the training, not on the order of rows."""
    state = 10 * cells["track_id"] + cells["t"] + cells["fov_name"].str[-3:].astype(int) / 7
    return np.column_stack([np.sin(state * (seed + 1)), np.cos(state * (seed + 2))])


def reported(label: str, cells: pd.DataFrame, seed: int, names: tuple[str, ...]) -> ReportedTraining:
    """Trained so that cells lie where `embedding` says in the first projection, and one further right in the next."""
    xy = embedding(cells, seed)
    found = study_division_steps(xy, cells, plain_evaluation(cells, xy), cells, horizon_min=5.0)
    table = trajectory_table(
        cells,
        [Projection(name, xy + place, ("first", "second")) for place, name in enumerate(names)],
        [Highlight("about to divide", found.near_division)],
        found.trajectories,
        cells["t"].to_numpy(dtype=float) * 5,
    )
    plain = training(label, set())
    return replace(plain, report=replace(plain.report, trajectories=table))


def shortened(cells: pd.DataFrame, *fovs: int) -> pd.DataFrame:
    """Without the last frame of both daughters in these FOVs, so that other families are followed for longer."""
    short = cells["fov_name"].isin([f"A/1/{fov:03d}" for fov in fovs])
    return cells[~(short & (cells["t"] == 9))].reset_index(drop=True)


def way(cells: pd.DataFrame, xy: FloatArray, fov: int, track: int) -> list[list[float]]:
    own = cells[(cells["fov_name"] == f"A/1/{fov:03d}") & (cells["track_id"] == track)].sort_values("t")
    return xy[own.index].tolist()


def test_a_panel_for_each_training_holds_the_same_family_in_its_own_embedding() -> None:
    # Test FOVs are 1, 3, ..., 11: of the second training's reports, FOVs 5, 7 and 9 are kept.
    cells, fewer = families(), shortened(families(), 1, 3)
    trainings = [
        reported("A", cells, 0, ("PCA", "UMAP")),
        reported("B", fewer, 1, ("PCA", "UMAP")),
        reported("C", cells.sample(frac=1, random_state=0).reset_index(drop=True), 2, ("PCA", "UMAP")),
        reported("D", cells, 3, ("PCA", "UMAP")),
    ]
    with drawn_figures() as figures:
        (made,) = division_grid(trainings)
    (figure,) = figures
    assert "The same family in every panel, track 1 of P1 A/1/005 and its daughters" in made.caption
    assert made.caption.startswith("UMAP of each") and "No trajectories" not in made.caption
    assert [labels_of(axes)[0] for axes in figure.axes] == ["A", "B", "C", "D"]
    for seed, (axes, own) in enumerate(zip(figure.axes, (cells, fewer, cells, cells), strict=True)):
        xy = embedding(own, seed) + 1  # UMAP
        division = way(own, xy, 5, 1)[-1]
        for label, colour, expected in (
            ("parent", PARENT, way(own, xy, 5, 1)),
            ("daughter", FIRST, [division, *way(own, xy, 5, 2)]),
            ("other daughter", SECOND, [division, *way(own, xy, 5, 3)]),
            ("division", PARENT, [division]),
        ):
            assert line(axes, label).tolist() == expected
            (drawn,) = [one for one in axes.lines if one.get_label() == label]
            assert drawn.get_color() == colour
        assert sorted(points(axes.collections[0]).tolist()) == sorted(xy.tolist())
        near = (own["track_id"] == 1) & (own["t"] >= 4)
        assert sorted(points(axes.collections[1]).tolist()) == sorted(xy[near].tolist())
    assert legend_of(figure) == ["about to divide", "daughter", "other daughter", "parent", "division"]
    left, top = ([getattr(axes.get_position(), side) for axes in figure.axes] for side in ("x0", "y1"))
    assert left[0] == left[2] < left[1] == left[3] and top[0] == top[1] > top[2] == top[3]


def test_without_a_shared_family_each_panel_has_its_own_and_the_caption_says_so() -> None:
    # FOVs 1, 3 and 5 in the first, 7, 9 and 11 in the second.
    cells, others = families(), shortened(families(), 1, 3, 5)
    trainings = [reported("A", cells, 0, ("PCA", "UMAP")), reported("B", others, 0, ("PCA",))]
    tables = [one.report.trajectories for one in trainings]
    chosen = chosen_divisions([table for table in tables if table is not None])
    assert (chosen.numbers, chosen.same_cells) == ((1, 1), False)
    with drawn_figures() as figures:
        (made,) = division_grid(trainings)
    first, second = figures[0].axes
    assert line(first, "parent").tolist() == way(cells, embedding(cells, 0), 1, 1)
    assert line(second, "parent").tolist() == way(others, embedding(others, 0), 7, 1)
    assert "No division is shown by all reports" in made.caption
    # One of them has no UMAP.
    assert made.caption.startswith("PCA of each")


def test_trainings_without_a_table_or_a_division_are_named() -> None:
    cells = families()
    undivided = cells[cells["track_id"] == 4].reset_index(drop=True)
    old, bare = training("old", set()), reported("still", undivided, 0, ("PCA",))
    with drawn_figures() as figures:
        (made,) = division_grid([old, reported("A", cells, 0, ("PCA",)), bare, replace(old, label="older")])
    assert [labels_of(axes)[0] for axes in figures[0].axes] == ["A"]
    sentences = (
        "No trajectories through a division of old; older: the reports are of an earlier version, without a table of "
        "them; make them again.",
        "No trajectories through a division of still: no test track of theirs is seen to divide into two.",
    )
    assert made.caption.endswith(" ".join(sentences))
    assert division_grid([old, bare]) == ()
    assert without_trajectories([old, bare, replace(old, label="older")]) == sentences
    assert [one.name for one in comparison_figures([old, reported("A", cells, 0, ("PCA",))])] == [
        "scores",
        "division_trajectories",
    ]
