"""CytoSummaryNet behind its contract: from feature tables to a checkpoint, and from it to profiles and relevance."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from blake3 import blake3
from copairs.map import average_precision

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import DoseParameters, LearnedDoses
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    COUNT,
    DOSE_SPLIT,
    IS_CONTROL,
    learned_from,
)
from cell_assets.methods.contract import CellTable, ProfileMethod, Progress, TrainingResult
from cell_assets.methods.cytosummary.building import network_of
from cell_assets.methods.cytosummary.checkpoint import load_checkpoint
from cell_assets.methods.cytosummary.lightning_module import CytoSummaryModule
from cell_assets.methods.cytosummary.machine import applicable
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets.methods.cytosummary.network import CytoSummaryNet
from cell_assets.methods.cytosummary.parameters import Summary, TrainingParameters
from cell_assets.methods.cytosummary.profiling import read_profiles_record
from cell_assets.methods.cytosummary.relevance import cell_relevance
from cell_assets.methods.cytosummary.summed_cells import Counts
from cell_assets.methods.cytosummary.table_training import read_feature_use
from cell_assets.methods.processor import Device, Precision
from cell_assets_tests.evaluation.profiling.pycytominer_opening import opened_by_pycytominer
from cell_assets_tests.methods.cytosummary.synthetic_plates import (
    CELLS_PER_WELL,
    EMPTY_WELL,
    FEATURES,
    Change,
    cells_of,
    manifest,
    write_plate,
)

CHANGES: Mapping[str, object] = {
    "cell_width": 32,
    "hidden_width": 16,
    "profile_width": 24,
    "sets": {"mean_cells": 40, "sd_cells": 5, "min_cells": 20},
    "compounds_per_batch": 4,
    "learning_rate": 5e-3,
    "max_epochs": 3,
}


def digests(folder: Path) -> dict[str, str]:
    return {file.name: blake3(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def small(**changes: object) -> TrainingParameters:
    parameters = METHOD.parameters("quick", {**CHANGES, **changes})
    assert isinstance(parameters, TrainingParameters)
    return parameters


def trained(
    tables: list[CellTable], wells: pd.DataFrame, out: Path, **changes: object
) -> tuple[Path, TrainingResult]:
    out.mkdir()
    return out, METHOD.train(tables, wells, small(**changes), out)


@pytest.fixture(scope="module")
def two_plates(tmp_path_factory: pytest.TempPathFactory) -> list[CellTable]:
    root = tmp_path_factory.mktemp("plates")
    lacking = {"Cells_Only_P": 1.0, "Cells_Flat": 2.0}
    return [
        write_plate(root / "P", "P", 1, lambda cells: cells.assign(**lacking)),
        write_plate(root / "Q", "Q", 2, lambda cells: cells.assign(Cells_Flat=2.0)),
    ]


@pytest.fixture(scope="module")
def checkpoint(two_plates: list[CellTable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoint")
    return trained(two_plates, manifest(["P", "Q"]), root / "out")[0]


def test_a_checkpoint_says_what_it_is_made_of(two_plates: list[CellTable], tmp_path: Path) -> None:
    wells = manifest(["P", "Q"])
    said: list[Progress] = []
    (tmp_path / "out").mkdir()
    result = METHOD.train(two_plates, wells, small(), tmp_path / "out", said.append)
    assert sorted(digests(tmp_path / "out")) == [
        "config.json",
        "features.json",
        "history.parquet",
        "model.safetensors",
    ]
    network, config = load_checkpoint(tmp_path / "out")
    learned = wells[learned_from(wells)]
    assert config.compounds == tuple(sorted(set(learned[COMPOUND]))) and len(config.compounds) == 4
    assert config.features == tuple(FEATURES) and config.plates == ("P", "Q")
    assert network.config.features == len(FEATURES)
    history = pd.read_parquet(tmp_path / "out" / "history.parquet")
    assert history["epoch"].tolist() == [0, 1, 2] and history["train_loss"].notna().all()
    assert config.kept_epoch == int(history["validation_map"].to_numpy().argmax())
    assert result.metrics["validation_map"] == history["validation_map"].max()
    use = read_feature_use(tmp_path / "out")
    flat = "it has one value in all cells"
    assert use.lost == {
        "P": {"Cells_Only_P": flat, "Cells_Flat": flat},
        "Q": {"Cells_Only_P": "it is not measured", "Cells_Flat": flat},
    }
    assert use.cells["P"].used == use.cells["P"].cells == len(cells_of("P", 1))
    batches = [one for one in said if one.unit == "batches"]
    assert [one.done for one in batches] == list(range(1, 7)) and {one.total for one in batches} == {6}
    assert batches[0].per_second == 0 < batches[-1].per_second and batches[-1].remaining_s == 0
    assert batches[1].remaining_s > 0 and batches[-1].note == "epoch 3"
    notes = METHOD.training_notes(tmp_path / "out")
    assert "4 compounds on 2 plates, 4 sets of about 40 cells" in notes[0]
    assert f"of 3 epochs number {config.kept_epoch + 1} is kept, the best at" in notes[0]
    assert "Of 7 features 5 are used, because 2 are missing" in notes[1]
    assert f"2 wells (P|{EMPTY_WELL}, Q|{EMPTY_WELL}) have no cell" in " ".join(result.messages)


def test_equal_seeds_give_equal_bytes_and_another_gives_others(
    two_plates: list[CellTable], checkpoint: Path, tmp_path: Path
) -> None:
    wells = manifest(["P", "Q"])
    again, _ = trained(two_plates, wells, tmp_path / "again")
    other, _ = trained(two_plates, wells, tmp_path / "other", seed=1)
    assert digests(again) == digests(checkpoint)
    assert digests(other)["model.safetensors"] != digests(checkpoint)["model.safetensors"]


def swapped_within(chosen: Callable[[pd.DataFrame], pd.Series]) -> Change:
    """Cells of the chosen wells change their places, so that all of the plate's cells together stay as they are."""

    def change(cells: pd.DataFrame) -> pd.DataFrame:
        rows = np.flatnonzero(chosen(cells))
        shuffled = np.random.default_rng(7).permutation(rows)
        values = cells[FEATURES].to_numpy()
        values[rows] = values[shuffled]
        return cells.assign(**{name: values[:, place] for place, name in enumerate(FEATURES)})

    return change


