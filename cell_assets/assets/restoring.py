"""Evicted bytes made again: with the parameters and inputs that they were made with, and held against their digest.

No Dagster here: what comes back is the artifact that Dagster shows already.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cell_assets.assets.keeping import rows_to_keep
from cell_assets.assets.partitions import split_fov_key
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.fov_chain import FovRequest, FovTask, Stage, process_fov, resolve_fov
from cell_assets.imaging.kept_patches import keep_patches
from cell_assets.imaging.workers import worker_pool
from cell_assets.ledger.records import Artifact, ArtifactState, Provenance
from cell_assets.store.code_identity import code_identity
from cell_assets.store.room import said_bytes
from cell_assets.store.store import Store


@dataclass(frozen=True)
class Restored:
    """An artifact whose bytes are back."""

    artifact: Artifact

    @property
    def sentence(self) -> str:
        """For a person."""
        one = self.artifact
        return (
            f"artifact {one.id} ({one.asset} {one.partition}) was made again: the same digest {one.digest[:12]}, "
            f"{said_bytes(one.n_bytes)}"
        )


def restore(store: Store, artifact_id: int) -> Restored:
    """Make an evicted artifact's bytes again and put them back, if they are the same.

    Raises:
        NotFoundError: there is no such artifact.
        BadInputError: its bytes were not evicted, it cannot be made again, or an input is not there.
        CellAssetsError: making it failed, or made other bytes; the sentence says what differs from then. Nothing
            is kept of those.
    """
    artifact = store.ledger.artifact(artifact_id)
    title = f"artifact {artifact.id} ({artifact.asset} {artifact.partition})"
    if artifact.state is not ArtifactState.EVICTED:
        raise BadInputError(f"{title} is {artifact.state.value}, and only evicted bytes are restored")
    if not RECIPES[artifact.asset].can_be_made_again:
        raise BadInputError(f"{title} cannot be made again, byte for byte, from the store alone")
    made = _made(store, artifact)
    for read in made.inputs:
        _refuse_absent(store, title, read)
    differences = _differences(store, made)
    with store.write(artifact.asset, artifact.partition) as staged:
        try:
            _make_again(store, made, staged.path)
        except (CellAssetsError, ValidationError) as error:
            said = f"; {'; '.join(differences)}" if differences else ""
            raise CellAssetsError(f"{title} could not be made again: {error}{said}") from error
        if not store.put_back(staged, artifact):
            why = "; ".join(differences) or (
                "code, environment, parameters and inputs are those of then, so that something else decides its "
                "bytes: please report it"
            )
            raise CellAssetsError(f"{title} came out as other bytes, which were not kept: {why}")
    return Restored(store.ledger.artifact(artifact_id))


def _made(store: Store, artifact: Artifact) -> Provenance:
    """How it was made last: the run whose code is likeliest to be today's."""
    return store.ledger.provenance(store.ledger.runs(artifact.id)[-1].id)


def _refuse_absent(store: Store, title: str, read: Artifact) -> None:
    what = f"{title} cannot be made again: its input {read.asset} {read.partition} (artifact {read.id})"
    if read.state is ArtifactState.EVICTED:
        raise BadInputError(f"{what} was evicted: `cell-assets restore {read.id}` first")
    if read.state is ArtifactState.TOMBSTONED:
        raise BadInputError(f"{what} was withdrawn")
    if (
        read.asset != AssetName.RAW_ACQUISITION
    ):  # a plate is large: the chain re-hashes the position that it reads
        verdict = store.verify(read)
        if not verdict.is_verified:
            raise BadInputError(f"{what} is not what was published: {verdict.why}")


def _differences(store: Store, made: Provenance) -> tuple[str, ...]:
    """How making it now differs from then."""
    now, then = code_identity(RECIPES[made.artifact.asset].code, store.ledger), made.run.code
    found = []
    if now.code_version != then.code_version:
        checkout = "" if then.git_commit is None else f" (commit {then.git_commit[:12]})"
        found.append(f"the code was {then.code_version[:12]}{checkout} and is {now.code_version[:12]}")
    if now.environment_digest != then.environment_digest:
        found.append(
            f"the environment was {then.environment_digest[:12]} and is {now.environment_digest[:12]}: other "
            "versions of packages"
        )
    return tuple(found)


def _make_again(store: Store, made: Provenance, out: Path) -> None:
    if made.artifact.asset == AssetName.MANIFEST_PATCHES:
        _keep_again(store, made, out)
    else:
        _chain_again(store, made, out)


def _keep_again(store: Store, made: Provenance, out: Path) -> None:
    inputs = {read.asset: read for read in made.inputs}
    raw = inputs[AssetName.RAW_ACQUISITION]
    tables = {
        split_fov_key(read.partition): store.fetch(read)
        for read in made.inputs
        if read.asset == AssetName.PATCH_TABLE
    }
    chosen = rows_to_keep(store.fetch(inputs[AssetName.EXPERIMENT_MANIFEST]), tables)
    for _ in keep_patches(store.fetch(raw), raw, chosen, out, workers=1):
        pass


def _chain_again(store: Store, made: Provenance, out: Path) -> None:
    stage = Stage(made.artifact.asset)
    _, position = split_fov_key(made.artifact.partition)
    inputs = {read.asset: read for read in made.inputs}
    raw = inputs[AssetName.RAW_ACQUISITION]
    acquisition = store.fetch(raw)
    parameters = resolve_fov(open_acquisition(acquisition), position, FovRequest())
    part = _PART[stage]
    recorded: BaseModel = getattr(parameters, part)
    task = FovTask(
        acquisition=acquisition,
        raw=raw,
        position=position,
        make={stage: out},
        made={one: store.fetch(inputs[one.value]) for one in Stage if one.value in inputs},
        parameters=parameters.model_copy(
            update={part: type(recorded).model_validate_json(json.dumps(made.run.parameters))}
        ),
    )
    # As in the chain: one thread for each library, since sums may depend on how many there are.
    with worker_pool(1) as pool:
        result = pool.submit(process_fov, task).result()
    if result.error is not None:
        raise CellAssetsError(result.error)


_PART = {Stage.SEGMENTATION: "segmentation", Stage.TRACKS: "tracking", Stage.PATCH_TABLE: "patches"}
"""Where the parameters of a stage are among those of all three."""
