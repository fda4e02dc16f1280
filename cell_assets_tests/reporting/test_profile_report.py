"""The report of profiles: every number and loss is on the page, and a better representation is drawn as such."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cell_assets.evaluation.profiling.mean_profiles import PlateProfilesRecord
from cell_assets.evaluation.profiling.profile_numbers import profile_numbers
from cell_assets.evaluation.profiling.profile_selection import SelectedProfiles
from cell_assets.evaluation.profiling.profile_study import ProfileStudy, UmapOfWells, study_profiles
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, MOA, DoseSplit
from cell_assets.evaluation.profiling.well_representations import ProfileParameters, Representation
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.ledger.records import NumberDraft, ReadReceipt
from cell_assets.reporting.dose_table import dose_groups
from cell_assets.reporting.profile_figures import scores_figure
from cell_assets.reporting.profile_report import OutputCost, ProfileSources, write_profile_report
from cell_assets.reporting.wording import value_text
from cell_assets_tests.evaluation.profiling.screens import (
    QUICK,
    dose_series,
    profiles,
    screen,
    stratified_screen,
)

INPUTS = (ReadReceipt(1, "mean_profiles", "E|P0", "ab" * 32),)
FIGURES = ["batch_effect", "compounds", "plates", "scores", "splits", "umap"]


def made_study(mechanism: float = 3.0) -> ProfileStudy:
    """Of a screen where c8 has no sister and the mechanism of c9 is not known."""
    wells = screen()
    wells[MOA] = wells[MOA].mask(wells[COMPOUND] == "c9").replace("m4", "<m4>")
    found = study_profiles(
        {"mean": profiles(wells, 0), "cytosummary": profiles(wells, 1, mechanism=mechanism)},
        QUICK.model_copy(update={"simulated": True}),
    )
    xy = np.random.default_rng(0).normal(size=(len(wells), 2))
    return replace(found, umaps=(UmapOfWells("mean", xy), UmapOfWells("cytosummary", None)))


@pytest.fixture(scope="module")
def study() -> ProfileStudy:
    return made_study()


def sources(study: ProfileStudy) -> ProfileSources:
    record = PlateProfilesRecord(
        plate="P0",
        parameters=ProfileParameters(),
        wells=24,
        control_wells=4,
        without_profile=("D1", "D2", "D3", "D4"),
        of_one_cell=("C7",),
        cells=1000,
        used_cells=987,
        dropped_by={"Cells_A": 13},
        lost={"Cells_B": "it is not measured"},
        constant={Representation.MEAN: (), Representation.HISTOGRAM: ("Cells_A_bin0", "Cells_A_bin1")},
        features={Representation.MEAN: 12},
    )
    lost = {
        "Cells_X": "plate P1 has no such feature",
        "Cells_Y": "plate P2 has no such feature",
        "Cells_Z": "another feature says the same",
    }
    kept = profiles(study.wells.head(3), 0)
    selections = {"mean": SelectedProfiles(kept, lost, ("a step was left out",))}
    costs = (
        OutputCost("single cells", 4, 90.0, 3_290_000_000),
        OutputCost("training", 1, 93_600.0, 15_040_000),
        OutputCost("profiles by cytosummary", 4, 8.0, 3_248),
    )
    return ProfileSources(INPUTS, {"seed": 0}, (record,), selections, costs)


def test_page_figures_numbers_and_tables_are_written_and_the_same_again(
    study: ProfileStudy, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        numbers = write_profile_report(
            folder, "A <screen>", "cytosummary", study, ["A note."], sources(study)
        )
        assert numbers == profile_numbers(study, "cytosummary")
    files = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    ]
    assert files[0] == files[1]
    assert sorted(files[0]) == sorted(
        [
            *(f"figures/{name}.png" for name in FIGURES),
            "compounds.parquet",
            "numbers.json",
            "plates.parquet",
            "report.html",
            "umap.parquet",
        ]
    )
    document = json.loads(files[0]["numbers.json"])
    assert document["simulated"] and len(document["numbers"]) == len(numbers)
    plates = pd.read_parquet(folders[0] / "plates.parquet")
    own = plates[(plates["task"] == "replicate_on_plate") & (plates["representation"] == "cytosummary")]
    mean = next(
        one.value
        for one in numbers
        if (one.report, one.name) == ("cytosummary/cytosummary/replicate_on_plate", "mean_over_plates")
    )
    assert own["mean_average_precision"].mean() == pytest.approx(mean) and len(own) == 3
    assert len(pd.read_parquet(folders[0] / "umap.parquet")) == len(study.wells)


def test_the_page_says_what_was_found_and_lost(study: ProfileStudy, tmp_path: Path) -> None:
    write_profile_report(
        tmp_path, "A <screen>", "cytosummary", study, ["A note."], sources(study), "cytosummary"
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in (
        "A &lt;screen&gt;",
        "Simulated data.",
        "The cells come from a",
        "72 wells of 3 plates, 12 of them controls; 10 compounds of 5 mechanisms.",
        "mechanism, any plate: mean average precision of cytosummary",
        "replicate, own plate: mean average precision of cytosummary",
        "<li>c8: &lt;m4&gt;</li>",
        "left out where mechanisms are asked for:\nc9.",
        "nobody says here of which batch a plate",
        "4 (D1, D2, D3, …)",
        "1 (C7)",
        "987 of 1000",
        "mean: 12 features kept",
        "a plate lacks it",
        "Cells_X, Cells_Y",
        "a step was left out.",
        "mechanism, plate by plate: test compounds on held out plates",
        "A note.",
        "ab" * 32,
    ):
        assert said in page, said
    for number in profile_numbers(study, "cytosummary"):
        assert f"<code>{number.name}</code>" in page
    gain = study.score(study.scores[0].task, "cytosummary").gain
    assert gain is not None and gain.absolute.value is not None
    assert f"{gain.absolute.value:+.3f}" in page


def test_time_and_size_stand_in_a_table(study: ProfileStudy, tmp_path: Path) -> None:
    write_profile_report(tmp_path, "A", "cytosummary", study, [], sources(study))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = page.partition("<h2>Time and size</h2>")[2].partition("</table>")[0]
    assert [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]] == [
        ["single cells", "4", "22.5 s", "1.5 min", "822 MB", "3.3 GB"],
        ["training", "1", "26.0 h", "26.0 h", "15.0 MB", "15.0 MB"],
        ["profiles by cytosummary", "4", "2.0 s", "8.0 s", "812 B", "3.2 kB"],
    ]


def test_plates_and_batches_stand_in_a_table_as_in_table_1(tmp_path: Path) -> None:
    wells = stratified_screen()
    found = study_profiles(
        {"mean": profiles(wells, 0, mechanism=0.5), "cytosummary": profiles(wells, 1, mechanism=0.7)}, QUICK
    )
    numbers = write_profile_report(
        tmp_path, "A", "cytosummary", found, [], ProfileSources(INPUTS, {}), "cytosummary"
    )
    stated = {(one.report, one.name, one.split): one for one in numbers}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = page.partition("<h2>By plate and by batch</h2>")[2].partition("</table>")[0]
    mechanisms = table.partition("mechanism, own plate (significant: mechanisms)")[2].partition(
        'class="group"'
    )[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in mechanisms.split("<tr>")[1:]]
    assert [row[0] for row in rows if row] == [
        "all plates",
        "training plates",
        "validation plates",
        "test plates",
        "out-of-distribution plates",
        "batch Stain2",
        "training plates of batch Stain2",
        "validation plates of batch Stain2",
        "test plates of batch Stain2",
        "batch Stain5",
        *(f"plate P{n}" for n in range(6)),
    ]

    def number(representation: str, name: str, split: str) -> NumberDraft:
        return stated[f"cytosummary/{representation}/mechanism_on_plate", name, split]

    for label, split, n in (
        ("all plates", "all compounds", 60),
        ("training plates", "learned plates", 20),
        ("test plates", "held out plates", 10),
        ("batch Stain5", "batch Stain5", 20),
        ("plate P4", "plate P4", 10),
    ):
        share = {
            name: number(name, "share_of_mechanisms_significant", split).value
            for name in ("mean", "cytosummary")
        }
        by_plates = stated.get(
            ("cytosummary/cytosummary/mechanism_on_plate", "welch_p_over_mean_by_plates", split)
        )
        (row,) = (row for row in rows if row and row[0] == label)
        assert row == [
            label,
            str(n),
            value_text(number("mean", "mean_average_precision", split).value),
            f"{round(5 * share['mean'])} of 5",
            value_text(number("cytosummary", "mean_average_precision", split).value),
            f"{round(5 * share['cytosummary'])} of 5",
            f"{number('cytosummary', 'gain_over_mean', split).value:+.3f}",
            f"{100 * number('cytosummary', 'relative_gain_over_mean', split).value:+.0f} %",
            value_text(None if by_plates is None else by_plates.value),
            value_text(number("cytosummary", "welch_p_over_mean_by_compounds", split).value),
        ]
    plates = pd.read_parquet(tmp_path / "plates.parquet")
    own = plates[(plates["task"] == "mechanism_on_plate") & (plates["representation"] == "cytosummary")]
    of_p4 = own.set_index("Metadata_Plate").loc["P4"]
    assert (
        of_p4["share_significant"]
        == number("cytosummary", "share_of_mechanisms_significant", "plate P4").value
    )
    assert of_p4["gain"] == number("cytosummary", "gain_over_mean", "plate P4").value


def test_plates_that_could_not_be_asked_are_counted_with_the_reason(tmp_path: Path) -> None:
    wells = screen()
    wells[MOA] = wells[MOA].mask(wells[PLATE] == "P1")
    wells[COMPOUND] = wells[COMPOUND].mask(wells[PLATE] == "P1", wells[COMPOUND] + "b")
    found = study_profiles({"mean": profiles(wells, 0), "cytosummary": profiles(wells, 1)}, QUICK)
    numbers = write_profile_report(
        tmp_path, "A", "cytosummary", found, [], ProfileSources(INPUTS, {}), "cytosummary"
    )
    why = "no well has a compound of known mechanism"
    own = [
        (one.value, one.why_missing)
        for one in numbers
        if (one.report, one.split) == ("cytosummary/cytosummary/mechanism_on_plate", "plate P1")
    ]
    assert len(own) == 5 and set(own) == {(None, why)}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    table, _, below = page.partition("<h2>By plate and by batch</h2>")[2].partition("</table>")
    mechanisms = table.partition("mechanism, own plate")[2].partition('class="group"')[0]
    assert re.findall("<td>(plate .*?)</td>", mechanisms) == ["plate P0", "plate P2"]
    assert below.strip().startswith(
        f"<p>mechanism, own plate: 1 of 3 plates could not be asked (plate P1: {why}).</p>"
    )
    assert below.partition("<h2>")[0].count("could not be asked") == 1
    assert "saw nothing of test and\nout-of-distribution plates but which features all plates have." in page


def test_doses_stand_side_by_side(tmp_path: Path) -> None:
    wells = dose_series()
    found = study_profiles(
        {"mean": profiles(wells, 0), "cytosummary": profiles(wells, 1, mechanism=0.5)}, QUICK
    )
    write_profile_report(tmp_path, "Doses", "cytosummary", found, [], ProfileSources(INPUTS, {}))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Doses that were learned from, and others" in page
    assert "mechanism, any plate: test compounds (4 and 4 ask)" in page
    assert "replicate, own plate: all compounds (40 and 40 ask)" in page
    by_side = {
        one.stratum.doses: one
        for one in found.scores
        if (one.representation, one.stratum.compounds) == ("cytosummary", None)
        and one.task is Task.MECHANISM
        and one.stratum.doses is not None
    }
    first = [group for group in dose_groups(found) if group.title == "mechanism, any plate: all compounds"]
    row = first[0].rows[1]
    for cell, doses in ((row.learned, DoseSplit.LEARNED), (row.held_out, DoseSplit.HELD_OUT)):
        score = by_side[doses]
        assert score.gain is not None and score.gain.absolute.value is not None
        assert cell.own == f"{score.mean_average_precision.value:.3f}"
        assert cell.gain.startswith(f"{score.gain.absolute.value:+.3f} (") and cell.gain in page
    assert (tmp_path / "figures" / "doses.png").exists()


def test_without_a_rival_there_is_nothing_to_gain(tmp_path: Path) -> None:
    alone = study_profiles({"mean": profiles(screen(1), 0)}, QUICK)
    write_profile_report(tmp_path, "One", "mean_profiles", alone, [], ProfileSources(INPUTS, {}))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for absent in (
        "What each has over",
        "What was lost",
        "Time and size",
        "Simulated",
        "Doses that were learned from",
    ):
        assert absent not in page
    assert not (tmp_path / "figures" / "umap.png").exists()
    assert "None: every compound whose mechanism is known" in page


def test_a_better_representation_is_drawn_further_right() -> None:
    def right_of_rival(found: ProfileStudy) -> float:
        everyone = [one for one in found.scores if one.stratum.name == "all compounds"]
        picture = Image.open(io.BytesIO(scores_figure(everyone, found.representations))).convert("RGB")
        pixels = np.asarray(picture).astype(np.int64)
        rival = np.abs(pixels - [0xD9, 0x82, 0x2B]).sum(axis=2) < 12
        return float(np.mean(np.flatnonzero(rival.any(axis=0))))

    assert right_of_rival(made_study(3.0)) > right_of_rival(made_study(0.0)) + 30
