from pathlib import Path

import pandas as pd

from cell_assets.evaluation.scores.annotated_states import annotated_states
from cell_assets.imaging.annotation_history import AnnotationHistory
from cell_assets_tests.imaging.annotated_cells import POSITION, joined

CELLS = pd.DataFrame(
    [("P1", POSITION, 3, 0), ("P1", POSITION, 3, 1), ("P1", POSITION, 5, 0), ("P2", POSITION, 3, 0)],
    columns=["plate", "fov_name", "track_id", "t"],
)


def annotated(folder: Path, text: str) -> Path:
    """A folder of the asset."""
    history = AnnotationHistory.none_of(POSITION).followed_by(joined(folder, text), "a.csv", "d", "me", "why")
    out = folder / "annotations"
    out.mkdir()
    history.write(out)
    return out


def given(**columns: list[object]) -> pd.DataFrame:
    """At ingest, of track 3 at t=0 and t=1."""
    return pd.DataFrame({"fov_name": POSITION, "track_id": 3, "t": [0, 1], **columns})


def by_cell(states: pd.DataFrame | None, column: str) -> dict[tuple[str, int, int], object]:
    assert states is not None
    named = states[states[column].notna()]
    return {(row["plate"], row["track_id"], row["t"]): row[column] for row in named.to_dict("records")}


def test_an_annotation_holds_over_what_was_given_and_is_counted(tmp_path: Path) -> None:
    folder = annotated(
        tmp_path, "track_id,t,infection\n3,1,infected\n5,0,infected\n8,3,infected\n77,0,infected\n"
    )
    found = annotated_states(
        {"P1": given(infection=["uninfected", "uninfected"]), "P2": given(infection=["infected", None])},
        {("P1", POSITION): folder},
        CELLS,
    )
    assert by_cell(found.states, "infection") == {
        ("P1", 3, 0): "uninfected",
        ("P1", 3, 1): "infected",
        ("P1", 5, 0): "infected",
        ("P1", 8, 3): "infected",
        ("P2", 3, 0): "infected",
    }
    assert found.notes == (
        "infection: 2 labels were given at ingest and 2 come from annotations of 1 FOV; 1 of these hold in place of "
        "another state that was given at ingest: P1 A/1/000 track 3 t=1 uninfected → infected (a.csv by me); 1 more "
        "are of cells that are not embedded.",
        f"Annotations of P1 {POSITION}: 1 could not be joined to a cell and say nothing here; unjoined.parquet of "
        "the artifact lists them.",
    )


def test_the_first_replaced_cells_are_named_in_order_and_the_rest_counted(tmp_path: Path) -> None:
    lines = "".join(f"5,{t},infected\n" for t in range(5))
    folder = annotated(tmp_path, "track_id,t,infection\n" + lines)
    cells = pd.DataFrame({"plate": "P1", "fov_name": POSITION, "track_id": 5, "t": [4, 3, 2, 1, 0]})
    at_ingest = cells.drop(columns="plate").assign(infection=["no"] * 4 + ["infected"])
    found = annotated_states({"P1": at_ingest}, {("P1", POSITION): folder}, cells)
    named = ", ".join(f"P1 A/1/000 track 5 t={t} no → infected (a.csv by me)" for t in (1, 2, 3))
    assert found.notes == (
        "infection: 0 labels were given at ingest and 5 come from annotations of 1 FOV; 4 of these hold in place of "
        f"another state that was given at ingest: {named}, and 1 more, where states.parquet of raw_acquisition and "
        "annotations.parquet differ.",
    )


def test_states_that_say_nothing_are_counted_and_not_known(tmp_path: Path) -> None:
    folder = annotated(tmp_path, "track_id,t,infection\n5,0,unknown\n")
    ways = {("P1", POSITION): folder}
    labels = {"P1": given(infection=["uninfected", "blurred"], cycle=["unknown", "M"])}
    found = annotated_states(labels, ways, CELLS, ("unknown", "blurred"))
    assert by_cell(found.states, "infection") == {("P1", 3, 0): "uninfected"}
    assert by_cell(found.states, "cycle") == {("P1", 3, 1): "M"}
    assert found.notes == annotated_states(labels, ways, CELLS).notes


def test_what_was_given_alone_stays_as_it_was() -> None:
    """Numbers stay numbers: a measurement is no state."""
    found = annotated_states({"P1": given(growth=[0.25, None], infection=["a", "b"])}, {}, CELLS)
    assert found.states is not None
    assert found.states["growth"].dtype == float
    assert by_cell(found.states, "growth") == {("P1", 3, 0): 0.25}
    assert by_cell(found.states, "infection") == {("P1", 3, 0): "a", ("P1", 3, 1): "b"}


def test_numbers_given_and_names_annotated_are_the_same_states(tmp_path: Path) -> None:
    folder = annotated(tmp_path, "track_id,t,stage\n3,1,1\n5,0,2\n")
    found = annotated_states({"P1": given(stage=[1, 1])}, {("P1", POSITION): folder}, CELLS)
    assert by_cell(found.states, "stage") == {("P1", 3, 0): "1", ("P1", 3, 1): "1", ("P1", 5, 0): "2"}
    assert "in place of" not in found.notes[0]


def test_nothing_said_is_no_state() -> None:
    found = annotated_states({}, {}, CELLS)
    assert (found.states, found.notes) == (None, ())
