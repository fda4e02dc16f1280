"""What an asset will write and how long it will take, said beforehand. No Dagster here.

Bytes are bounds where what is written is known (plates, patches of given tracks) and guesses from earlier outputs
elsewhere. Every cost says which. Times are those of earlier runs on any machine.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from pydantic import BaseModel, ConfigDict

from cell_assets.assets.partitions import fov_key
from cell_assets.assets.planning import FovPlan, field_of_view_of, given_cells
from cell_assets.assets.recipes import AssetName
from cell_assets.imaging.fov_chain import Stage
from cell_assets.imaging.patches import PatchPolicy, cell_times, patch_layout, table_bytes
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, ArtifactState, Run
from cell_assets.reporting.wording import seconds_text
from cell_assets.store.room import said_bytes
from cell_assets.store.store import Store

LABELS_COMPRESS = 7
"""Labels of four bytes a voxel are stored in at most a seventh of that: cells are larger than their outlines.

Measured with `write_labels`: real labels took 1/71 (small nuclei, 130 px frames) to 1/791 (sparse bacteria) of it. The
worst case is a layer without any background, of cells on average 6 px wide 1/11, 4 px wide 1/7.4.
"""

SPREAD_OF_CELLS = 2.0
"""A FOV may hold so many times the cells of the mean earlier one before its size was guessed too low."""

_LOOKED_AT = 50
"""Earlier outputs that a guess rests on."""

GC_ADVICE = "make room, as `cell-assets gc --dry-run` proposes, or move the store to a larger disk"

ROOM_ADVICE = (
    "choose smaller patches, fewer channels or planes, or fovs.patches.policy none, which cuts patches from the plate "
    f"when they are read; or {GC_ADVICE}"
)


class Cost(BaseModel):
    """What one part of a run will take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    bytes_at_most: int | None
    """None: nothing like it was ever made with this ledger."""
    bytes_from: str
    """What the bytes rest on, for a person."""
    seconds: float | None
    """None: nothing like it was ever run with this ledger."""
    gpu_hours: float | None = 0.0
    device: str = "cpu"

    def text(self) -> str:
        """For a person."""
        size = "not known yet" if self.bytes_at_most is None else f"{said_bytes(self.bytes_at_most)} at most"
        time = "time not known yet" if self.seconds is None else f"about {seconds_text(self.seconds)}"
        gpu = "not known yet" if self.gpu_hours is None else f"{self.gpu_hours:.2g}"
        return f"{self.what}: {size} ({self.bytes_from}), {time}, GPU hours {gpu} ({self.device})"


def total_bytes(costs: Iterable[Cost]) -> int:
    """What is known of all of them together."""
    return sum(cost.bytes_at_most or 0 for cost in costs)


def ingest_cost(ledger: Ledger, bytes_at_most: int) -> Cost:
    """Of bringing in a plate; the time follows from the rate of earlier plates."""
    rates = _rates(ledger, "raw_acquisition")
    seconds = bytes_at_most / median(rates) if rates else None
    return Cost(
        what="plate",
        bytes_at_most=bytes_at_most,
        bytes_from="uncompressed pixels, labels and tracks of the source",
        seconds=seconds,
    )


def fov_cost(store: Store, plans: Sequence[FovPlan], workers: int) -> Cost:
    """Of the FOVs of one or several plates that must be made."""
    todo = [plan for plan in plans if plan.make]
    guess = _CellsGuess(store)
    sizes, guessed, unknown = 0, 0, 0
    for plan in todo:
        fov = field_of_view_of(plan)
        if Stage.SEGMENTATION in plan.make:
            voxels = math.prod(fov.shape) // fov.shape[1]
            sizes += 4 * voxels // LABELS_COMPRESS + _SMALL_FILES
        if Stage.PATCH_TABLE not in plan.make:
            continue
        found = guess.cells(plan)
        guessed += found.guessed
        unknown += found.n is None
        if found.n is not None:
            sizes += table_bytes(fov, plan.parameters.patches, found.n)
    seconds = [_typical(store.ledger, stage.value) for stage in Stage]
    known = [one for one in seconds if one is not None]
    if unknown:
        said = f"{unknown} of {len(todo)} FOVs have as many patches as tracking will find cells"
    elif guessed:
        said = f"cells of {guessed} FOVs guessed from earlier ones, within a factor of {SPREAD_OF_CELLS:g}"
    else:
        said = "cells counted in the given tracks"
    stores_some = any(plan.parameters.patches.policy is PatchPolicy.ALL for plan in todo)
    if not stores_some:
        said = "labels and tables without patches"
    return Cost(
        what=f"{len(todo)} FOVs in {workers} processes",
        bytes_at_most=None if unknown and stores_some else sizes,
        bytes_from=said,
        seconds=sum(known) * len(todo) / workers if len(known) == len(seconds) else None,
    )


