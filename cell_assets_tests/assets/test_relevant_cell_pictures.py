"""Why a report shows no images of relevant cells. That they are shown is tested end to end, on a filmed plate."""

from pathlib import Path

from cell_assets.assets.relevant_cell_pictures import FilmedPlates, relevant_cell_pictures
from cell_assets.evaluation.profiling.profile_parameters import RelevanceParameters
from cell_assets.evaluation.profiling.profile_study import study_profiles
from cell_assets_tests.evaluation.profiling.screens import QUICK, profiles, screen


def test_nobody_is_told_of_tables_who_asked_for_no_image() -> None:
    study = study_profiles({"mean": profiles(screen(1), 0), "m": profiles(screen(1), 1)}, QUICK)
    # Images are not even read where none is asked for, so that filmed plates look like tables.
    unread = FilmedPlates({"P0": Path("P0")}, {}, {})
    none = relevant_cell_pictures(study, "m", unread, RelevanceParameters(wells_shown=0))
    assert none.ends == () and none.why_none == "The choices ask for no well to be shown."
    of_table = relevant_cell_pictures(study, "m", unread, RelevanceParameters())
    assert of_table.why_none == "Plate P0 came as a table of features, so there are no images of the cells."
