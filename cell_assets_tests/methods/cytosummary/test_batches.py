"""Which plates come together in a batch of sets, and what a network learns where batches tell compounds apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import BATCH, COMPOUND, IS_CONTROL
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import (
    AVERAGE_PRECISION,
    NEAREST,
    PREVALENCE,
    Question,
    ranked_queries,
)
from cell_assets.methods.cytosummary.batches import EpochSets
from cell_assets.methods.cytosummary.lightning_module import replicate_retrieval
from cell_assets.methods.cytosummary.parameters import Positives, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, compared_plates, trained_wells
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.methods.processor import Precision
from cell_assets_tests.methods.cytosummary.test_training import small

CELLS, OF_COMPOUND, OF_BATCH = 150, 2, 6
N_BATCHES, N_HELD_OUT = 8, 4
TRAINED, ASKED = (-0.8, 0.0, 0.8), (-0.9, -0.3, 0.3, 0.9)
"""How the features of a compound are correlated."""
Treatments = Sequence[tuple[str, float]]


def batch_mixing(random: np.random.Generator) -> np.ndarray:
    """How a batch mixes the features that say nothing of compounds; the variance of each stays 1."""
    mixing = random.normal(size=(OF_BATCH, OF_BATCH))
    return np.asarray(mixing / np.linalg.norm(mixing, axis=0))


def plate_of(
    name: str, batch: str, treatments: Treatments, mixing: np.ndarray, seed: Sequence[int], wells_each: int
) -> PlateCells:
    """Two features are correlated as the compound says, all others as the batch does; all means are 0."""
    random, parts = np.random.default_rng(seed), []
    known = [one for one in treatments for _ in range(wells_each)]
    for _, r in known:
        cells = random.normal(size=(CELLS, OF_COMPOUND + OF_BATCH))
        cells[:, 1] = r * cells[:, 0] + np.sqrt(1 - r**2) * cells[:, 1]
        cells[:, OF_COMPOUND:] = cells[:, OF_COMPOUND:] @ mixing
        parts.append(cells.astype(np.float32))
    wells = pd.DataFrame({COMPOUND: [one for one, _ in known], IS_CONTROL: False, BATCH: batch})
    return PlateCells(name, np.concatenate(parts), np.arange(len(known) + 1) * CELLS, wells)


def batches_with_compounds_of_their_own(seed: int) -> tuple[list[PlateCells], list[PlateCells]]:
    """Eight batches of two plates, each with three compounds that no other has; and four batches that share theirs."""
    random = np.random.default_rng([seed, 5])
    mixings = [batch_mixing(random) for _ in range(N_BATCHES + N_HELD_OUT)]
    trained = [
        plate_of(
            f"P{b}{copy}",
            f"b{b}",
            [(f"{b} {r}", r) for r in TRAINED],
            mixings[b],
            [seed, b, copy],
            wells_each=1,
        )
        for b in range(N_BATCHES)
        for copy in range(2)
    ]
    held_out = [
        plate_of(f"H{b}", f"h{b}", [(f"r {r}", r) for r in ASKED], mixings[N_BATCHES + b], [seed, 99, b], 2)
        for b in range(N_HELD_OUT)
    ]
    return trained, held_out


def parameters(positives: Positives, **changes: object) -> TrainingParameters:
    sets = {"mean_cells": 100, "sd_cells": 10, "min_cells": 20}
    return small(positives=positives, compounds_per_batch=24, max_epochs=40, sets=sets, **changes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batches_are_not_learned_where_sets_of_one_batch_alone_are_compared(seed: int) -> None:
    trained, held_out = batches_with_compounds_of_their_own(seed)
    compounds = sorted({name for plate in trained for name in plate.wells[COMPOUND]})
    known = pd.concat([plate.wells for plate in held_out], ignore_index=True)
    found, same_batch = {}, {}
    for positives in (Positives.ACROSS_PLATES, Positives.WITHIN_BATCH):
        network = train_network(trained, compounds, parameters(positives, seed=seed)).network
        values = np.concatenate([network.profiles_of(plate.features, plate.starts) for plate in held_out])
        names = tuple(f"p{i}" for i in range(values.shape[1]))
        profiles = Profiles(known, values.astype(np.float64), names)
        # Among wells of other batches, and then: is the nearest well of another compound of the own batch?
        asked = ranked_queries(profiles, Question(COMPOUND, (BATCH,), COMPOUND))
        found[positives] = asked[AVERAGE_PRECISION].mean()
        neighbours = ranked_queries(profiles, Question(BATCH, (COMPOUND,), COMPOUND))
        same_batch[positives] = neighbours[NEAREST].mean()
    aware, blind = Positives.WITHIN_BATCH, Positives.ACROSS_PLATES
    assert neighbours[PREVALENCE].mean() == pytest.approx(1 / N_HELD_OUT)
    assert found[aware] > 0.9 > 0.75 > found[blind]
    assert same_batch[aware] < 0.5 < 0.6 < same_batch[blind]


def dataset(batch_of_plate: dict[str, str]) -> list[PlateCells]:
    """Plates of the same two compounds."""
    mixing = np.eye(OF_BATCH)
    return [
        plate_of(name, batch, [("a", -0.5), ("b", 0.5)], mixing, [place], 2)
        for place, (name, batch) in enumerate(batch_of_plate.items())
    ]


def test_plates_come_together_as_it_is_chosen() -> None:
    plates = dataset({"P": "w1", "Q": "w2", "R": "w1"})
    assert compared_plates(plates, Positives.WITHIN_PLATE) == [[0], [1], [2]]
    assert compared_plates(plates, Positives.WITHIN_BATCH) == [[0, 2], [1]]
    assert compared_plates(plates, Positives.ACROSS_PLATES) == [[0, 1, 2]]
    for positives in Positives:
        assert compared_plates([], positives) == []


def test_a_batch_of_sets_holds_cells_of_one_batch_alone_and_the_same_again() -> None:
    plates = dataset({"P": "w1", "Q": "w2", "R": "w1"})
    for place, plate in enumerate(plates):
        plate.features[:, 0] = place
    wells = trained_wells(plates, ["a", "b"])
    batches = EpochSets(plates, wells, parameters(Positives.WITHIN_BATCH), epoch=3)
    again = EpochSets(plates, wells, parameters(Positives.WITHIN_BATCH), epoch=3)
    drawn = [batches[place] for place in range(len(batches))]
    assert [set(batch.cells[:, 0].tolist()) for batch in drawn] == [{0.0, 2.0}, {1.0}]
    assert [batch.ends_step for batch in drawn] == [False, True]
    assert [batch.weight for batch in drawn] == [0.5, 0.5]
    assert all(torch.equal(batch.cells, again[place].cells) for place, batch in enumerate(drawn))
    # A set may mix wells of both plates of its batch.
    of_plate = (drawn[0].counts.dense() @ (drawn[0].cells[:, :1] == 0).float()) / drawn[0].counts.dense().sum(
        1, keepdim=True
    )
    assert set(of_plate.flatten().tolist()) >= {0.5}


def plates_that_hold(compounds_of: Sequence[Sequence[str]]) -> list[PlateCells]:
    """Plates of one well of three cells for each of these compounds, each of a batch of its own."""
    return [
        PlateCells(
            f"P{place}",
            np.zeros((3 * len(own), 1), np.float32),
            np.arange(len(own) + 1) * 3,
            pd.DataFrame({COMPOUND: list(own), IS_CONTROL: False, BATCH: f"b{place}"}),
        )
        for place, own in enumerate(compounds_of)
    ]


def own_compounds(n_plates: int, each: int) -> list[list[str]]:
    return [[f"{place} {n}" for n in range(each)] for place in range(n_plates)]


def drawn_compounds(n_plates: int, each: int, of: int) -> list[list[str]]:
    random = np.random.default_rng(0)
    return [[f"c{n}" for n in random.choice(of, each, replace=False)] for _ in range(n_plates)]


@pytest.mark.parametrize("positives", [Positives.WITHIN_BATCH, Positives.WITHIN_PLATE])
@pytest.mark.parametrize(
    ("compounds_of", "per_batch", "each_chunk", "n_steps"),
    [
        (own_compounds(10, 18), 18, [18], 1),
        (own_compounds(22, 57), 18, [19], 3),
        (drawn_compounds(60, 21, of=400), 18, [21], 1),
        (drawn_compounds(3, 20, of=30), 6, [6, 7], 3),
        # Three compounds by twos would leave one alone.
        (own_compounds(2, 3), 2, [3], 1),
    ],
    ids=["own", "layouts", "many plates", "shared in part", "odd"],
)
def test_every_compound_that_can_be_compared_is_in_every_epoch_and_beside_as_many_as_are_asked_for(
    compounds_of: list[list[str]], per_batch: int, each_chunk: list[int], n_steps: int, positives: Positives
) -> None:
    plates = plates_that_hold(compounds_of)
    names = sorted({name for own in compounds_of for name in own})
    wells = trained_wells(plates, names)
    settings = small(
        positives=positives,
        compounds_per_batch=per_batch,
        sets={"sets_per_compound": 2, "mean_cells": 2, "sd_cells": 0, "min_cells": 2},
    )
    for epoch in range(2):
        batches = EpochSets(plates, wells, settings, epoch)
        drawn = [batches[place] for place in range(len(batches))]
        seen = [np.unique(batch.compound.numpy()) for batch in drawn]
        assert {len(one) for one in seen} == set(each_chunk)
        found = np.sort(np.concatenate(seen))
        assert found.tolist() == np.sort(np.concatenate([one.compound for one in wells])).tolist()
        assert sum(batch.ends_step for batch in drawn) == n_steps


def test_plates_of_the_same_compounds_are_in_step() -> None:
    plates = plates_that_hold([[f"c{n}" for n in range(12)]] * 3)
    names = [f"c{n}" for n in range(12)]
    settings = small(sets={"mean_cells": 2, "sd_cells": 0, "min_cells": 2}, compounds_per_batch=4)
    batches = EpochSets(plates, trained_wells(plates, names), settings, epoch=0)
    chunks = [set(batches[place].compound.tolist()) for place in range(len(batches))]
    assert len(chunks) == 9
    assert all(chunks[3 * step] == chunks[3 * step + other] for step in range(3) for other in range(3))
    # The draws of an epoch, which trained networks rest on.
    assert [sorted(one) for one in chunks[::3]] == [[0, 1, 2, 10], [5, 6, 7, 8], [3, 4, 9, 11]]


def test_replicates_validate_within_their_batch() -> None:
    plates, _ = batches_with_compounds_of_their_own(0)
    compounds = sorted({name for plate in plates for name in plate.wells[COMPOUND]})
    network = train_network(plates, compounds, small(max_epochs=1)).network
    by_batch = [
        replicate_retrieval(network, plates[2 * b : 2 * b + 2], Precision.FLOAT32, Positives.ACROSS_PLATES)
        for b in range(N_BATCHES)
    ]
    found = replicate_retrieval(network, plates, Precision.FLOAT32, Positives.WITHIN_BATCH)
    assert found == pytest.approx(np.mean([one for one in by_batch if one is not None]))
    # On their own plate compounds have no second well.
    assert replicate_retrieval(network, plates, Precision.FLOAT32, Positives.WITHIN_PLATE) is None


@pytest.mark.parametrize("said", ["nothing", "not of one plate"])
def test_a_plate_of_unknown_batch_is_named(said: str) -> None:
    plates = dataset({"P": "w1", "Q": "w2"})
    wells = plates[1].wells
    changed = wells.drop(columns=BATCH) if said == "nothing" else wells.assign(**{BATCH: None})
    plates[1] = PlateCells("Q", plates[1].features, plates[1].starts, changed)
    with pytest.raises(BadInputError, match="plate Q: nobody says of which batch it is"):
        train_network(plates, ["a", "b"], parameters(Positives.WITHIN_BATCH))
