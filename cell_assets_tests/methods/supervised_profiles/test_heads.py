"""Heads by folds of compounds: what each learns from, that no label helps its own fold, and that labels help others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import DoseParameters, LearnedDoses
from cell_assets.evaluation.profiling.mean_profiles import write_given_profiles
from cell_assets.evaluation.profiling.profile_parameters import ProfileSelectionParameters
from cell_assets.evaluation.profiling.supervised_profiles import (
    FOLDS_JSON,
    SupervisedProfilesRecord,
    read_supervised_profiles,
    read_supervised_record,
)
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, DOSE, IS_CONTROL, MOA, wells_table
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import Question, expected_average_precision, ranked_queries
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.ledger.records import WellDraft
from cell_assets.methods.supervised_profiles.heads import cross_fit, folds_of
from cell_assets.methods.supervised_profiles.making import make_supervised_profiles
from cell_assets.methods.supervised_profiles.parameters import SupervisedProfilesParameters
from cell_assets_tests.evaluation.profiling.pycytominer_opening import opened_by_pycytominer

N_COMPOUNDS, N_FEATURES = 12, 30
QUICK = SupervisedProfilesParameters(max_epochs=30)
REPLICATE = Question(COMPOUND, (), COMPOUND)
MECHANISM = Question(MOA, (COMPOUND,), COMPOUND)


def drafts() -> list[WellDraft]:
    """Twelve compounds of four mechanisms at two doses, and two controls."""
    treated = [
        WellDraft(f"{row}{n}", "compound", f"c{n}", dose, "µM", f"m{n % 4}", False)
        for row, dose in (("A", 1.0), ("B", 10.0))
        for n in range(N_COMPOUNDS)
    ]
    return treated + [WellDraft(f"C{n}", "compound", "DMSO", is_control=True) for n in range(2)]


def wells(n_plates: int = 3) -> pd.DataFrame:
    """They lie on every plate."""
    return pd.concat([wells_table(f"P{n}", drafts(), {}, {}) for n in range(n_plates)], ignore_index=True)


def noise(known: pd.DataFrame, seed: int = 0) -> Profiles:
    """Wells of which nothing tells what they got."""
    random = np.random.default_rng(seed)
    names = tuple(f"Cells_F{n}" for n in range(N_FEATURES))
    return Profiles(known, random.normal(size=(len(known), N_FEATURES)), names)


def hidden_mechanisms(known: pd.DataFrame, seed: int = 0) -> Profiles:
    """Each mechanism shifts three features; what differs between wells of one treatment lies in all others, and is
    larger: a head learns which features tell compounds apart."""
    random = np.random.default_rng(seed)
    found = noise(known, seed)
    shifts = np.zeros((4, N_FEATURES))
    shifts[:, :3] = 1.5 * random.normal(size=(4, 3))
    code = known[MOA].str[1:].astype(float).fillna(0).astype(int).to_numpy()
    treated = ~known[IS_CONTROL].to_numpy(bool)
    scale = np.r_[0.3 * np.ones(3), 2.0 * np.ones(N_FEATURES - 3)]
    return replace(found, features=found.features * scale + shifts[code] * treated[:, None])


def precision(profiles: Profiles, question: Question) -> float:
    treated = (~profiles.metadata[IS_CONTROL]).to_numpy(bool)
    return float(ranked_queries(profiles.select(treated), question)["average_precision"].mean())


def test_a_compound_is_in_one_fold_at_all_doses_and_controls_and_held_out_plates_teach_nothing() -> None:
    known = wells()
    folds = folds_of(known, ("P2",), SupervisedProfilesParameters(folds=5))
    assert sorted(name for fold in folds for name in fold.held_out) == sorted(f"c{n}" for n in range(12))
    assert sorted(len(fold.held_out) for fold in folds) == [2, 2, 2, 3, 3]
    for fold in folds:
        assert set(fold.learned_from) == {f"c{n}" for n in range(12)} - set(fold.held_out)
        # Two doses on two plates.
        assert fold.wells == 4 * len(fold.learned_from)
    assert folds != folds_of(known, ("P2",), SupervisedProfilesParameters(folds=5, seed=1))


def test_doses_that_are_held_out_teach_no_head() -> None:
    known, quick = wells(2), SupervisedProfilesParameters(max_epochs=3)
    highest = DoseParameters(learned=LearnedDoses.HIGHEST)
    before = cross_fit(noise(known), (), quick, doses=highest)
    assert [fold.wells for fold in before.folds] == [2 * len(fold.learned_from) for fold in before.folds]
    top = known[DOSE].max()
    for who, changes in ((known[DOSE] < top, False), (known[DOSE] == top, True)):
        own = (who & ~known[IS_CONTROL]).to_numpy(bool)
        changed = noise(known)
        changed.features[own] += 50 * np.random.default_rng(9).normal(size=(own.sum(), N_FEATURES))
        after = cross_fit(changed, (), quick, doses=highest)
        for one, other in zip(before.profiles.by_fold, after.profiles.by_fold, strict=True):
            assert np.array_equal(one.features[~own], other.features[~own]) != changes


def test_no_label_or_value_of_a_compound_changes_the_head_that_it_asks_with() -> None:
    known, quick = wells(2), SupervisedProfilesParameters(max_epochs=3)
    before = cross_fit(noise(known), (), quick)
    own = known[COMPOUND].isin(before.folds[1].held_out).to_numpy(bool)
    changed = noise(known)
    changed.features[own] = 100 + 50 * np.random.default_rng(9).normal(size=(own.sum(), N_FEATURES))
    named = known.copy()
    swapped = dict(zip(before.folds[1].held_out, before.folds[1].held_out[::-1], strict=True))
    named[COMPOUND] = named[COMPOUND].replace(swapped)
    after = cross_fit(replace(changed, metadata=named), (), quick)
    one, other = before.profiles.by_fold, after.profiles.by_fold
    np.testing.assert_array_equal(one[1].features[~own], other[1].features[~own])
    for fold in (0, 2):
        assert not np.allclose(one[fold].features[~own], other[fold].features[~own])


def test_of_wells_that_nothing_tells_apart_a_compound_is_found_only_by_heads_that_saw_it() -> None:
    """A head learns noise by heart: it finds replicates of what it saw. Who asks with such a head would leak."""
    fit = cross_fit(noise(wells()), (), QUICK)
    treated = (~fit.profiles.metadata[IS_CONTROL]).to_numpy(bool)
    asked = ranked_queries(fit.profiles.select(treated), REPLICATE)
    chance = float(expected_average_precision(np.array([5]), np.array([71]))[0])
    assert asked["average_precision"].mean() == pytest.approx(chance, abs=0.04)
    by_head = [ranked_queries(one.select(treated), REPLICATE) for one in fit.profiles.by_fold]
    saw = [
        found[~found[COMPOUND].isin(fold.held_out)]["average_precision"].mean()
        for found, fold in zip(by_head, fit.folds, strict=True)
    ]
    assert min(saw) > 0.8


def test_labels_help_compounds_that_were_never_seen_and_permuted_labels_do_not() -> None:
    known = wells()
    profiles = hidden_mechanisms(known)
    fit = cross_fit(profiles, (), QUICK)
    alone, supervised = precision(profiles, MECHANISM), precision(fit.profiles, MECHANISM)
    assert supervised > alone + 0.2
    treated = ~known[IS_CONTROL].to_numpy(bool)
    columns = [COMPOUND, MOA, DOSE]
    permuted = known.copy()
    order = np.random.default_rng(1).permutation(np.flatnonzero(treated))
    permuted.loc[treated, columns] = known.loc[order, columns].to_numpy()
    lost = precision(cross_fit(replace(profiles, metadata=permuted), (), QUICK).profiles, MECHANISM)
    chance = float(expected_average_precision(np.array([12]), np.array([66]))[0])
    assert lost == pytest.approx(chance, abs=0.03)


def test_a_feature_that_does_not_vary_where_a_head_learns_tells_it_nothing() -> None:
    known = wells(2)
    profiles = noise(known)
    held_out = folds_of(known, (), QUICK)[0].held_out
    own = known[COMPOUND].isin(held_out).to_numpy(bool)
    profiles.features[:, 0] = np.where(own, 1e6, 3.0)
    found = cross_fit(profiles, (), SupervisedProfilesParameters(max_epochs=1)).profiles.by_fold[0]
    assert np.abs(found.features[own]).max() < 100


def test_too_few_compounds_and_plates_that_are_not_there_are_named() -> None:
    known = wells(1)
    few = known[known[COMPOUND].isin(["c0", "c1", "DMSO"])].reset_index(drop=True)
    with pytest.raises(
        BadInputError, match=r"2 compounds are too few for 2 folds: .* would learn from 1, and 2"
    ):
        folds_of(few, (), SupervisedProfilesParameters(folds=2))
    with pytest.raises(BadInputError, match="12 compounds are too few for 13 folds"):
        folds_of(known, (), SupervisedProfilesParameters(folds=13))
    with pytest.raises(BadInputError, match="holds out P7, which is none of the plates"):
        folds_of(known, ("P7",), QUICK)


@pytest.fixture
def plates(tmp_path: Path) -> Mapping[str, Path]:
    """Published folders of two plates whose profiles came ready."""
    known, folders = wells(2), {}
    profiles = hidden_mechanisms(known)
    table = pd.DataFrame(profiles.features, columns=list(profiles.names)).assign(
        **{WELL: known[WELL], PLATE: known[PLATE]}
    )
    for plate, own in table.groupby(PLATE):
        folders[str(plate)] = tmp_path / str(plate)
        folders[str(plate)].mkdir()
        write_given_profiles(own, str(plate), wells_table(str(plate), drafts(), {}, {}), folders[str(plate)])
    return folders


def made(folders: Mapping[str, Path], out: Path, seed: int = 0) -> dict[str, str]:
    out.mkdir()
    asked = SupervisedProfilesParameters(max_epochs=2, folds=2, seed=seed)
    make_supervised_profiles(folders, ProfileSelectionParameters(steps=()), (), asked, out)
    return {file.name: blake3(file.read_bytes()).hexdigest() for file in sorted(out.iterdir())}


def test_the_same_seed_gives_the_same_bytes_and_another_others(
    plates: Mapping[str, Path], tmp_path: Path
) -> None:
    first, again, other = (
        made(plates, tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again and set(first) == {"mean_fold0.parquet", "mean_fold1.parquet", FOLDS_JSON}
    assert not set(first.values()) & set(other.values())


def test_what_is_written_is_read_and_says_whose_wells_were_held_out(
    plates: Mapping[str, Path], tmp_path: Path
) -> None:
    made(plates, tmp_path / "out")
    record = read_supervised_record(tmp_path / "out")
    found = read_supervised_profiles(tmp_path / "out")["mean_supervised"]
    assert len(found.by_fold) == 2 and len(found) == 52
    for place, fold in enumerate(record.folds):
        width = found.by_fold[0].features.shape[1]
        table, _ = opened_by_pycytominer(tmp_path / "out" / f"mean_fold{place}.parquet", width)
        assert set(table.loc[table["Metadata_HeldOut"], COMPOUND]) == set(fold.held_out)
        asking = found.metadata.loc[found.asking_fold == place, COMPOUND]
        assert set(asking) - {"DMSO"} == set(fold.held_out)
    assert set(record.train_loss) == {Representation.MEAN}


def test_a_head_that_learned_from_what_it_holds_out_is_refused(
    plates: Mapping[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made(plates, out)
    record = read_supervised_record(out)
    fold = record.folds[0]
    leaking = fold.model_copy(update={"learned_from": (*fold.learned_from, fold.held_out[0])})
    broken: SupervisedProfilesRecord = record.model_copy(update={"folds": (leaking, *record.folds[1:])})
    (out / FOLDS_JSON).write_text(broken.model_dump_json())
    with pytest.raises(
        BadInputError, match=f"fold 0 learned from compound {fold.held_out[0]}, which it holds out"
    ):
        read_supervised_profiles(out)
    (out / FOLDS_JSON).unlink()
    with pytest.raises(BadInputError, match="give a folder of supervised_profiles"):
        read_supervised_profiles(out)
