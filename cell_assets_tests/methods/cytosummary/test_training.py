"""Training: what it draws, that it learns, that equal parameters give equal weights, and which epoch is kept."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import BATCH, COMPOUND, IS_CONTROL
from cell_assets.methods.cytosummary.batches import EpochSets
from cell_assets.methods.cytosummary.building import network_of
from cell_assets.methods.cytosummary.checkpoint import CheckpointConfig, load_checkpoint, save_checkpoint
from cell_assets.methods.cytosummary.lightning_module import replicate_retrieval
from cell_assets.methods.cytosummary.parameters import Positives, Summary, TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, trained_wells
from cell_assets.methods.cytosummary.sets import SetParameters
from cell_assets.methods.cytosummary.summary_network import SKETCH, SummaryNet
from cell_assets.methods.cytosummary.summed_cells import Counts
from cell_assets.methods.cytosummary.training import train_network
from cell_assets.methods.processor import Precision

COMPOUNDS = [f"c{i}" for i in range(6)]
CELLS, D = 120, 5


def plate(name: str, seed: int, compounds: Sequence[str] = COMPOUNDS, wells_each: int = 2) -> PlateCells:
    """Cells whose features 0 and 1 are correlated as their compound says, and nothing else; and a control well."""
    random = np.random.default_rng(seed)
    known = [(c, False) for c in compounds for _ in range(wells_each)] + [("none", True)]
    parts = []
    for compound, _ in known:
        r = 0.0 if compound == "none" else np.linspace(-0.9, 0.9, len(COMPOUNDS))[COMPOUNDS.index(compound)]
        cells = random.normal(size=(CELLS, D))
        cells[:, 1] = r * cells[:, 0] + np.sqrt(1 - r**2) * cells[:, 1]
        parts.append(cells.astype(np.float32))
    wells = pd.DataFrame(known, columns=[COMPOUND, IS_CONTROL]).assign(**{BATCH: "one"})
    return PlateCells(name, np.concatenate(parts), np.arange(len(known) + 1) * CELLS, wells)


def treated(name: str, seed: int, compounds: Sequence[str] = COMPOUNDS) -> PlateCells:
    """A plate without its control well, four wells of each compound."""
    whole = plate(name, seed, compounds, wells_each=4)
    n = 4 * len(compounds)
    return PlateCells(name, whole.features[: n * CELLS], whole.starts[: n + 1], whole.wells[:n])


def config_of(parameters: TrainingParameters) -> CheckpointConfig:
    return CheckpointConfig(
        features=tuple(f"f{i}" for i in range(D)),
        compounds=tuple(COMPOUNDS),
        plates=("P",),
        kept_epoch=0,
        parameters=parameters,
        torch_version=torch.__version__,
    )


def small(**changes: object) -> TrainingParameters:
    values: dict[str, object] = {
        "cell_width": 32,
        "hidden_width": 16,
        "profile_width": 16,
        "sets": SetParameters(mean_cells=80, sd_cells=10, min_cells=20),
        "compounds_per_batch": 3,
        "learning_rate": 5e-3,
        "max_epochs": 3,
    }
    return TrainingParameters.model_validate(TrainingParameters.quick().model_dump() | values | changes)


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def test_equal_parameters_give_equal_weights() -> None:
    plates = [plate("P", 1), plate("Q", 2)]
    first = train_network(plates, COMPOUNDS, small())
    torch.rand(100)
    again, other = train_network(plates, COMPOUNDS, small()), train_network(plates, COMPOUNDS, small(seed=1))
    assert all(torch.equal(a, b) for a, b in zip(weights(first.network), weights(again.network), strict=True))
    assert not torch.equal(weights(first.network)[0], weights(other.network)[0])
    assert [one.epoch for one in first.history] == [0, 1, 2] and first.kept_epoch == 2


@pytest.mark.parametrize(
    ("summary", "finds_more", "finds_less"), [(Summary.MEAN, 0.0, 0.4), (Summary.MOMENTS, 0.5, 1.01)]
)
def test_controls_find_what_their_summary_holds(
    summary: Summary, finds_more: float, finds_less: float, tmp_path: Path
) -> None:
    plates = [plate("P", 1), plate("Q", 2)]
    parameters = small(summary=summary, max_epochs=60, compounds_per_batch=6)
    trained = train_network(plates, COMPOUNDS, parameters)
    found = replicate_retrieval(trained.network, [treated("R", 3)], Precision.FLOAT32)
    assert found is not None and finds_more < found < finds_less
    config = config_of(parameters)
    save_checkpoint(trained.network, config, tmp_path)
    again = replicate_retrieval(load_checkpoint(tmp_path)[0], [treated("R", 3)], Precision.FLOAT32)
    assert again == found


def test_moments_of_sets_against_numpy() -> None:
    cells = np.random.default_rng(0).normal(size=(40, D)).astype(np.float32)
    drawn = np.random.default_rng(1).integers(0, 40, (2, 90))
    counts = np.stack([np.bincount(row, minlength=40) for row in drawn]).astype(np.float32)
    network = network_of(small(summary=Summary.MOMENTS), D)
    assert isinstance(network, SummaryNet)
    found = network.summaries(torch.from_numpy(cells), torch.from_numpy(counts)).numpy()
    for row, own in zip(drawn, found, strict=True):
        np.testing.assert_allclose(own[:D], cells[row].mean(0), atol=1e-5)
        np.testing.assert_allclose(own[D : 2 * D], cells[row].std(0), atol=1e-5)
        covariance = np.cov((cells[row] @ network.directions.numpy()).T, bias=True)
        np.testing.assert_allclose(own[2 * D :], covariance[np.triu_indices(SKETCH)], atol=1e-5)
    whole = network.profiles_of(cells, np.array([0, 40]))
    with torch.no_grad():
        again = network(torch.from_numpy(cells), Counts.of(torch.ones(1, 40))).numpy()
    np.testing.assert_allclose(whole, again, atol=1e-5)


@pytest.mark.parametrize("precision", list(Precision))
def test_spread_that_is_small_beside_the_mean_is_seen_in_any_precision(precision: Precision) -> None:
    random = np.random.default_rng(0)
    sd, mean = np.array([0.30, 0.25, 0.35, 0.30, 0.01]), np.array([3.0, 3.0, -3.0, 0.0, 0.1])
    cells = torch.from_numpy((mean + sd * random.normal(size=(2000, D))).astype(np.float32))
    counts = torch.zeros(2, 2000)
    counts[0, :1000], counts[1, 1000:] = 1, 2
    network = network_of(small(summary=Summary.MOMENTS), D)
    assert isinstance(network, SummaryNet)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is Precision.BFLOAT16):
        found = network.summaries(cells, counts)
    assert found.dtype == torch.float32
    for own, part in zip(found.numpy(), (cells[:1000].numpy(), cells[1000:].numpy()), strict=True):
        np.testing.assert_allclose(own[:D], part.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(own[D : 2 * D], part.std(0), rtol=1e-3)
        covariance = np.cov((part @ network.directions.numpy()).T, bias=True)
        np.testing.assert_allclose(own[2 * D :], covariance[np.triu_indices(SKETCH)], atol=1e-5)


@pytest.mark.parametrize("summary", [Summary.MEAN, Summary.MOMENTS])
@pytest.mark.parametrize("cells_at_once", [1, 60, 1000])
def test_summaries_of_wells_are_theirs_whatever_is_computed_at_once(
    summary: Summary, cells_at_once: int
) -> None:
    cells = np.random.default_rng(0).normal(size=(140, D)).astype(np.float32)
    starts = np.array([0, 1, 60, 61, 62, 140])
    network = network_of(small(summary=summary), D)
    assert isinstance(network, SummaryNet)
    found = network.profiles_of(cells, starts, cells_at_once=cells_at_once)
    alone = [network.profiles_of(cells[a:b], np.array([0, b - a])) for a, b in pairwise(starts)]
    np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-6)


@pytest.mark.parametrize("positives", list(Positives))
@pytest.mark.parametrize("precision", list(Precision))
def test_it_learns_what_no_mean_says(positives: Positives, precision: Precision) -> None:
    plates = [plate("P", 1), plate("Q", 2)]
    changes = {"positives": positives, "precision": precision, "max_epochs": 60, "compounds_per_batch": 6}
    trained = train_network(plates, COMPOUNDS, small(**changes))
    assert trained.history[-1].train_loss < trained.history[0].train_loss - 0.3
    found = replicate_retrieval(trained.network, [treated("R", 3)], Precision.FLOAT32)
    fresh = train_network(plates, COMPOUNDS, small(max_epochs=1, learning_rate=1e-9)).network
    untrained = replicate_retrieval(fresh, [treated("R", 3)], Precision.FLOAT32)
    assert found is not None and untrained is not None
    assert found > 0.5 > untrained + 0.1


def test_the_best_epoch_on_held_out_compounds_is_kept() -> None:
    plates, validation = [plate("P", 1, COMPOUNDS[:4])], treated("P", 4, COMPOUNDS[4:])
    trained = train_network(plates, COMPOUNDS[:4], small(max_epochs=6), [validation])
    scores = [one.validation_map for one in trained.history]
    assert trained.kept_epoch == int(np.argmax(np.array(scores, float)))
    again = replicate_retrieval(trained.network, [validation], Precision.FLOAT32)
    assert again == pytest.approx(scores[trained.kept_epoch])


@pytest.mark.parametrize("positives", list(Positives))
def test_an_epoch_shows_every_compound_once_on_every_plate(positives: Positives) -> None:
    plates = [plate("P", 1), plate("Q", 2, COMPOUNDS[:4])]
    wells = trained_wells(plates, COMPOUNDS)
    parameters = small(positives=positives)
    batches = EpochSets(plates, wells, parameters, epoch=0)
    steps = [batches[i] for i in range(len(batches))]
    seen = np.concatenate([np.unique(batch.compound) for batch in steps])
    within = positives is Positives.WITHIN_PLATE
    assert sorted(seen.tolist()) == sorted([*range(6), *range(4)] if within else range(6))
    assert sum(batch.ends_step for batch in steps) == 2
    assert sum(batch.weight for batch in steps) == pytest.approx(2)
    for place, batch in enumerate(steps):
        assert batch.cells.shape[1] == D and batch.counts.dense().shape == (
            len(batch.compound),
            len(batch.cells),
        )
        assert torch.equal(batch.cells, batches[place].cells)
    other = EpochSets(plates, wells, parameters, epoch=1)
    assert other[0].cells.shape != steps[0].cells.shape or not torch.equal(other[0].cells, steps[0].cells)


def test_across_plates_the_cells_of_each_set_are_its_compounds() -> None:
    plates = [plate("P", 1), plate("Q", 2)]
    for one in plates:
        # Feature 4 says which compound a cell is of.
        codes = one.wells[COMPOUND].map({name: i for i, name in enumerate([*COMPOUNDS, "none"])})
        one.features[:, 4] = codes.to_numpy().repeat(CELLS)
    batches = EpochSets(plates, trained_wells(plates, COMPOUNDS), small(positives=Positives.ACROSS_PLATES), 0)
    for batch in (batches[i] for i in range(len(batches))):
        counts = batch.counts.dense()
        mean = counts @ batch.cells[:, 4] / counts.sum(1)
        torch.testing.assert_close(mean, batch.compound.float())


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    plates = [plate("P", 1)]
    trained = train_network(plates, COMPOUNDS, small(max_epochs=1))
    config = config_of(small())
    save_checkpoint(trained.network, config, tmp_path)
    network, again = load_checkpoint(tmp_path)
    assert again == config
    assert all(torch.equal(a, b) for a, b in zip(weights(network), weights(trained.network), strict=True))
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(BadInputError, match="does not hold the network"):
        load_checkpoint(tmp_path)
    with pytest.raises(BadInputError, match="is not there or not understood"):
        load_checkpoint(tmp_path / "none")


def test_what_cannot_be_learned_from_is_named() -> None:
    with pytest.raises(BadInputError, match=r"compound none \(1 in all\) has no treated well"):
        train_network([plate("P", 1)], [*COMPOUNDS, "none"], small())
    with pytest.raises(BadInputError, match="no plate holds two compounds that are compared"):
        train_network([plate("P", 1, COMPOUNDS[:1]), plate("Q", 2, COMPOUNDS[1:2])], COMPOUNDS[:2], small())
    control = network_of(small(summary=Summary.MEAN), D)
    with pytest.raises(BadInputError, match="wells at places 1 have no cell"):
        control.profiles_of(np.zeros((4, D), np.float32), np.array([0, 2, 2, 4]))
    narrow = plate("Q", 2)
    narrow = PlateCells("Q", narrow.features[:, :4], narrow.starts, narrow.wells)
    with pytest.raises(BadInputError, match="plates differ in features: P has 5, Q has 4"):
        train_network([plate("P", 1), narrow], COMPOUNDS, small())
