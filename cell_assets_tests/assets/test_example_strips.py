"""Which cells a report shows frame by frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from cell_assets.assets.example_strips import example_strips
from cell_assets.assets.inputs import ReadArtifact, ReadTable, ReportInputs
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table
from cell_assets.ledger.records import ReadReceipt
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import study
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

KEYS = ["fov_name", "track_id", "t"]
RECEIPT = ReadReceipt(1, "patch_table", "P1", "ab" * 32)


def pictured_study(folder: Path) -> tuple[EmbeddingStudy, ReportInputs, dict[str, PatchTable]]:
    """An infection in two FOVs, every cell of which has a patch."""
    found = study(infection_movie(n_lineages=32))
    folders = {
        fov: write_table(folder / str(place), fov, n_tracks=32, n_frames=24, seed=place)
        for place, fov in enumerate(("A/1/000", "A/2/000"))
    }
    tables = {fov: open_patch_table(one) for fov, one in folders.items()}
    cells = found.embedded.cells
    row = [
        tables[fov].cells.set_index(["track_id", "t"])["row"][track, t]
        for fov, track, t in cells[KEYS].itertuples(index=False)
    ]
    here = ReadArtifact(folder, RECEIPT)
    inputs = ReportInputs(
        {},
        {"P1": here},
        {("P1", fov): ReadTable(one, RECEIPT) for fov, one in folders.items()},
        here,
        here,
        {},
    )
    embedded = replace(found.embedded, cells=cells.assign(row=row))
    return replace(found, embedded=embedded), inputs, tables


def test_a_cell_that_turns_is_shown_before_the_ends_of_other_tracks_and_three_in_all(tmp_path: Path) -> None:
    found, inputs, tables = pictured_study(tmp_path)
    infection = next(task for task in found.evaluation.tasks if task.name == "infection_state")
    others = tuple(replace(infection, name=name) for name in ("about_to_divide", "b", "c"))
    tasks = (*others, infection)
    found = replace(found, evaluation=replace(found.evaluation, tasks=tasks))
    strips = example_strips(found, inputs)
    assert [one.task for one in strips] == ["infection_state", "about_to_divide", "b"]

    turns, ends = strips[:2]
    # Of 24 frames 12, from the first to the last, though the cell was infected long before the last 12 began.
    assert len(turns.images) == 12 and turns.minutes[-1] - turns.minutes[0] == 23 * 30
    assert turns.minutes[0] < 0 < turns.minutes[-1]
    assert turns.clock == "minutes from the first frame that is annotated infected"
    assert turns.probability is not None
    calm, late = turns.probability[turns.minutes < 0], turns.probability[turns.minutes >= 0]
    assert np.median(calm) < 0.5 < np.median(late)

    assert ends.minutes.tolist() == [-30.0 * k for k in range(11, -1, -1)]
    shown = found.embedded.cells.iloc[infection.example_rows[-12:]]
    table = tables[str(shown["fov_name"].iloc[0])]
    patches = table.read(shown["row"].to_numpy(dtype=np.int64))
    assert np.array_equal(ends.images, patches[:, :, 0])


def test_without_patches_nothing_is_shown(tmp_path: Path) -> None:
    found, inputs, _ = pictured_study(tmp_path)
    cells = found.embedded.cells.assign(row=np.nan)
    assert example_strips(replace(found, embedded=replace(found.embedded, cells=cells)), inputs) == ()