@pytest.mark.parametrize("who", ["test", "control", "val", "train"])
def test_nothing_is_learned_from_wells_that_are_held_out(who: str, tmp_path: Path) -> None:
    wells = manifest(["P", "Q"], val_fraction=0.25 if who == "val" else 0.0)
    own = wells[IS_CONTROL] if who == "control" else (wells[COMPOUND_SPLIT] == who).fillna(False)
    names = set(wells.loc[own.astype(bool), "Metadata_Well"])
    assert len(names) >= 2
    change = swapped_within(lambda cells: cells["Metadata_Well"].isin(names))
    q = write_plate(tmp_path / "Q", "Q", 2)
    before = [write_plate(tmp_path / "P", "P", 1), q]
    after = [write_plate(tmp_path / "P changed", "P", 1, change), q]
    one, _ = trained(before, wells, tmp_path / "one")
    other, _ = trained(after, wells, tmp_path / "other")
    losses = [pd.read_parquet(out / "history.parquet")["train_loss"].tolist() for out in (one, other)]
    # Validation wells choose the epoch, and do so alone.
    assert (losses[0] == losses[1]) == (who != "train")
    if who != "val":
        assert (digests(one) == digests(other)) == (who != "train")


def test_nothing_is_learned_from_plates_that_are_held_out(tmp_path: Path) -> None:
    wells = manifest(["P", "Q"], held_out_plates=("Q",))
    p = write_plate(tmp_path / "P", "P", 1)
    one, _ = trained([p, write_plate(tmp_path / "Q", "Q", 2)], wells, tmp_path / "one")
    other, _ = trained([p, write_plate(tmp_path / "other Q", "Q", 3)], wells, tmp_path / "other")
    assert digests(one) == digests(other) and load_checkpoint(one)[1].plates == ("P",)


