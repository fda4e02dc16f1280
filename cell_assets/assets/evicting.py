"""Which bytes may go: what the store can make again, is out of use, and carries no number.

No Dagster here. The plan is a look from outside; `Store.evict` asks once more, under lock, before a byte goes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cell_assets.assets.partitions import split_representation_key
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.audit.counting import counted
from cell_assets.errors import CellAssetsError, NotFoundError
from cell_assets.ledger.records import Artifact, ArtifactState, Run, Tombstone
from cell_assets.store.room import said_bytes
from cell_assets.store.store import Store


@dataclass(frozen=True)
class Judged:
    """One artifact, and why its bytes may go or stay."""

    artifact: Artifact
    why: str

    @property
    def sentence(self) -> str:
        """For a person."""
        one = self.artifact
        return f"artifact {one.id} ({one.asset} {one.partition}, {said_bytes(one.n_bytes)}): {self.why}"


@dataclass(frozen=True)
class EvictionPlan:
    """What may go and what stays, of all that was looked at and has bytes."""

    going: tuple[Judged, ...]
    staying: tuple[Judged, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes that may go."""
        return sum(one.artifact.n_bytes for one in self.going)


@dataclass(frozen=True)
class Evicted:
    """What became of a plan."""

    gone: tuple[Judged, ...]
    staying: tuple[Judged, ...]
    """What the plan left, and what it would have let go but was refused."""
    freed_bytes: int


def plan_evictions(store: Store, older_than: timedelta) -> EvictionPlan:
    """Judge every artifact: out of use, by the database's clock, for at least `older_than`; linear in runs."""
    look = _Look(store)
    now, going, staying = store.ledger.now(), [], []
    for asset in RECIPES:
        artifacts = look.with_bytes(store.ledger.artifacts(asset))
        ends = look.out_of_use(artifacts)
        for artifact in artifacts:
            why_not = look.why_it_stays(artifact)
            end = ends.get(artifact.id)
            if why_not is None and end is None:
                why_not = "it is the newest version of its partition"
            if why_not is None and end is not None and now - end.since < older_than:
                why_not = f"it is out of use for less than {counted(older_than.days, 'day')}"
            if why_not is not None or end is None:
                staying.append(Judged(artifact, why_not or ""))
            else:
                going.append(Judged(artifact, end.why))
    return EvictionPlan(tuple(going), tuple(staying))


def plan_named(store: Store, artifact_ids: Sequence[int]) -> EvictionPlan:
    """Judge these artifacts: in use or not, what can be made again and carries no number may go.

    Raises:
        NotFoundError: an artifact is not in the ledger.
    """
    look = _Look(store)
    writing = next(iter(store.ledger.open_intents()), None)
    going, staying = [], []
    for artifact in store.ledger.artifacts_with_ids(artifact_ids).values():
        why_not = look.why_it_stays(artifact)
        end = look.out_of_use([artifact]).get(artifact.id)
        if why_not is None and end is None and writing is not None:
            why_not = (
                f"{writing.asset} {writing.partition} is being written, perhaps from it; try again after that"
            )
        if why_not is not None:
            staying.append(Judged(artifact, why_not))
        else:
            going.append(Judged(artifact, "asked for" if end is None else end.why))
    return EvictionPlan(tuple(going), tuple(staying))


def named_artifacts(store: Store, named: str, asset: str | None) -> tuple[int, ...]:
    """The artifacts that a person means: by id, or those of a plate, well or FOV that have bytes.

    Args:
        asset: only this one; None for every asset that may be evicted at all.

    Raises:
        NotFoundError: there is none.
    """
    digits = named.removeprefix("artifact:")
    if digits.isdecimal():
        return (store.ledger.artifact(int(digits)).id,)
    assets = [name for name, recipe in RECIPES.items() if recipe.can_be_made_again]
    found = tuple(
        artifact.id
        for one in ([asset] if asset is not None else assets)
        for artifact in store.ledger.artifacts(one, ArtifactState.PRESENT)
        if _is_of(artifact, named)
    )
    if not found:
        raise NotFoundError(
            f"{named} has no {asset or ' or '.join(assets)} whose bytes are there: give an artifact's id, a plate, "
            "PLATE|WELL or PLATE|FOV"
        )
    return found


def _is_of(artifact: Artifact, named: str) -> bool:
    if artifact.asset == AssetName.MANIFEST_PATCHES:
        return split_representation_key(artifact.partition)[1] == named
    return f"{artifact.partition}/".startswith((f"{named}/", f"{named}|"))


def evict(store: Store, plan: EvictionPlan) -> Evicted:
    """Let go of what may go; what became of use meanwhile stays, with its reason."""
    gone, refused, freed = [], [], 0
    for one in plan.going:
        try:
            freed += store.evict(one.artifact)
            gone.append(one)
        except CellAssetsError as error:
            refused.append(Judged(one.artifact, str(error)))
    return Evicted(tuple(gone), (*plan.staying, *refused), freed)


@dataclass(frozen=True)
class _End:
    """Since when and why an artifact is out of use."""

    since: datetime
    why: str


class _Look:
    """What is asked once for all artifacts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._evicted = store.ledger.evicted()
        self._tombstones = {
            stone.artifact_id: stone for stone in store.ledger.tombstones() if stone.artifact_id is not None
        }
        stating = {
            number.artifact_id: number
            for number in store.ledger.numbers(superseded=True)
            if number.withdrawn_because is None
        }
        self._carries_a_number = store.ledger.ancestors(stating).artifact_ids

    def has_bytes(self, artifact: Artifact) -> bool:
        return bool(self.with_bytes([artifact]))

    def with_bytes(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Those that are not evicted and whose bytes lie where they are kept."""
        there = self._store.with_bytes([one for one in artifacts if one.id not in self._evicted])
        return [one for one in artifacts if one.id in there]

    def why_it_stays(self, artifact: Artifact) -> str | None:
        """What forbids to let go of its bytes, whoever asks."""
        recipe = RECIPES.get(artifact.asset)
        if recipe is None or not recipe.can_be_made_again:
            return f"{artifact.asset} cannot be made again, byte for byte, from the store alone"
        if artifact.id in self._carries_a_number:
            return "a number rests on it"
        if not self.has_bytes(artifact):
            return "its bytes are gone already"
        return None

    def out_of_use(self, artifacts: Sequence[Artifact]) -> dict[int, _End]:
        """Since when each of these of one asset is withdrawn or superseded, for those that are."""
        others = self._store.ledger.other_attempts(one.id for one in artifacts)
        own: dict[int, int] = {}
        for run in self._store.ledger.runs_of(one.id for one in artifacts):
            assert run.artifact_id is not None
            own[run.artifact_id] = run.id
        ends = {}
        for artifact in artifacts:
            later = (run for run in others.get(artifact.id, ()) if run.id > own[artifact.id])
            found = list(_ends(self._tombstones.get(artifact.id), later))
            if found:
                ends[artifact.id] = min(found, key=lambda end: end.since)
        return ends


def _ends(stone: Tombstone | None, later: Iterator[Run]) -> Iterator[_End]:
    if stone is not None:
        yield _End(stone.made, f"withdrawn on {stone.made:%Y-%m-%d}: {stone.reason}")
    made = next((run for run in later if run.artifact_id is not None), None)
    if made is not None:
        yield _End(made.ended, f"superseded on {made.ended:%Y-%m-%d} by artifact {made.artifact_id}")
