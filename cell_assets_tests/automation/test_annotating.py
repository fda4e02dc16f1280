from pathlib import Path

from cell_assets.automation.annotating import AnnotationResult, EarlierFile, ReplacedState, replaced_states
from cell_assets.imaging.annotation_history import AnnotationHistory
from cell_assets_tests.imaging.annotated_cells import POSITION, joined

ANNA = EarlierFile(name="anna.csv", digest="a", by="Anna")


def change(t: int, earlier: EarlierFile | None = ANNA) -> ReplacedState:
    return ReplacedState(
        fov_name=POSITION,
        track_id=3,
        t=t,
        column="infection",
        before="no",
        after="yes",
        earlier=earlier,
    )


def result(*replaced: ReplacedState) -> AnnotationResult:
    return AnnotationResult(
        plate="P1",
        position=POSITION,
        experiment="E1",
        artifact=7,
        digest="d",
        file_digest="f",
        states=("infection",),
        rows=9,
        cells=9,
        joins={"exact": 9},
        repeated=0,
        other_fovs=0,
        replaced=len(replaced),
        replaced_states=replaced,
        unjoined=(),
        cells_in_all=9,
    )


def test_what_one_file_replaced_names_cell_states_and_the_file_that_said_otherwise(tmp_path: Path) -> None:
    history = AnnotationHistory.none_of(POSITION)
    for name, by, text in (
        ("anna.csv", "Anna", "track_id,t,infection\n3,0,no\n3,1,no\n"),
        ("ben.csv", "Ben", "track_id,t,infection\n3,0,yes\n"),
        ("eve.csv", "Eve", "track_id,t,infection\n3,0,no\n3,1,yes\n"),
    ):
        history = history.followed_by(joined(tmp_path, text), name, name[0], by, "a test")
    ben = EarlierFile(name="ben.csv", digest="b", by="Ben")
    assert replaced_states(history, 0) == ()
    assert replaced_states(history, 1) == (change(0),)
    assert replaced_states(history, 2) == (
        change(0, ben).model_copy(update={"before": "yes", "after": "no"}),
        change(1),
    )


def test_the_first_few_replaced_states_are_told_and_the_rest_counted() -> None:
    told = result(change(0), change(1, None), *map(change, range(2, 7))).sentence().splitlines()
    assert "7 states of earlier files are replaced" in told[0]
    assert told[1:] == [
        "replaced, listed in replaced.parquet of the artifact: 7",
        "  A/1/000 track 3 t=0: infection no → yes (before: anna.csv by Anna)",
        "  A/1/000 track 3 t=1: infection no → yes (before: one of the earlier files)",
        "  A/1/000 track 3 t=2: infection no → yes (before: anna.csv by Anna)",
        "  A/1/000 track 3 t=3: infection no → yes (before: anna.csv by Anna)",
        "  A/1/000 track 3 t=4: infection no → yes (before: anna.csv by Anna)",
        "  … and 2 more (--json lists them)",
    ]


def test_nothing_is_listed_where_nothing_is_replaced() -> None:
    assert len(result().sentence().splitlines()) == 1
    assert "more" not in result(*map(change, range(5))).sentence()