def kept_patches_cost(store: Store, plans: Sequence[FovPlan]) -> Cost:
    """Of the patches that a manifest keeps of these FOVs, made or not, at most: it may leave cells out."""
    guess, keeping = _CellsGuess(store), [plan for plan in plans if keeps_patches(plan)]
    found = [(plan, guess.cells(plan)) for plan in keeping]
    known = [
        patch_layout(field_of_view_of(plan), plan.parameters.patches, cells.n).total_bytes
        for plan, cells in found
        if cells.n is not None
    ]
    seconds = _typical(store.ledger, AssetName.MANIFEST_PATCHES)
    plates = len({plan.plate for plan in keeping})
    return Cost(
        what=f"kept patches of {len(keeping)} FOVs",
        bytes_at_most=sum(known) if len(known) == len(keeping) else None,
        bytes_from="all of their cells"
        if len(known) == len(keeping)
        else "as many as tracking will find cells",
        seconds=None if seconds is None else plates * seconds,
    )


def keeps_patches(plan: FovPlan) -> bool:
    """Whether the patches of this FOV are kept by the manifest."""
    return plan.parameters.patches.policy is PatchPolicy.MANIFEST


def output_cost(ledger: Ledger, asset: str, what: str, times: int = 1) -> Cost:
    """Of `times` outputs of an asset such as embeddings or a report, by the largest and typical earlier ones."""
    seconds = _typical(ledger, asset)
    return Cost(
        what=what,
        bytes_at_most=None if (size := largest(ledger, asset)) is None else times * size,
        bytes_from="largest earlier one",
        seconds=None if seconds is None else times * seconds,
    )


def training_cost(ledger: Ledger, asset: str, what: str, parameters: BaseModel) -> Cost:
    """Of one training, by earlier ones on the same kind of device: their time for each step, or as they took."""
    now = parameters.model_dump(mode="json")
    device = str(now.get("device", "cpu"))
    alike = [run for run in _runs(ledger, asset) if run.parameters.get("device", "cpu") == device]
    times = [_training_seconds(run, now.get("max_steps")) for run in alike]
    seconds = median(times) if times else None
    on_gpu = device != "cpu"
    hours = 0.0 if not on_gpu else None if seconds is None else seconds / 3600
    return Cost(
        what=what,
        bytes_at_most=largest(ledger, asset),
        bytes_from="largest earlier one",
        seconds=seconds,
        gpu_hours=hours,
        device=device,
    )


def largest(ledger: Ledger, asset: str) -> int | None:
    """Bytes of the largest of an asset's newest outputs; None when there is none."""
    sizes = [artifact.n_bytes for artifact in ledger.artifacts(asset, newest=_LOOKED_AT)]
    return max(sizes) if sizes else None


def _training_seconds(run: Run, steps_now: object) -> float:
    seconds, steps_then = (run.ended - run.started).total_seconds(), run.parameters.get("max_steps")
    if isinstance(steps_now, int) and isinstance(steps_then, int):
        return seconds * steps_now / steps_then
    return seconds


def _typical(ledger: Ledger, asset: str) -> float | None:
    seconds = ledger.durations(asset)
    return median(seconds) if seconds else None


def _runs(ledger: Ledger, asset: str) -> tuple[Run, ...]:
    return ledger.runs_of(artifact.id for artifact in ledger.artifacts(asset, newest=_LOOKED_AT))


def _rates(ledger: Ledger, asset: str) -> list[float]:
    """Bytes a second of earlier outputs."""
    sizes = {artifact.id: artifact.n_bytes for artifact in ledger.artifacts(asset, newest=_LOOKED_AT)}
    seconds = {
        run.artifact_id: (run.ended - run.started).total_seconds()
        for run in ledger.runs_of(sizes)
        if run.artifact_id is not None
    }
    return [sizes[one] / took for one, took in seconds.items() if took > 0]


@dataclass(frozen=True)
class _Cells:
    """How many cell images a FOV has; None where nobody can tell."""

    n: int | None
    guessed: bool


class _CellsGuess:
    """Cells of a FOV: counted, or guessed by a frame of earlier FOVs, of the plate or else of any."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_plate: dict[str, float | None] = {}

    def cells(self, plan: FovPlan) -> _Cells:
        """Of one FOV, made or not."""
        given = given_cells(self._store, plan)
        if given is not None:
            return _Cells(given, guessed=False)
        per_frame = self._per_frame(plan)
        if per_frame is None:
            return _Cells(None, guessed=False)
        n_frames = field_of_view_of(plan).shape[0]
        return _Cells(math.ceil(SPREAD_OF_CELLS * per_frame * n_frames), guessed=True)

    def _per_frame(self, plan: FovPlan) -> float | None:
        """None where no FOV was ever tracked."""
        if plan.plate not in self._by_plate:
            counts = []
            for table in self._tables_of(plan.plate) or self._tables():
                times = cell_times(self._store.fetch(table))
                counts.append(len(times) / max(1, times.nunique()))
            self._by_plate[plan.plate] = mean(counts) if counts else None
        return self._by_plate[plan.plate]

    def _tables_of(self, plate: str) -> tuple[Artifact, ...]:
        record = self._store.ledger.plate(plate)
        return self._tables([] if record is None else [fov_key(plate, one) for one in record.draft.positions])

    def _tables(self, partitions: Sequence[str] | None = None) -> tuple[Artifact, ...]:
        """The newest patch tables whose bytes are there, of these FOVs or of any."""
        return self._store.ledger.artifacts(
            Stage.PATCH_TABLE.value, ArtifactState.PRESENT, partitions, newest=_LOOKED_AT
        )


_SMALL_FILES = 2**15
"""Metadata of one output."""
