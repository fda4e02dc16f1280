"""Training from patch tables to a checkpoint on disk."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import lightning as L
import pandas as pd
import torch
from blake3 import blake3
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.plugins.environments import LightningEnvironment

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.contract import ProgressSink, TrainingResult, TrainingTable
from cell_assets.methods.distributed import BatchNormOverProcesses, rank, world_size
from cell_assets.methods.dynaclr.augmentation import side_without_padding
from cell_assets.methods.dynaclr.cells import CellIndex
from cell_assets.methods.dynaclr.checkpoint import (
    ChannelConfig,
    CheckpointConfig,
    save_checkpoint,
    write_json,
)
from cell_assets.methods.dynaclr.imagenet import InitialWeights, load_imagenet
from cell_assets.methods.dynaclr.lightning_module import DynaclrModule, EpochLoss
from cell_assets.methods.dynaclr.loading import Schedule, TripletData
from cell_assets.methods.dynaclr.machine import supported
from cell_assets.methods.dynaclr.network import DynaclrNetwork, NetworkConfig
from cell_assets.methods.dynaclr.parameters import Stem, TrainingParameters
from cell_assets.methods.dynaclr.patches import PatchSource, open_tables
from cell_assets.methods.dynaclr.sampling import TripletSampler
from cell_assets.methods.dynaclr.sampling_record import SamplingRecord, SamplingReport
from cell_assets.methods.execution import prepared
from cell_assets.methods.pace import Pace
from cell_assets.methods.processor import Device
from cell_assets.methods.resuming import RESUME_FILE, ResumeFile, SaveForResume

HISTORY_FILE = "history.parquet"
SAMPLING_FILE = "sampling.json"
READERS = {Device.CPU: 0, Device.CUDA: 4}
"""Processes that read ahead. On the CPU there is nothing to gain: reading takes under 5 % of a step, and the network
has the cores. A GPU waits for every batch that is not there."""


def train(
    tables: Sequence[TrainingTable],
    manifest: FrozenCells,
    parameters: TrainingParameters,
    out: Path,
    progress: ProgressSink | None = None,
    work: Path | None = None,
    workers: int | None = None,
) -> TrainingResult:
    """Trains on the manifest's `train` tracks and writes a checkpoint into the existing folder `out`.

    Files: `model.safetensors`, `config.json`, `history.parquet`, `sampling.json`. Equal inputs and equal
    resolved parameters give equal bytes in an equal environment, also after an interruption.

    Args:
        tables: patch tables.
        manifest: says which of their cell images train and validate.
        progress: called after every step.
        work: folder for what a resume needs; an interrupted training of the same parameters and cells goes
            on from its last saved epoch.
        workers: processes that read ahead, by default `READERS` of the device; decides speed, never bytes.

    Raises:
        BadInputError: tables or tracks cannot be used with these parameters.
    """
    source = open_tables(tables, manifest, parameters.channels)
    return train_on(source, manifest, parameters, out, progress, work, workers)


def train_on(
    source: PatchSource,
    manifest: FrozenCells,
    parameters: TrainingParameters,
    out: Path,
    progress: ProgressSink | None = None,
    work: Path | None = None,
    workers: int | None = None,
) -> TrainingResult:
    """`train` on patches that are already open."""
    parameters, messages = supported(parameters)
    if parameters.devices != world_size():
        raise BadInputError(
            f"devices={parameters.devices} was asked for and {world_size()} of them train; start several as "
            "DynaclrMethod.train does"
        )
    source = source.select(parameters.channels)
    source.require_side(parameters.patch_side_px)
    cells = source.index(manifest)
    training = _sampler(cells, "train", parameters)
    if not len(training):
        count = training.count
        raise BadInputError(
            f"no cell can be an anchor: of {count.cells} cells in train tracks, {count.without_later_image} "
            f"have no image at t+τ (tau_min={parameters.tau_min:g}) and {count.without_negative} no "
            "unrelated cell there; add tracks, or change tau_min or strategy"
        )
    if len(training) < parameters.devices:
        raise BadInputError(
            f"{len(training)} cells can be anchors, too few for devices={parameters.devices} to have one each; add "
            "tracks, or use fewer devices"
        )
    validation: TripletSampler | None = _sampler(cells, "val", parameters)
    if validation is not None and not len(validation):
        validation = None
        messages += ("no cell of the val tracks can be an anchor, so there is no validation loss",)
        if parameters.early_stopping_patience is not None:
            raise BadInputError(
                f"early_stopping_patience={parameters.early_stopping_patience} needs a validation loss and "
                "no val track gives an anchor; set it to null, or move tracks to val"
            )
    with prepared(parameters.device, parameters.threads, parameters.seed):
        network, started_from = _network(source, parameters)
        config = _config(source, network, parameters, started_from)
        record = SamplingRecord(training)
        if parameters.devices > 1:
            BatchNormOverProcesses.replace_in(network)
        module = DynaclrModule(network, parameters, source.kinds, record, _fingerprint(config, source, cells))
        readers = READERS[parameters.device] if workers is None else workers
        resume = None if work is None else ResumeFile(work / RESUME_FILE, module.fingerprint)
        messages += () if resume is None else resume.remarks()
        _fit(module, source, training, validation, parameters, progress, resume, readers)
    side_needed = side_without_padding(parameters.patch_side_px, parameters.augmentation)
    report = record.report(validation, parameters.tau_min, side_needed)
    if rank() == 0:
        save_checkpoint(network, config, out)
        _write_history(module.history, out)
        write_json(out / SAMPLING_FILE, report)
        if resume is not None:
            resume.remove()
    return TrainingResult(parameters, messages + _remarks(report), _metrics(module.history, report))


def _sampler(cells: CellIndex, split: str, parameters: TrainingParameters) -> TripletSampler:
    return TripletSampler(
        cells,
        split,
        parameters.strategy,
        parameters.seed,
        parameters.tau_min,
        parameters.tau_tolerance_min,
        parameters.relatives,
    )


def _network(
    source: PatchSource, parameters: TrainingParameters
) -> tuple[DynaclrNetwork, InitialWeights | None]:
    kinds = tuple(sorted(set(source.kinds))) if parameters.stem is Stem.CHANNEL_ADAPTIVE else ()
    config = NetworkConfig(
        channels=len(source.channel_names),
        kinds=kinds,
        depth=source.patch_shape[0],
        widths=parameters.widths,
        blocks=parameters.blocks,
        layer_scale=parameters.layer_scale,
        channel_gains=tuple(
            parameters.fluorescence_gain if kind is ChannelKind.FLUORESCENCE else 1.0
            for kind in kinds or source.kinds
        ),
        stochastic_depth=parameters.stochastic_depth,
        projection=parameters.projection,
    )
    network, weights = DynaclrNetwork(config), parameters.imagenet_file
    return network, None if weights is None else load_imagenet(network.backbone, weights)


def _config(
    source: PatchSource,
    network: DynaclrNetwork,
    parameters: TrainingParameters,
    started_from: InitialWeights | None,
) -> CheckpointConfig:
    return CheckpointConfig(
        network=network.config,
        channels=tuple(
            ChannelConfig(name=name, kind=kind)
            for name, kind in zip(source.channel_names, source.kinds, strict=True)
        ),
        parameters=parameters,
        initial_weights=started_from,
        torch_version=torch.__version__,
    )


def _fingerprint(config: CheckpointConfig, source: PatchSource, cells: CellIndex) -> str:
    """Tells whether an interrupted training was this one: parameters, cells, splits and normalisation."""
    digest = blake3(config.model_dump_json().encode())
    for array in (
        cells.table,
        cells.row,
        cells.track,
        cells.t,
        cells.minutes,
        cells.split,
        cells.parent_of_track,
    ):
        digest.update(array.tobytes())
    for table in source.tables:
        digest.update(table.offset.tobytes())
        digest.update(table.scale.tobytes())
    return digest.hexdigest()


def _fit(
    module: DynaclrModule,
    source: PatchSource,
    training: TripletSampler,
    validation: TripletSampler | None,
    parameters: TrainingParameters,
    progress: ProgressSink | None,
    resume: ResumeFile | None,
    workers: int,
) -> None:
    steps = Schedule.of(len(training), parameters.batch_size, parameters.devices).steps
    total = min(parameters.max_epochs * steps, parameters.max_steps or parameters.max_epochs * steps)
    data = TripletData(source, training, validation, parameters.batch_size, total, workers)
    callbacks: list[Callback] = []
    if parameters.early_stopping_patience is not None:
        callbacks.append(EarlyStopping("val_loss", patience=parameters.early_stopping_patience))
    if progress is not None:
        callbacks.append(_StepProgress(progress, total))
    with ExitStack() as stack:
        if resume is not None:
            callbacks.append(SaveForResume(resume))
        root = (
            Path(stack.enter_context(tempfile.TemporaryDirectory())) if resume is None else resume.path.parent
        )
        trainer = L.Trainer(
            accelerator="gpu" if parameters.device.value == "cuda" else "cpu",
            devices=parameters.devices // parameters.num_nodes,
            num_nodes=parameters.num_nodes,
            strategy="ddp" if parameters.devices > 1 else "auto",
            plugins=LightningEnvironment() if parameters.devices > 1 else None,
            use_distributed_sampler=False,
            max_epochs=-(-total // steps),
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=resume is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            inference_mode=False,
            default_root_dir=root,
        )
        saved = None if resume is None else resume.saved_state()
        trainer.fit(module, datamodule=data, ckpt_path=saved, weights_only=True)
    module.cpu()


class _StepProgress(Callback):
    """Reports rate and remaining time; the first step, which may compile, is left out of the rate."""

    def __init__(self, sink: ProgressSink, total: int) -> None:
        self.pace = Pace(sink, total, "steps")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.pace(trainer.global_step, note=f"epoch {trainer.current_epoch + 1}")


def _write_history(history: Sequence[EpochLoss], out: Path) -> None:
    columns = list(EpochLoss.model_fields)
    frame = pd.DataFrame([row.model_dump() for row in history], columns=columns)
    frame.astype({"val_loss": "float64"}).to_parquet(out / HISTORY_FILE, index=False)


def _remarks(report: SamplingReport) -> tuple[str, ...]:
    remarks = []
    if report.share_of_anchors_seen < 1:
        remarks.append(
            f"the network saw {report.share_of_anchors_seen:.1%} of the anchors, because max_steps ended the "
            "training before the first epoch did"
        )
    if report.share_of_pixels_padded > 0:
        remarks.append(
            f"{report.share_of_pixels_padded:.2%} of the augmented pixels lay outside the stored patches and "
            f"were mirrored; patch tables of {report.side_without_padding_px} px would need no padding"
        )
    return tuple(remarks)


def _metrics(history: Sequence[EpochLoss], report: SamplingReport) -> dict[str, float]:
    last = history[-1]
    metrics = {"train_loss": last.train_loss, "share_of_anchors_seen": report.share_of_anchors_seen}
    if last.val_loss is not None:
        metrics["val_loss"] = last.val_loss
    return metrics
