"""What must run: every output's expectation (code, parameters, inputs) held against the ledger.

No Dagster here. The bodies and `cell-assets run` ask the same functions, so that the plan shown beforehand is
the plan that is carried out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cell_assets.assets.partitions import fov_key
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.errors import NotFoundError
from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.fov_chain import FovRequest, ResolvedFov, Stage, resolve_fov
from cell_assets.imaging.tracking import TrackingBackend, read_tracks
from cell_assets.ledger.currency import Currency, CurrencyState, Expectation, is_current
from cell_assets.ledger.records import Artifact, ArtifactState, JsonValue, Provenance, ReadReceipt
from cell_assets.store.code_identity import code_version
from cell_assets.store.store import Store


@dataclass(frozen=True)
class StandingCorrections:
    """The newest corrections of a position's tracks."""

    folder: Path
    receipt: ReadReceipt


@dataclass(frozen=True)
class FovPlan:
    """One FOV: which stages to make, and where the stages that stand already are."""

    experiment: str
    plate: str
    position: str
    acquisition: Path
    make: tuple[Stage, ...]
    """Stages that are missing or stale, in order."""
    why: str
    """Why the first of them must run; empty when none must."""
    made: Mapping[Stage, Path]
    """Published folders of stages that are current."""
    receipts: Mapping[Stage, ReadReceipt]
    raw: Artifact
    raw_receipt: ReadReceipt
    parameters: ResolvedFov
    source_bytes: int
    """Uncompressed pixels of the position."""
    corrections: StandingCorrections | None
    """Of its tracks, where people made some that were not withdrawn."""

    def inputs_of(self, stage: Stage, receipts: Mapping[Stage, ReadReceipt]) -> list[ReadReceipt]:
        """The receipts that `stage` of this position used."""
        corrections = [self.corrections.receipt] if self.corrections and stage is Stage.TRACKS else []
        return [self.raw_receipt, *(receipts[earlier] for earlier in INPUTS[stage]), *corrections]


INPUTS: dict[Stage, tuple[Stage, ...]] = {
    Stage.SEGMENTATION: (),
    Stage.TRACKS: (Stage.SEGMENTATION,),
    Stage.PATCH_TABLE: (Stage.TRACKS,),
}
"""Earlier stages that each stage reads, beside the raw acquisition that all of them read."""


def expectation(
    asset: str, partition: str, parameters: Mapping[str, JsonValue], inputs: Iterable[Artifact | ReadReceipt]
) -> Expectation:
    """What a current output of `asset` would have been made with."""
    return Expectation(
        asset=asset,
        partition=partition,
        code_version=code_version(RECIPES[asset].code),
        parameters=parameters,
        input_digests=frozenset((i.asset, i.partition, i.digest) for i in inputs),
    )


def currency(
    store: Store,
    asset: str,
    partition: str,
    parameters: Mapping[str, JsonValue],
    inputs: Iterable[Artifact | ReadReceipt],
) -> Currency:
    """Whether the newest output of one asset's partition is what would be made now."""
    return is_current(
        store.ledger.latest(asset, partition), expectation(asset, partition, parameters, inputs)
    )


def plan_plate(
    store: Store,
    plate: str,
    positions: Sequence[str],
    request: FovRequest,
    stages: frozenset[Stage] = frozenset(Stage),
) -> list[FovPlan]:
    """The plan of every position of one plate, in the order given; as many ledger queries for one as for all.

    A stage after one that must run must run too, if it is among `stages`.

    Raises:
        NotFoundError: the plate has no raw acquisition, or a stage that is not asked for but needed is missing.
    """
    acquisition, raw = store.read(AssetName.RAW_ACQUISITION, plate)
    record = store.ledger.plate(plate)
    if record is None:
        raise NotFoundError(f"plate {plate} is not registered: run `cell-assets ingest` for it")
    opened, artifact = open_acquisition(acquisition), store.ledger.artifact(raw.artifact_id)
    keys = [fov_key(plate, position) for position in positions]
    standing = {stage: store.ledger.latest_many(stage.value, keys) for stage in Stage}
    corrections = {
        key: StandingCorrections(store.fetch(newest.artifact), store.receipt(newest.artifact))
        for key, newest in store.ledger.latest_many(
            AssetName.TRACK_CORRECTIONS, keys, ArtifactState.PRESENT
        ).items()
    }
    return [
        _plan_fov(
            store,
            record.draft.experiment,
            plate,
            position,
            opened,
            artifact,
            raw,
            request,
            stages,
            standing,
            corrections.get(fov_key(plate, position)),
        )
        for position in positions
    ]


def _plan_fov(
    store: Store,
    experiment: str,
    plate: str,
    position: str,
    acquisition: Acquisition,
    artifact: Artifact,
    raw: ReadReceipt,
    request: FovRequest,
    stages: frozenset[Stage],
    standing: Mapping[Stage, Mapping[str, Provenance]],
    corrections: StandingCorrections | None,
) -> FovPlan:
    key = fov_key(plate, position)
    parameters = resolve_fov(acquisition, position, request)
    make: list[Stage] = []
    made: dict[Stage, Path] = {}
    receipts: dict[Stage, ReadReceipt] = {}
    why = ""
    for stage in Stage:
        provenance = standing[stage].get(key)
        if any(earlier in make for earlier in INPUTS[stage]):
            stale = True
        else:
            inputs = [raw, *(receipts[earlier] for earlier in INPUTS[stage] if earlier in receipts)]
            if corrections is not None and stage is Stage.TRACKS:
                inputs.append(corrections.receipt)
            state = is_current(provenance, expectation(stage.value, key, parameters.recorded(stage), inputs))
            stale = state.state is not CurrencyState.CURRENT
            why = why or (state.why if stale and stage in stages else "")
        if stale and stage in stages:
            make.append(stage)
        elif provenance is not None and provenance.artifact.state is ArtifactState.PRESENT:
            made[stage] = store.path_of(provenance.artifact)
            receipts[stage] = store.receipt(provenance.artifact)
        elif any(stage in INPUTS[wanted] for wanted in stages):
            raise NotFoundError(f"{key} has no {stage.value}: select {stage.value} as well")
    info = acquisition.info.position(position)
    return FovPlan(
        experiment,
        plate,
        position,
        acquisition.path,
        tuple(make),
        why,
        made,
        receipts,
        artifact,
        raw,
        parameters,
        math.prod(info.shape) * np.dtype(info.dtype).itemsize,
        corrections,
    )


def given_cells(store: Store, plan: FovPlan) -> int | None:
    """Cells over all frames of a position, where they are known before tracking; None where they are not.

    Reads the tracks, which takes longer than the rest of planning.
    """
    if Stage.TRACKS not in plan.make:
        tracks = store.ledger.artifact(plan.receipts[Stage.TRACKS].artifact_id)
        return len(read_tracks(store.fetch(tracks)))
    if plan.parameters.tracking.backend is not TrackingBackend.IMPORT:
        return None
    given = _opened(plan.acquisition).given_tracks(plan.position)
    return None if given is None else len(given)


def field_of_view_of(plan: FovPlan) -> FieldOfView:
    """What the acquisition says of the position."""
    return field_of_view(_opened(plan.acquisition).info, plan.position)


@lru_cache(maxsize=1)
def _opened(acquisition: Path) -> Acquisition:
    return open_acquisition(acquisition)
