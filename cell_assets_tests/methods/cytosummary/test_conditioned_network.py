"""φ conditioned on control cells: against FiLM written out, where it begins, and what scaling cannot undo."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL
from cell_assets.methods.cytosummary import conditioning as module
from cell_assets.methods.cytosummary import profiling, table_training
from cell_assets.methods.cytosummary.batches import EpochSets
from cell_assets.methods.cytosummary.building import on_plate
from cell_assets.methods.cytosummary.checkpoint import load_checkpoint
from cell_assets.methods.cytosummary.conditioned_network import CellsOfPlate, ConditionedNet
from cell_assets.methods.cytosummary.conditioning import CONTROL_CELLS, condition
from cell_assets.methods.cytosummary.lightning_module import replicate_retrieval
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import Conditioning, Positives, Summary, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, trained_wells
from cell_assets.methods.cytosummary.plate_reading import open_plate, standardised
from cell_assets.methods.cytosummary.relevance import cell_relevance
from cell_assets.methods.cytosummary.sets import SetParameters
from cell_assets.methods.cytosummary.summed_cells import NEGATIVE_SLOPE, Counts
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.methods.processor import Precision
from cell_assets_tests.methods.cytosummary.synthetic_plates import (
    CELLS_PER_WELL,
    EMPTY_WELL,
    manifest,
    write_plate,
)
from cell_assets_tests.methods.cytosummary.test_method import digests, small

CONFIG = NetworkConfig(features=5, cell_width=12, hidden_width=8, profile_width=6)
COMPOUNDS = ["down", "still", "up"]
CELLS, D = 100, 3


def conditioned() -> ConditionedNet:
    """With random scales and shifts, as after training."""
    torch.manual_seed(0)
    network = ConditionedNet(CONFIG)
    torch.nn.init.normal_(network.scale_and_shift.weight)
    torch.nn.init.normal_(network.scale_and_shift.bias)
    return network


def some(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, CONFIG.features, generator=torch.Generator().manual_seed(seed))


def film(network: ConditionedNet, cells: torch.Tensor, controls: torch.Tensor) -> torch.Tensor:
    """φ (N, W) of cells of the plate of these controls, feature by feature."""
    each = F.leaky_relu(network.per_control(controls), NEGATIVE_SLOPE).mean(0)
    scale, shift = network.scale_and_shift(each).split(CONFIG.cell_width)
    return F.leaky_relu((1 + scale) * network.net.phi(cells) + shift, NEGATIVE_SLOPE)


def test_sets_over_two_plates_are_as_film_has_them_and_gradients_too() -> None:
    network, cells = conditioned(), some(20, 1)
    controls = [some(30, 2), 2 * some(9, 3) + 1]
    times = torch.randint(0, 3, (4, 20), generator=torch.Generator().manual_seed(4)).float()
    plates = [CellsOfPlate(0, 13, controls[0]), CellsOfPlate(13, 20, controls[1])]
    of_cells = torch.cat([film(network, cells[:13], controls[0]), film(network, cells[13:], controls[1])])
    expected = network.net.rho(times @ of_cells)
    found = network(cells, Counts.of(times), plates)
    torch.testing.assert_close(found, expected)
    pull = torch.randn(found.shape, generator=torch.Generator().manual_seed(5))
    parameters = list(network.parameters())
    gradients = [torch.autograd.grad((one * pull).sum(), parameters) for one in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_wells_of_a_plate_are_profiled_as_film_has_them_whatever_the_order_of_controls() -> None:
    network, cells, controls = conditioned(), some(20, 1), some(30, 2)
    found = network.on_plate(controls).profiles_of(cells.numpy(), np.array([0, 4, 20]), cells_at_once=7)
    with torch.no_grad():
        of_cells = film(network, cells, controls)
        expected = network.net.rho(torch.stack([of_cells[:4].sum(0), of_cells[4:].sum(0)]))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(6))
    again = network.on_plate(controls[order]).profiles_of(cells.numpy(), np.array([0, 4, 20]))
    np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-5)
    other = network.on_plate(2 * some(30, 7) + 1).profiles_of(cells.numpy(), np.array([0, 4, 20]))
    assert np.abs(other - found).max() > 0.1


def test_it_begins_as_the_network_without_conditioning() -> None:
    torch.manual_seed(3)
    plain = CytoSummaryNet(CONFIG)
    torch.manual_seed(3)
    network = ConditionedNet(CONFIG).on_plate(some(30, 2))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), network.parameters(), strict=True))


def test_relevance_is_of_gradients_through_film() -> None:
    network, controls, starts = conditioned(), some(30, 2), np.array([0, 6, 8, 20])
    cells, compound = some(20, 1).requires_grad_(), np.array([0, 1, 0])
    members = torch.block_diag(*(torch.ones(1, n) for n in (6, 2, 12)))
    profiles = network(cells, Counts.of(members), [CellsOfPlate(0, 20, controls)])
    supcon_loss(profiles, torch.from_numpy(compound), 0.1).backward()
    assert cells.grad is not None
    expected = cells.grad.abs().sum(1)[8:].numpy()
    found = cell_relevance(network.on_plate(controls), cells.detach().numpy(), starts, compound)
    least = expected.min()
    np.testing.assert_allclose(
        found.sensitivity[8:], (expected - least) / (expected.max() - least), atol=1e-3
    )


def mirrored(name: str, seed: int, sign: int) -> PlateCells:
    """Compounds move feature 0 down or up, or not at all, and a plate may mirror it.

    It mirrors feature 1, too, which is skewed in control cells alone, of zero mean and unit variance there too:
    nothing else says what the plate does.
    """
    random = np.random.default_rng(seed)
    known = [(compound, False) for compound in COMPOUNDS for _ in range(3)] + [("none", True)] * 3
    moved = {"down": -2.0, "still": 0.0, "up": 2.0, "none": 0.0}
    cells = random.normal(size=(len(known), CELLS, D))
    cells[..., 0] += np.array([moved[compound] for compound, _ in known])[:, None]
    cells[-3:, :, 1] = np.where(np.arange(CELLS) % 10 == 0, 3, -1 / 3)
    cells[..., :2] *= sign
    wells = pd.DataFrame(known, columns=[COMPOUND, IS_CONTROL])
    starts = np.arange(len(known) + 1) * CELLS
    return PlateCells(name, cells.reshape(-1, D).astype(np.float32), starts, wells)


def test_it_learns_from_controls_what_scaling_by_them_does_not_say() -> None:
    found = {}
    for conditioning in (Conditioning.SCALED, Conditioning.LEARNED):
        parameters = TrainingParameters(
            conditioning=conditioning,
            cell_width=16,
            hidden_width=16,
            profile_width=16,
            sets=SetParameters(mean_cells=60, sd_cells=5, min_cells=20),
            positives=Positives.ACROSS_PLATES,
            compounds_per_batch=3,
            learning_rate=1e-2,
            max_epochs=120,
            threads=1,
            precision=Precision.FLOAT32,
        )
        plates = [
            condition(mirrored(f"{sign}", seed, sign), conditioning, seed=0)
            for seed, sign in enumerate([1, -1, 1, -1, 1, -1])
        ]
        held_out = [condition(mirrored(f"{sign}", 9 + sign, sign), conditioning, seed=0) for sign in (1, -1)]
        treated = [plate.between(0, 9) for plate in held_out]
        network = train_network(plates, COMPOUNDS, parameters).network
        found[conditioning] = replicate_retrieval(
            network, treated, Precision.FLOAT32, Positives.ACROSS_PLATES
        )
    scaled, learned = found[Conditioning.SCALED], found[Conditioning.LEARNED]
    assert scaled is not None and learned is not None
    assert scaled < 0.8 and learned > 0.95


def test_batches_say_whose_the_cells_are() -> None:
    plates = [
        condition(mirrored(name, seed, 1), Conditioning.LEARNED, seed=0) for seed, name in enumerate("PQ")
    ]
    for place, plate in enumerate(plates):
        plate.features[:, 2] = place
    parameters = small(conditioning=Conditioning.LEARNED, positives=Positives.ACROSS_PLATES)
    taught = [plate.between(0, 9) for plate in plates]
    batch = EpochSets(taught, trained_wells(taught, COMPOUNDS), parameters, 0)[0]
    first, second = batch.plates
    assert (first.begin, first.end, second.end) == (0, second.begin, len(batch.cells))
    assert (batch.cells[: first.end, 2] == 0).all() and (batch.cells[second.begin :, 2] == 1).all()
    for one, plate in zip(batch.plates, plates, strict=True):
        assert plate.controls is not None
        np.testing.assert_array_equal(one.controls.numpy(), plate.controls)
        assert np.shares_memory(one.controls.numpy(), plate.controls)


def test_so_many_scaled_control_cells_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given = mirrored("P", 0, 1)
    before = given.features.astype(np.float64)
    before[:, 2] = given.features[:, 2] = 1
    of_controls = before[9 * CELLS :]
    sd = np.where(of_controls.std(0) > 0, of_controls.std(0), 1)
    kept = condition(given, Conditioning.LEARNED, seed=0).controls
    assert kept is not None and len(of_controls) < CONTROL_CELLS
    np.testing.assert_allclose(kept, (of_controls - of_controls.mean(0)) / sd, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(given.features, (before - of_controls.mean(0)) / sd, rtol=1e-4, atol=1e-4)

    monkeypatch.setattr(module, "CONTROL_CELLS", 40)
    plates = [condition(mirrored("P", 0, 1), Conditioning.LEARNED, seed) for seed in (0, 0, 1)]
    first, again, other = (plate.seen_controls() for plate in plates)
    np.testing.assert_array_equal(again, first)
    assert set(map(tuple, first)) <= set(map(tuple, plates[0].features[9 * CELLS :]))
    assert len(np.unique(first, axis=0)) == 40
    assert not np.array_equal(other, first)


def test_profiling_shows_the_control_cells_of_training_where_a_control_well_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wells = manifest(["P"])
    first = wells.loc[wells[IS_CONTROL], "Metadata_Well"].iloc[0]

    def with_one(cells: pd.DataFrame) -> pd.DataFrame:
        return cells[(cells["Metadata_Well"] != first) | (cells["Metadata_ObjectNumber"] == 0)]

    table = write_plate(tmp_path / "P", "P", 0, with_one)
    monkeypatch.setattr(module, "CONTROL_CELLS", CELLS_PER_WELL // 2)
    plates: list[PlateCells] = []

    def noted(plate: PlateCells, conditioning: Conditioning, seed: int) -> PlateCells:
        plates.append(condition(plate, conditioning, seed))
        return plates[-1]

    for place in (table_training, profiling):
        monkeypatch.setattr(place, "condition", noted)
    for name in ("checkpoint", "profiles"):
        (tmp_path / name).mkdir()
    METHOD.train([table], wells, small(conditioning=Conditioning.LEARNED, seed=5), tmp_path / "checkpoint")
    METHOD.profile(tmp_path / "checkpoint", table, wells, tmp_path / "profiles", {})
    trained, profiled = plates
    sizes = [np.diff(plate.starts)[plate.wells[IS_CONTROL].to_numpy()].tolist() for plate in plates]
    assert sizes == [[1, CELLS_PER_WELL], [CELLS_PER_WELL, 1]]
    assert len(trained.seen_controls()) == CELLS_PER_WELL // 2
    np.testing.assert_allclose(profiled.seen_controls(), trained.seen_controls(), rtol=1e-5, atol=1e-6)


def test_a_plate_without_controls_is_named() -> None:
    without = mirrored("P", 0, 1).between(0, 9)
    with pytest.raises(BadInputError, match="plate P: 0 cells of control wells are there to condition on"):
        condition(without, Conditioning.LEARNED, seed=0)
    with pytest.raises(RuntimeError, match="plate P: φ is to see control cells"):
        train_network([without], COMPOUNDS, small(conditioning=Conditioning.LEARNED))


def test_it_is_of_learned_sums_alone() -> None:
    with pytest.raises(
        BadInputError, match=r"parameter summary=.*mean.* conditioning=learned from controls is of φ"
    ):
        METHOD.parameters("quick", {"conditioning": Conditioning.LEARNED, "summary": Summary.MEAN})


def test_a_checkpoint_sees_controls_of_what_it_profiles(tmp_path: Path) -> None:
    wells = manifest(["P", "Q"])
    tables = [write_plate(tmp_path / name, name, seed) for seed, name in enumerate("PQ")]
    checkpoints = []
    for name in ("one", "again"):
        (out := tmp_path / name).mkdir()
        METHOD.train(tables, wells, small(conditioning=Conditioning.LEARNED), out)
        checkpoints.append(out)
    assert digests(checkpoints[0]) == digests(checkpoints[1])
    network, config = load_checkpoint(checkpoints[0])
    assert config.parameters.conditioning is Conditioning.LEARNED and isinstance(network, ConditionedNet)
    assert network.scale_and_shift.weight.abs().max() > 0

    (out := tmp_path / "profiles").mkdir()
    METHOD.profile(checkpoints[0], tables[1], wells, out, {})
    profiles, relevance = (pd.read_parquet(out / f"{name}.parquet") for name in ("profiles", "relevance"))
    own = wells[(wells["Metadata_Plate"] == "Q") & (wells["Metadata_Well"] != EMPTY_WELL)]
    cells = standardised(open_plate(tables[1], config.features), own, tmp_path / "cells")
    cells = condition(cells, Conditioning.LEARNED, config.parameters.seed)
    expected = on_plate(network, cells).profiles_of(cells.features, cells.starts)
    np.testing.assert_allclose(profiles.filter(like="Cells_CytoSummaryNet_"), expected, rtol=1e-4, atol=1e-4)
    plain = network.net.profiles_of(cells.features, cells.starts)
    assert np.abs(plain - expected).max() > 1e-3 * np.abs(expected).max()
    assert len(relevance) == len(cells.features) and relevance["combined"].between(0, 1).all()
    assert profiles["Metadata_Well"].tolist() == own["Metadata_Well"].tolist()