@pytest.mark.parametrize("who", ["train", "val", "out-of-distribution"])
def test_a_validation_plate_chooses_the_epoch_by_validation_compounds_alone(who: str, tmp_path: Path) -> None:
    kind = "out_of_distribution_plates" if who == "out-of-distribution" else "validation_plates"
    wells = manifest(["P", "Q"], **{kind: ("Q",)})
    compounds = wells[COMPOUND_SPLIT] == ("val" if kind == "out_of_distribution_plates" else who)
    names = set(wells.loc[compounds.fillna(False), "Metadata_Well"])
    change = swapped_within(lambda cells: cells["Metadata_Well"].isin(names))
    p = write_plate(tmp_path / "P", "P", 1)
    one, _ = trained([p, write_plate(tmp_path / "Q", "Q", 2)], wells, tmp_path / "one")
    other, _ = trained([p, write_plate(tmp_path / "Q changed", "Q", 2, change)], wells, tmp_path / "other")
    assert load_checkpoint(one)[1].plates == ("P",)
    histories = [pd.read_parquet(out / "history.parquet") for out in (one, other)]
    assert histories[0]["train_loss"].tolist() == histories[1]["train_loss"].tolist()
    watched = histories[0]["validation_map"].tolist() != histories[1]["validation_map"].tolist()
    assert watched == (who == "val")


@pytest.mark.parametrize("who", ["held out", "learned"])
def test_nothing_is_learned_from_doses_that_are_held_out_and_they_are_profiled(
    who: str, tmp_path: Path
) -> None:
    highest = DoseParameters(learned=LearnedDoses.HIGHEST)
    wells = manifest(["P", "Q"], doses=highest, dosed=True)
    own = (wells[DOSE_SPLIT] == who).fillna(False).to_numpy(bool)
    names = set(wells.loc[own & (wells[COUNT] > 0), "Metadata_Well"])
    assert len(names) == 8
    change = swapped_within(lambda cells: cells["Metadata_Well"].isin(names))
    q = write_plate(tmp_path / "Q", "Q", 2)
    one, _ = trained([write_plate(tmp_path / "P", "P", 1), q], wells, tmp_path / "one")
    other, _ = trained([write_plate(tmp_path / "P changed", "P", 1, change), q], wells, tmp_path / "other")
    assert (digests(one) == digests(other)) == (who == "held out")
    METHOD.profile(one, q, wells, tmp_path, {})
    profiled = pd.read_parquet(tmp_path / "profiles.parquet")
    assert (profiled[DOSE_SPLIT] == "held out").sum() == (profiled[DOSE_SPLIT] == "learned").sum() == 8


def test_plates_come_together_by_the_batches_of_the_manifest(
    two_plates: list[CellTable], tmp_path: Path
) -> None:
    made = {
        name: trained(two_plates, wells, tmp_path / name, positives=positives)[0]
        for name, wells, positives in (
            ("apart", manifest(["P", "Q"], batch_of_plate={"P": "1", "Q": "2"}), "within-batch"),
            ("within plates", manifest(["P", "Q"]), "within-plate"),
            ("together", manifest(["P", "Q"], batch_of_plate={"P": "1", "Q": "1"}), "within-batch"),
            ("across plates", manifest(["P", "Q"]), "across-plates"),
        )
    }
    weights = {name: digests(out)["model.safetensors"] for name, out in made.items()}
    assert weights["apart"] == weights["within plates"] != weights["together"]
    assert weights["together"] == weights["across plates"]
    assert "within-batch" in METHOD.training_notes(made["apart"])[0]
    with pytest.raises(BadInputError, match="plate P: nobody says of which batch it is"):
        trained(two_plates, manifest(["P", "Q"]), tmp_path / "none", positives="within-batch")


