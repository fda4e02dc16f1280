"""Which folders have arrived: what changed since it was recorded, and has been still for long enough.

A folder that is recorded and whose YAML file is as it was costs one system call. A folder in quarantine is walked
anew each time, so that a mended plate is noticed whatever was mended; for one that is in, its `plate.yaml` must be
written anew. What was seen of folders that are not still yet is the cursor, and nothing else is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.landing.looking import Look, OutOfTimeError, look_at_experiment, look_at_plate
from cell_assets.landing.places import Place, open_place, without_password
from cell_assets.landing.side_files import EXPERIMENT_FILE, PLATE_FILE
from cell_assets.ledger.records import Arrival, ArrivalState

BUDGET_S = 25.0
"""For one look at all folders. Dagster gives a tick 60 s, and recording what was found takes its share."""


class Pending(BaseModel):
    """What was last seen of a folder, and since when it has been so, in seconds of the Unix clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    since: float


class ScanCursor(BaseModel):
    """What one scan leaves to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pending: dict[str, Pending] = {}
    """By folder."""
    resume: str | None = None
    """The folder with which to begin, where time ran out before it."""


@dataclass(frozen=True)
class Scan:
    """What a scan found."""

    arrived: tuple[Look, ...]
    """Still for long enough and not recorded as they are; some have a `problem`. In the order of their names."""
    cursor: ScanCursor
    n_folders: int
    """Plates and experiments that were looked at."""
    unreachable: tuple[str, ...]
    """One sentence for each landing folder that could not be listed."""

    @property
    def is_complete(self) -> bool:
        """Whether every folder was looked at."""
        return self.cursor.resume is None


@dataclass(frozen=True)
class _Candidate:
    place: Place
    path: str
    folder: str
    """The path as it is shown and recorded."""
    fingerprint: str
    is_plate: bool


@dataclass
class _Listing:
    candidates: list[_Candidate] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


def scan(
    places: Sequence[str],
    known: Mapping[str, Arrival],
    cursor: ScanCursor,
    *,
    still_s: float,
    now: float,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> Scan:
    """Look at all landing folders once, or at as many of their folders as the budget allows.

    Args:
        places: paths or fsspec URLs of landing folders.
        known: the newest recorded word by folder.
        still_s: for so long a folder must look the same.
        now: seconds of the Unix clock.
    """
    until = clock() + budget_s
    listing = _list(places)
    candidates = sorted(listing.candidates, key=lambda one: one.folder)
    there = {one.folder for one in candidates}
    pending = {folder: seen for folder, seen in cursor.pending.items() if folder in there}
    if cursor.resume is not None:
        candidates = [one for one in candidates if one.folder >= cursor.resume]
    arrived: list[Look] = []
    resume = None
    for n, candidate in enumerate(candidates):
        arrival = known.get(candidate.folder)
        if arrival is not None and _is_settled(arrival, candidate.fingerprint):
            pending.pop(candidate.folder, None)
            continue
        if n and clock() >= until:
            resume = candidate.folder
            break
        try:
            look = _look(candidate, lambda: clock() >= until)
        except OutOfTimeError:
            if n:
                resume = candidate.folder
                break
            look = _too_large(candidate, budget_s)
        if arrival is not None and arrival.digest == look.digest:
            pending.pop(look.folder, None)
            if arrival.is_released:
                arrived.append(look)
            continue
        seen = pending.get(look.folder)
        if seen is None or seen.digest != look.digest:
            pending[look.folder] = Pending(digest=look.digest, since=now)
        elif now - seen.since >= still_s:
            arrived.append(look)
            # It stays pending until it is recorded, so that one that cannot be taken yet need not wait again.
    return Scan(
        tuple(arrived),
        ScanCursor(pending=pending, resume=resume),
        len(candidates),
        tuple(listing.unreachable),
    )


def _is_settled(arrival: Arrival, fingerprint: str) -> bool:
    return arrival.state is not ArrivalState.QUARANTINED and arrival.fingerprint == fingerprint


def _look(candidate: _Candidate, is_out_of_time: Callable[[], bool]) -> Look:
    if candidate.is_plate:
        return look_at_plate(candidate.place, candidate.path, candidate.fingerprint, is_out_of_time)
    return look_at_experiment(candidate.place, candidate.path, candidate.fingerprint)


def _too_large(candidate: _Candidate, budget_s: float) -> Look:
    problem = (
        f"{candidate.folder}: its files could not be listed within {budget_s:g} s; "
        "bring it in with `cell-assets ingest`"
    )
    return Look(candidate.folder, candidate.path, candidate.fingerprint, candidate.fingerprint, problem)


def _list(places: Sequence[str]) -> _Listing:
    """Every folder with a `plate.yaml` or an `experiment.yaml`; what cannot be listed is named."""
    listing = _Listing()
    for name in dict.fromkeys(places):
        try:
            place = open_place(name)
            for folder in place.subfolders(place.root):
                _add_candidates(listing, place, folder)
        except BadInputError as error:
            listing.unreachable.append(f"landing folder {error}")
        except OSError as error:
            listing.unreachable.append(_not_listed(f"landing folder {without_password(name)}", error))
    return listing


def _not_listed(what: str, error: OSError) -> str:
    return f"{what} cannot be listed ({error.strerror or error}): see that it is there"


def _add_candidates(listing: _Listing, place: Place, folder: str) -> None:
    """The plate in a folder, or the experiment and the plates below it."""
    found = _candidate(place, folder, PLATE_FILE)
    if found is not None:
        listing.candidates.append(found)
        return
    experiment = _candidate(place, folder, EXPERIMENT_FILE)
    if experiment is None:
        return
    listing.candidates.append(experiment)
    try:
        below = place.subfolders(folder)
    except OSError as error:
        listing.unreachable.append(_not_listed(f"folder {place.title(folder)}", error))
        return
    plates = (_candidate(place, one, PLATE_FILE) for one in below)
    listing.candidates += [plate for plate in plates if plate is not None]


def _candidate(place: Place, folder: str, file: str) -> _Candidate | None:
    try:
        stamp = place.stamp(f"{folder}/{file}")
    except OSError as error:
        # Whether a plate lies there cannot be told; that it cannot is worth a word.
        stamp = f"unreadable: {error.strerror or error}" if file == PLATE_FILE else None
    if stamp is None:
        return None
    return _Candidate(place, folder, place.title(folder), stamp, file == PLATE_FILE)
