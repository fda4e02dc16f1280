"""Training: what it writes, that it learns, and that equal parameters give equal bytes."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods import resuming
from cell_assets.methods.contract import Progress
from cell_assets.methods.dynaclr import lightning_module
from cell_assets.methods.dynaclr.augmentation import PatchAugmentation
from cell_assets.methods.dynaclr.cells import IntArray
from cell_assets.methods.dynaclr.checkpoint import load_checkpoint
from cell_assets.methods.dynaclr.lightning_module import DynaclrModule, augmented_triplets
from cell_assets.methods.dynaclr.loading import EpochBatches
from cell_assets.methods.dynaclr.parameters import TrainingParameters
from cell_assets.methods.dynaclr.patches import PatchArray, PatchSource
from cell_assets.methods.dynaclr.sampling import SamplingStrategy, TripletSampler
from cell_assets.methods.dynaclr.sampling_record import SamplingReport
from cell_assets.methods.dynaclr.training import train_on
from cell_assets.methods.execution import prepared
from cell_assets.methods.processor import Device
from cell_assets_tests.methods.dynaclr.synthetic_cells import manifest_of, open_table

FILES = {"model.safetensors", "config.json", "history.parquet", "sampling.json"}


def small(**changes: object) -> TrainingParameters:
    """A training of a second; the rest as `quick`."""
    values = {"patch_side_px": 32, "widths": (8, 8, 16, 24), "blocks": (1, 1, 1, 1), "batch_size": 12}
    base = TrainingParameters.quick().model_dump() | {"max_steps": None, "max_epochs": 3} | values
    return TrainingParameters.model_validate(base | changes)


def two_plates() -> PatchSource:
    return PatchSource([open_table("P1"), open_table("P2", seed=1)])


def digests(folder: Path) -> Mapping[str, str]:
    return {path.name: blake3(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def train_into(folder: Path, parameters: TrainingParameters, **options: object) -> Mapping[str, str]:
    folder.mkdir()
    source = two_plates()
    train_on(source, manifest_of(source), parameters, folder, **options)  # type: ignore[arg-type]
    return digests(folder)


def report(folder: Path) -> SamplingReport:
    return SamplingReport.model_validate_json((folder / "sampling.json").read_bytes())


def test_equal_parameters_give_equal_bytes(tmp_path: Path) -> None:
    first = train_into(tmp_path / "a", small(stochastic_depth=0.3))
    # Whatever ran before in the process must not matter.
    torch.rand(1000)
    np.random.default_rng().random(10)
    assert train_into(tmp_path / "b", small(stochastic_depth=0.3)) == first
    assert set(first) == FILES
    other = train_into(tmp_path / "c", small(stochastic_depth=0.3, seed=1))
    assert other["model.safetensors"] != first["model.safetensors"]


def test_reading_ahead_changes_no_byte(tmp_path: Path) -> None:
    assert train_into(tmp_path / "ahead", small(), workers=2) == train_into(tmp_path / "none", small())


def test_threads_change_no_byte_of_what_is_augmented() -> None:
    source, parameters = two_plates(), small()
    sampler = TripletSampler(
        source.index(manifest_of(source)), "train", SamplingStrategy.CLASSICAL, 0, parameters.tau_min
    )
    batch = EpochBatches(source, sampler, 0, 12)[0]
    augmentation = PatchAugmentation(parameters.augmentation, source.kinds, parameters.patch_side_px)

    def made(threads: int) -> torch.Tensor:
        with prepared(Device.CPU, threads, seed=0), patch.object(lightning_module, "CPU_PART_BYTES", 1):
            done = augmented_triplets(batch, augmentation, torch.Generator().manual_seed(1))
            assert torch.get_num_threads() == threads
        return done.patches

    assert torch.equal(made(1), made(3))


def test_a_fresh_process_gives_the_same_bytes(tmp_path: Path) -> None:
    here = train_into(tmp_path / "here", small())
    code = (
        "from pathlib import Path; import sys; sys.path.insert(0, sys.argv[1]);"
        "from cell_assets_tests.methods.dynaclr.test_training import small, train_into;"
        "train_into(Path(sys.argv[2]), small())"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code, str(root), str(tmp_path / "there")], check=True, cwd=tmp_path)
    assert digests(tmp_path / "there") == here
    assert {path.name for path in tmp_path.iterdir()} == {"here", "there"}, "training leaves no litter"


def test_a_resumed_training_gives_the_bytes_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_into(tmp_path / "whole", small(stochastic_depth=0.2))
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 0.0)
    work = tmp_path / "work"
    work.mkdir()
    steps: list[int] = []

    def stop_in_second_epoch(progress: Progress) -> None:
        steps.append(progress.done)
        if progress.done == 7:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train_into(tmp_path / "killed", small(stochastic_depth=0.2), progress=stop_in_second_epoch, work=work)
    assert [path.name for path in work.iterdir()] == ["resume.ckpt"]
    assert not list((tmp_path / "killed").iterdir())
    steps.clear()
    (resumed := tmp_path / "resumed").mkdir()
    result = train_on(
        source := two_plates(),
        manifest_of(source),
        small(stochastic_depth=0.2),
        resumed,
        progress=lambda progress: steps.append(progress.done),
        work=work,
    )
    assert steps[0] == 6, "it went on after the first epoch's 5 steps"
    assert "it went on after epoch 1, where an interrupted attempt stood" in result.messages
    assert digests(resumed) == whole
    assert not list(work.iterdir())


def test_the_state_of_another_training_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 0.0)
    work = tmp_path / "work"
    work.mkdir()

    def stop(progress: Progress) -> None:
        if progress.done == 6:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train_into(tmp_path / "killed", small(), progress=stop, work=work)
    alone = train_into(tmp_path / "alone", small(seed=5))
    assert train_into(tmp_path / "after", small(seed=5), work=work) == alone


def test_every_epoch_shows_every_anchor_and_new_negatives(tmp_path: Path) -> None:
    train_into(tmp_path / "out", small())
    made = report(tmp_path / "out")
    by_split = {anchors.split: anchors for anchors in made.anchors}
    # 9 of 12 tracks of each plate train, the others validate; 3 of 4 frames have a later one.
    assert (by_split["train"].cells, by_split["train"].anchors) == (72, 54)
    assert by_split["train"].without_later_image == 18
    assert (by_split["val"].cells, by_split["val"].anchors) == (24, 18)
    assert [epoch.anchors_seen for epoch in made.epochs] == [54, 54, 54]
    assert made.share_of_anchors_seen == 1
    for epoch in made.epochs:
        assert [(bar.lag_min, bar.draws) for bar in epoch.positive_lags] == [(30.0, 54)]
    history = pd.read_parquet(tmp_path / "out" / "history.parquet")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["steps"].tolist() == [5, 5, 5]
    assert np.isfinite(history[["train_loss", "val_loss"]]).all(axis=None)


def test_stopping_within_an_epoch_is_reported(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    source = two_plates()
    result = train_on(source, manifest_of(source), small(max_steps=2), out)
    made = report(out)
    # 54 anchors in 5 steps of 11, one of them filled up.
    assert [epoch.anchors_seen for epoch in made.epochs] == [22]
    assert made.share_of_anchors_seen == pytest.approx(22 / 54)
    assert any("saw 40.7% of the anchors" in message for message in result.messages)


def test_batches_are_of_one_size_and_hold_every_anchor_once() -> None:
    source = two_plates()
    cells = source.index(manifest_of(source))
    sampler = TripletSampler(cells, "train", small().strategy, seed=0)
    batches = EpochBatches(source, sampler, epoch=0, batch_size=12)
    anchors = []
    for step in range(len(batches)):
        batch = batches[step]
        assert batch.patches.shape == (33, 2, 1, 40, 40)
        anchors += batch.cells[:11][batch.counted].tolist()
        for i, cell in enumerate(batch.cells.tolist()):
            table = source.tables[cells.table[cell]]
            np.testing.assert_array_equal(batch.patches[i], table.read(cells.row[[cell]])[0])
            assert batch.kin[i] == cells.lineage_of_track[cells.track[cell]]
    assert sorted(anchors) == sampler.anchors.tolist()


def test_a_loader_that_repeats_its_epoch_would_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = TripletSampler.draw
    monkeypatch.setattr(TripletSampler, "draw", lambda self, epoch: draw(self, 0))
    limited = small(max_steps=None, max_epochs=2)
    first_batch_only = EpochBatches.__getitem__
    monkeypatch.setattr(EpochBatches, "__getitem__", lambda self, step: first_batch_only(self, 0))
    train_into(tmp_path / "out", limited)
    assert report(tmp_path / "out").share_of_anchors_seen < 0.25


@pytest.mark.parametrize("strategy", list(SamplingStrategy))
@pytest.mark.parametrize("channels", [("Phase",), ("Phase", "RFP"), ("RFP", "Phase")])
def test_each_sampling_trains_on_the_chosen_channels(
    strategy: SamplingStrategy, channels: tuple[str, ...], tmp_path: Path
) -> None:
    source = two_plates()
    parameters = small(strategy=strategy, channels=channels, max_steps=2, fluorescence_gain=4.0)
    train_on(source, manifest_of(source), parameters, tmp_path)
    network, config = load_checkpoint(tmp_path)
    assert tuple(channel.name for channel in config.channels) == channels
    assert network.stem.conv.weight.shape[1] == len(channels)
    assert config.network.channel_gains == tuple(4.0 if name == "RFP" else 1.0 for name in channels)
    assert report(tmp_path).strategy == strategy


def test_a_phase_only_training_never_sees_fluorescence(tmp_path: Path) -> None:
    given = two_plates()

    def dark(read: Callable[[IntArray], PatchArray]) -> Callable[[IntArray], PatchArray]:
        return lambda rows: read(rows) * np.array([1, 0], np.uint16).reshape(1, 2, 1, 1, 1)

    blind = PatchSource([replace(table, read=dark(table.read)) for table in given.tables])
    weights = []
    for name, source in (("given", given), ("blind", blind)):
        (out := tmp_path / name).mkdir()
        train_on(source, manifest_of(source), small(channels=("Phase",), max_steps=2), out)
        weights.append(digests(out)["model.safetensors"])
    assert weights[0] == weights[1]


def test_channels_are_read_in_the_order_that_was_asked_for() -> None:
    source = two_plates()
    swapped = source.select(("RFP", "Phase"))
    assert swapped.kinds == (ChannelKind.FLUORESCENCE, ChannelKind.PHASE)
    table, row = np.array([1, 0]), np.array([3, 5])
    np.testing.assert_array_equal(swapped.read(table, row).patches, source.read(table, row).patches[:, ::-1])
    np.testing.assert_array_equal(swapped.tables[0].scale, source.tables[0].scale[:, ::-1])
    with pytest.raises(BadInputError, match=r"P1 A/1/000 stores the channels Phase, RFP and not GFP, which"):
        source.select(("Phase", "GFP"))
    with pytest.raises(ValueError, match="a channel is named twice"):
        small(channels=("Phase", "Phase"))


def test_a_channel_without_contrast_is_refused_only_where_it_is_used() -> None:
    table = replace(open_table(), flat_channels=("RFP",))
    with pytest.raises(BadInputError, match="channel 'RFP' has no contrast in any frame"):
        PatchSource([table])
    assert PatchSource([table.select(("Phase",))]).channel_names == ("Phase",)


@pytest.mark.parametrize(
    "changes",
    [
        {"distance": "plain"},
        {"objective": "nt-xent"},
        {"objective": "nt-xent", "concentration": 1.0, "relatives": "allow"},
        {"objective": "nt-xent", "strategy": "classical"},
    ],
)
def test_each_objective_learns(changes: dict[str, object], tmp_path: Path) -> None:
    source = PatchSource([open_table("P1", n_tracks=24, n_frames=4)])
    base = {"widths": (16, 16, 32, 48), "max_epochs": 12, "batch_size": 18, "learning_rate": 1e-3}
    train_on(source, manifest_of(source), small(**base, margin=5.0, **changes), tmp_path)
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert history["train_loss"].iloc[-3:].mean() < 0.8 * history["train_loss"].iloc[:2].mean()


def test_it_learns_to_tell_tracks_apart(tmp_path: Path) -> None:
    source = PatchSource([open_table("P1", n_tracks=24, n_frames=4)])
    # Normalised projections lie 64 apart on average: only such a margin is not met from the start.
    parameters = small(widths=(16, 16, 32, 48), max_epochs=15, batch_size=18, learning_rate=1e-3, margin=60.0)
    train_on(source, manifest_of(source), parameters, tmp_path)
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert history["train_loss"].iloc[-3:].mean() < 0.7 * history["train_loss"].iloc[:3].mean()
    assert history["val_loss"].iloc[-1] < 0.7 * history["val_loss"].iloc[0]


def test_threads_and_determinism_are_put_back() -> None:
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state())
    with prepared(Device.CPU, threads=before[0] + 1, seed=3):
        assert torch.get_num_threads() == before[0] + 1
        assert torch.are_deterministic_algorithms_enabled()
        torch.rand(3)
    assert torch.get_num_threads() == before[0]
    assert torch.are_deterministic_algorithms_enabled() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_early_stopping_needs_validation_tracks(tmp_path: Path) -> None:
    source = two_plates()
    manifest = FrozenCells(manifest_of(source).tracks.assign(split="train"))
    with pytest.raises(BadInputError, match="early_stopping_patience=2 needs a validation loss"):
        train_on(source, manifest, small(early_stopping_patience=2), tmp_path)
    result = train_on(source, manifest, small(max_steps=2), tmp_path)
    assert any("no validation loss" in message for message in result.messages)
    assert pd.read_parquet(tmp_path / "history.parquet")["val_loss"].isna().all()


def test_early_stopping_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DynaclrModule, "on_validation_epoch_end", lambda self: self.log("val_loss", 1.0))
    train_into(tmp_path / "out", small(early_stopping_patience=2, max_epochs=9))
    assert len(pd.read_parquet(tmp_path / "out" / "history.parquet")) == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"patch_side_px": 64}, r"patch_side_px=64 is larger than the stored patches \(40 px\)"),
        ({"tau_min": 45.0}, r"tau_min=45 is not within 0\.5 min of a multiple"),
        ({"tau_min": 300.0}, r"of 72 cells in train tracks, 72 have no image at t\+τ \(tau_min=300\)"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    parameters: dict[str, object], message: str, tmp_path: Path
) -> None:
    source = two_plates()
    with pytest.raises(BadInputError, match=message):
        train_on(source, manifest_of(source), small(**parameters), tmp_path)
    assert not list(tmp_path.iterdir())


def test_tables_of_different_layouts_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"P1 A/1/000 has \(1, 40, 40\), P2 A/1/000 has \(3, 40, 40\)"):
        PatchSource([open_table("P1"), open_table("P2", depth=3)])


@pytest.mark.slow
def test_compiled_training_is_deterministic_too(tmp_path: Path) -> None:
    parameters = small(precision="bfloat16", compile_mode="inductor", max_epochs=1)
    assert train_into(tmp_path / "a", parameters) == train_into(tmp_path / "b", parameters)