def test_wells_and_compounds_without_usable_cells_are_left_out_and_named(tmp_path: Path) -> None:
    wells = manifest(["P"], val_fraction=0.0)
    gone = wells[learned_from(wells)].iloc[0][COMPOUND]
    names = set(wells.loc[wells[COMPOUND] == gone, "Metadata_Well"])

    def without_cells(cells: pd.DataFrame) -> pd.DataFrame:
        cells.loc[cells["Metadata_Well"].isin(names), FEATURES[0]] = np.nan
        return cells

    table = write_plate(tmp_path / "P", "P", 1, without_cells)
    out, result = trained([table], wells, tmp_path / "out", selection={"max_missing_share": 0.2})
    assert gone not in load_checkpoint(out)[1].compounds
    said = " ".join(result.messages)
    assert f"nothing was learned from 1 compounds without such a cell ({gone})" in said
    assert "have no cell with all features, and were left out" in said
    assert "no compound validates, so the last epoch is kept" in said
    assert "is kept, the last, as nothing validates" in METHOD.training_notes(out)[0]
    assert read_feature_use(out).cells["P"].dropped_by == {FEATURES[0]: 2 * CELLS_PER_WELL}


def test_wells_of_one_cell_are_learned_from_and_named(two_plates: list[CellTable], tmp_path: Path) -> None:
    wells = manifest(["P", "Q"])
    well = wells.loc[learned_from(wells), "Metadata_Well"].iloc[0]

    def few(cells: pd.DataFrame) -> pd.DataFrame:
        return cells[(cells["Metadata_Well"] != well) | (cells["Metadata_ObjectNumber"] == 3)]

    tables = [write_plate(tmp_path / "P", "P", 1, few), two_plates[1]]
    for summary in (Summary.LEARNED, Summary.MOMENTS):
        out, result = trained(tables, wells, tmp_path / summary.name, summary=summary)
        assert f"1 wells that are learned from (P|{well}) have one cell with all features" in " ".join(
            result.messages
        )
        assert np.isfinite(pd.read_parquet(out / "history.parquet")["train_loss"]).all()
    _, result = trained(two_plates, wells, tmp_path / "whole")
    assert "have one cell" not in " ".join(result.messages)


def test_the_preset_of_the_paper_is_what_it_states() -> None:
    """Experimental Setup: AdamW at 5e-4 with a weight decay of 1e-2; φ of 2048 features, ρ of 512 and 2048."""
    paper = METHOD.parameters("paper", {})
    assert isinstance(paper, TrainingParameters)
    assert (paper.learning_rate, paper.weight_decay) == (5e-4, 1e-2)
    assert (paper.cell_width, paper.hidden_width, paper.profile_width) == (2048, 512, 2048)
    network = network_of(paper, 1324)
    assert isinstance(network, CytoSummaryNet)
    assert [tuple(layer.weight.shape) for layer in (network.phi, network.rho[0], network.rho[2])] == [
        (2048, 1324), (512, 2048), (2048, 512),
    ]  # fmt: skip
    (group,) = CytoSummaryModule(network, paper, ()).configure_optimizers().param_groups
    assert (group["lr"], group["weight_decay"]) == (5e-4, 1e-2)
    assert isinstance(CytoSummaryModule(network, paper, ()).configure_optimizers(), torch.optim.AdamW)


def test_compounds_that_are_alone_on_their_plates_are_named(
    two_plates: list[CellTable], tmp_path: Path
) -> None:
    wells = manifest(["P", "Q"])
    alone = sorted(wells.loc[learned_from(wells), COMPOUND].unique())[0]
    on_q = (wells["Metadata_Plate"] == "Q").to_numpy(bool)
    wells = wells[on_q == (wells[COMPOUND] == alone).to_numpy(bool)]
    said = f"nothing was learned from 1 compounds that are alone wherever they are compared ({alone})"
    _, result = trained(two_plates, wells, tmp_path / "within")
    assert said in " ".join(result.messages)
    _, result = trained(two_plates, wells, tmp_path / "across", positives="across-plates")
    assert "alone" not in " ".join(result.messages)


