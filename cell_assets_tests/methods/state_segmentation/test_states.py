"""Which annotations are learned, and what of them is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.methods.state_segmentation.fovs import two_states, with_states
from cell_assets.methods.state_segmentation.states import column_of_two_states, known_states
from cell_assets.methods.state_segmentation.targets import IGNORED, STATE_A, STATE_B
from cell_assets_tests.evaluation.scores.test_annotated_states import POSITION, annotated, by_cell
from cell_assets_tests.methods.state_segmentation.toy_fovs import toy_fovs

KEYS = ["plate", "fov_name", "track_id", "t"]


def test_every_annotated_cell_has_its_code_and_the_rarer_state_is_b() -> None:
    opened = toy_fovs(2)
    cells = opened.cells()
    annotations = cells[KEYS].assign(cycle=np.where(cells["track_id"] == 2, "mitosis", "interphase"))
    annotations = annotations[annotations["track_id"] != 5].sample(frac=1, random_state=0)
    found, states = with_states(opened, annotations, "cycle")
    assert (states.a, states.b) == ("interphase", "mitosis")
    for fov in found.fovs:
        expected = {2: STATE_B, 5: IGNORED}
        assert fov.cells["state"].tolist() == [
            expected.get(track, STATE_A) for track in fov.cells["track_id"]
        ]


def test_test_cells_do_not_decide_which_state_is_b() -> None:
    values = pd.Series(["x", "x", "y", "x", "y", "y", "y"])
    learned_from = np.array([True, True, True, False, False, False, False])
    assert two_states(values, "c", learned_from).b == "y"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["x", "y", "z", None], "has the states x, y, z; state segmentation needs a column of two"),
        (["x", "x", None, None], "has the states x; state segmentation"),
        ([1.5, 2.5, 1.5, None], "has the states none or measurements"),
        (["x", "x", "x", "y"], "no cell of a train or val track has c y"),
    ],
)
def test_other_columns_are_refused(values: list[object], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        two_states(pd.Series(values), "c", np.array([True, True, True, False]))


def test_a_state_that_says_nothing_is_none_of_the_two(tmp_path: Path) -> None:
    folder = annotated(tmp_path, "track_id,t,infection\n3,0,no\n3,1,yes\n5,0,unknown\n")
    where = {("P1", POSITION): folder}
    with pytest.raises(BadInputError, match="E1 has no annotation column of two states"):
        column_of_two_states(known_states({}, where), "E1")
    known = known_states({}, where, ("unknown",))
    assert column_of_two_states(known, "E1") == "infection"
    assert by_cell(known, "infection") == {("P1", 3, 0): "no", ("P1", 3, 1): "yes"}


def test_without_a_choice_the_only_column_of_two_states_is_taken() -> None:
    known = pd.DataFrame(
        {"plate": "P", "fov_name": "A/1/000", "track_id": 1, "t": range(3), "hours": [0.5, 1.0, 1.0]}
    )
    known["infection"] = ["yes", "no", None]
    known["phase"] = ["a", "b", "c"]
    assert column_of_two_states(known, "E1") == "infection"
    with pytest.raises(BadInputError, match=r"2 annotation columns \(cycle, infection\) of two states"):
        column_of_two_states(known.assign(cycle=["a", "b", "b"]), "E1")
    with pytest.raises(BadInputError, match="E1 has no annotation column of two states"):
        column_of_two_states(known.drop(columns="infection"), "E1")