def test_what_cannot_be_learned_from_is_named(two_plates: list[CellTable], tmp_path: Path) -> None:
    wells = manifest(["P", "Q"])
    with pytest.raises(BadInputError, match=r"plate Q \(1 in all\) has wells to learn from and no table"):
        trained(two_plates[:1], wells, tmp_path / "a")
    with pytest.raises(BadInputError, match=r"wells: P\|A01 .* comes twice"):
        trained(two_plates, pd.concat([wells, wells.iloc[:1]]), tmp_path / "b")
    with pytest.raises(BadInputError, match="0 compounds have wells with usable cells"):
        trained(two_plates, wells.assign(**{COUNT: 0}), tmp_path / "c")
    with pytest.raises(BadInputError, match="preset 'none' is not one of paper, quick"):
        METHOD.parameters("none", {})
    with pytest.raises(BadInputError, match=r"cytosummary parameter sets.mean_cells=-1 cannot be used"):
        METHOD.parameters("quick", {"sets": {"mean_cells": -1}})


def test_profiles_and_relevance_of_a_plate(
    two_plates: list[CellTable], checkpoint: Path, tmp_path: Path
) -> None:
    wells = manifest(["P", "Q"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        result = METHOD.profile(checkpoint, two_plates[1], wells, tmp_path / name, {"b": "2", "a": "1"})
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    profiles = pd.read_parquet(tmp_path / "one" / "profiles.parquet")
    own = wells[(wells["Metadata_Plate"] == "Q") & (wells[COUNT] > 0)].reset_index(drop=True)
    features = [f"Cells_CytoSummaryNet_{i:04}" for i in range(24)]
    assert profiles.columns.tolist() == [*wells.columns, *features]
    pd.testing.assert_frame_equal(
        profiles[list(wells.columns)].astype(object).fillna("none"), own.astype(object).fillna("none")
    )
    network, _ = load_checkpoint(checkpoint)
    given = cells_of("Q", 2)
    values = given[FEATURES].astype(np.float32).astype(np.float64)
    scaled = ((values - values.mean()) / values.std(ddof=0)).astype(np.float32)
    with torch.no_grad():
        for row, well in enumerate(own["Metadata_Well"]):
            cells = torch.from_numpy(scaled[given["Metadata_Well"] == well].to_numpy())
            expected = network(cells, Counts.of(torch.ones(1, len(cells))))[0].numpy()
            np.testing.assert_allclose(
                profiles.loc[row, features].astype(float), expected, rtol=1e-4, atol=1e-4
            )

    relevance = pd.read_parquet(tmp_path / "one" / "relevance.parquet")
    assert relevance.columns.tolist() == [
        "Metadata_Plate", "Metadata_Well", "Metadata_ObjectNumber", "row",
        "combined", "sensitivity", "activation", "lesser_rank",
    ]  # fmt: skip
    assert len(relevance) == len(given) and relevance["combined"].dtype == np.float32
    table = pd.read_parquet(two_plates[1].path / "cells.parquet").iloc[relevance["row"]]
    for name in ("Metadata_Well", "Metadata_ObjectNumber"):
        assert table[name].tolist() == relevance[name].tolist()
    by_well = relevance.groupby("Metadata_Well")["combined"]
    assert (by_well.min() == 0).all() and (by_well.max() == 1).all()
    keys = ["Metadata_Well", "Metadata_ObjectNumber"]
    with torch.no_grad():
        norm = network.of_cells(torch.from_numpy(scaled.to_numpy())).abs().sum(1)  # type: ignore[operator]
    joined = relevance.merge(given[keys].assign(norm=norm.numpy()), on=keys)
    for _, of_well in joined.groupby("Metadata_Well"):
        assert of_well["activation"].corr(of_well["norm"]) == pytest.approx(1, abs=1e-4)

    record = read_profiles_record(tmp_path / "one")
    assert record.provenance == {"a": "1", "b": "2"} and record.plate == "Q"
    assert record.left_out == {EMPTY_WELL: "0 cells with all features"}
    assert record.without_relevance == {} and record.cells_in_profiles == len(given)
    assert (result.n_wells, result.n_features) == (len(own), 24) == (record.wells, record.features)
    assert f"1 wells ({EMPTY_WELL}) have no cell" in result.messages[0]


def test_profiles_open_as_profiles_do(two_plates: list[CellTable], checkpoint: Path, tmp_path: Path) -> None:
    METHOD.profile(checkpoint, two_plates[0], manifest(["P", "Q"]), tmp_path, {})
    known, features = opened_by_pycytominer(tmp_path / "profiles.parquet", 24)
    assert set(features.dtypes) == {np.dtype(np.float32)}
    found = average_precision(known, features.to_numpy(), [COMPOUND], [], [], [COMPOUND], progress_bar=False)
    assert len(found) == 18 and found["average_precision"].between(0, 1).all()


def test_order_of_cells_changes_rounding_alone(checkpoint: Path, tmp_path: Path) -> None:
    wells, found = manifest(["P", "Q"]), []
    for name, change in {
        "as it was": lambda x: x,
        "permuted": lambda x: x.sample(frac=1, random_state=1),
    }.items():
        (tmp_path / name).mkdir()
        table = write_plate(tmp_path / name / "table", "P", 1, change)
        (out := tmp_path / name / "out").mkdir()
        METHOD.profile(checkpoint, table, wells, out, {})
        found.append(
            pd.read_parquet(out / "profiles.parquet").filter(like="Cells_CytoSummaryNet_").to_numpy()
        )
    scale = np.abs(found[0]).max(1, keepdims=True)
    np.testing.assert_allclose(found[1] / scale, found[0] / scale, atol=1e-5)


def test_wells_of_one_cell_have_a_profile_and_no_relevance(checkpoint: Path, tmp_path: Path) -> None:
    def few(cells: pd.DataFrame) -> pd.DataFrame:
        return cells[(cells["Metadata_Well"] != "A02") | (cells["Metadata_ObjectNumber"] == 3)]

    METHOD.profile(checkpoint, write_plate(tmp_path / "t", "P", 1, few), manifest(["P"]), tmp_path, {})
    record = read_profiles_record(tmp_path)
    assert record.without_relevance == {"A02": "1 cell, which has none to be compared with"}
    profiles = pd.read_parquet(tmp_path / "profiles.parquet")
    assert profiles["Metadata_Well"].tolist()[:3] == ["A01", "A02", "A03"]
    relevance = pd.read_parquet(tmp_path / "relevance.parquet")
    assert len(relevance) == record.cells_in_profiles - 1 and "A02" not in set(relevance["Metadata_Well"])


def test_profiles_without_anything_to_compare_have_no_relevance(checkpoint: Path, tmp_path: Path) -> None:
    wells = manifest(["P"])
    first = wells[wells["Metadata_Well"].isin(["A01", "A02"])]
    result = METHOD.profile(checkpoint, write_plate(tmp_path / "t", "P", 1), first, tmp_path, {})
    assert len(pd.read_parquet(tmp_path / "relevance.parquet")) == 0 and result.n_wells == 2
    assert "2 wells have no relevance of cells, such as A01: no compound has two wells" in result.messages[0]


def test_negative_controls_neither_ask_nor_answer_but_are_told_from(
    two_plates: list[CellTable], checkpoint: Path, tmp_path: Path
) -> None:
    wells = manifest(["P", "Q"])
    METHOD.profile(checkpoint, two_plates[1], wells, tmp_path, {})
    found = pd.read_parquet(tmp_path / "relevance.parquet")
    network, _ = load_checkpoint(checkpoint)
    assert isinstance(network, CytoSummaryNet)
    given = cells_of("Q", 2)
    values = given[FEATURES].astype(np.float32).astype(np.float64)
    scaled = ((values - values.mean()) / values.std(ddof=0)).to_numpy(np.float32)
    starts = np.arange(len(given) // CELLS_PER_WELL + 1) * CELLS_PER_WELL
    codes = np.array([*range(8), *range(8), 8, 9])
    expected = cell_relevance(network, scaled, starts, codes)
    np.testing.assert_allclose(found["sensitivity"], expected.sensitivity, atol=1e-3)
    # As classes of their own they count, and as one class, or left out, they would count otherwise.
    as_one = cell_relevance(network, scaled, starts, np.minimum(codes, 8)).sensitivity
    assert np.abs(as_one - expected.sensitivity).max() > 0.05
    treated = cell_relevance(network, scaled[: starts[16]], starts[:17], codes[:16]).sensitivity
    assert np.abs(treated - expected.sensitivity[: starts[16]]).max() > 0.05


def test_a_plate_that_holds_each_compound_once_has_no_relevance_however_many_controls_it_has(
    two_plates: list[CellTable], checkpoint: Path, tmp_path: Path
) -> None:
    wells = manifest(["P"])
    once = wells[wells[IS_CONTROL] | ~wells.duplicated(COMPOUND)]
    assert (once[COMPOUND] == "DMSO").sum() == 2 and once[COMPOUND].nunique() == 9
    result = METHOD.profile(checkpoint, two_plates[0], once, tmp_path, {})
    assert result.n_wells == 10 and len(pd.read_parquet(tmp_path / "relevance.parquet")) == 0
    assert set(read_profiles_record(tmp_path).without_relevance) == set(once["Metadata_Well"])
    assert "10 wells have no relevance of cells, such as A01: no compound has two wells" in result.messages[0]


def test_controls_of_the_method_have_profiles_and_no_relevance(tmp_path: Path) -> None:
    table, wells = write_plate(tmp_path / "t", "P", 1), manifest(["P"])
    out, _ = trained([table], wells, tmp_path / "out", summary=Summary.MEAN, max_epochs=1)
    (tmp_path / "profiles").mkdir()
    METHOD.profile(out, table, wells, tmp_path / "profiles", {})
    why = set(read_profiles_record(tmp_path / "profiles").without_relevance.values())
    assert why == {"its cells are summarised before anything is learned"}


def test_plates_that_cannot_be_profiled_are_named(checkpoint: Path, tmp_path: Path) -> None:
    wells = manifest(["P"])
    lacking = write_plate(tmp_path / "a", "P", 1, lambda cells: cells.drop(columns=FEATURES[2]))
    with pytest.raises(
        BadInputError, match=f"plate P: 1 of 5 features are not in its table, such as {FEATURES[2]}"
    ):
        METHOD.profile(checkpoint, lacking, wells, tmp_path, {})
    table = write_plate(tmp_path / "b", "P", 1)
    with pytest.raises(BadInputError, match="none of its 19 wells in the manifest has a usable cell"):
        METHOD.profile(
            checkpoint, table, wells.assign(Metadata_Well="A/1" + wells["Metadata_Well"]), tmp_path, {}
        )
    with pytest.raises(BadInputError, match=r"wells: P\|A01 .* comes twice"):
        METHOD.profile(checkpoint, table, pd.concat([wells, wells.iloc[:1]]), tmp_path, {})


def test_what_the_machine_lacks_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = METHOD.parameters("paper", {})
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    assert METHOD.resolve(paper).messages == () and METHOD.resolve(paper).parameters == paper
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    resolved = METHOD.resolve(paper)
    assert isinstance(resolved.parameters, TrainingParameters)
    assert resolved.parameters.precision is Precision.FLOAT32
    assert resolved.messages == (
        "the network runs in float32, because the processor has no bfloat16 instructions",
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    on_gpu = METHOD.parameters("paper", {"device": "cuda"})
    with pytest.raises(BadInputError, match="device=cuda was asked for"):
        METHOD.resolve(on_gpu)
    assert isinstance(on_gpu, TrainingParameters)
    moved, messages = applicable(on_gpu)
    assert moved.device is Device.CPU and "applied on the CPU" in messages[0]


def test_a_change_of_a_part_leaves_the_rest_of_the_preset() -> None:
    method: ProfileMethod = METHOD
    parameters = method.parameters("quick", {"sets": {"sd_cells": 7}})
    assert isinstance(parameters, TrainingParameters)
    assert parameters.sets.sd_cells == 7
    assert parameters.sets.mean_cells == TrainingParameters.quick().sets.mean_cells == 300
