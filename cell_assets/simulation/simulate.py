"""`simulate`: a whole plate with its truth in one folder, by one process or several, with the same bytes."""

import errno
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.simulation import plate_files
from cell_assets.simulation.layout import SimulatedField, fields
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.truth import FieldTruth

Progress = Callable[[int, int], None]
"""Called with (fields done, fields in all) whenever a field of view is finished."""


@dataclass(frozen=True)
class SimulationResult:
    """Where everything lies, and how much there is of it."""

    folder: Path
    plate: Path
    plate_map: Path
    tracks: Path
    """Folder with one CSV per field, named `A_1_000.csv`."""
    states: Path
    labels: str | None
    """Name of the label image of true nuclei in every field of the plate."""
    n_positions: int
    n_tracks: int
    n_divisions: int
    n_cell_timepoints: int


def simulate(
    out: Path, parameters: SimulationParameters, progress: Progress | None = None, workers: int = 1
) -> SimulationResult:
    """Simulate a plate into the new folder `out`; it appears whole or not at all.

    The same parameters give the same bytes for any number of `workers`. With more than one, fields are drawn
    in freshly started processes, so a script must call this under `if __name__ == "__main__":`.

    Raises BadInputError when `out` exists with something in it, `workers` is below 1, or the disk is full.
    """
    out = Path(out)
    if workers < 1:
        raise BadInputError(f"workers is {workers}; give 1 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInputError(f"{out} exists and is not an empty folder; name a new folder for the plate")
    with _appearing_whole(out) as staging:
        plate_files.create_plate(staging, parameters)
        truths = _all_fields(staging, parameters, progress, workers)
        plate_files.write_tables(staging, parameters, truths)
    return SimulationResult(
        folder=out,
        plate=out / plate_files.PLATE,
        plate_map=out / plate_files.PLATE_MAP,
        tracks=out / plate_files.TRACKS,
        states=out / plate_files.STATES,
        labels=plate_files.LABELS if parameters.write_true_labels else None,
        n_positions=parameters.n_positions,
        n_tracks=sum(truth.n_tracks for truth in truths),
        n_divisions=sum(truth.n_divisions for truth in truths),
        n_cell_timepoints=sum(len(truth.tracks) for truth in truths),
    )


def _all_fields(
    folder: Path, parameters: SimulationParameters, progress: Progress | None, workers: int
) -> tuple[FieldTruth, ...]:
    """Write all fields; their truths come back in plate order, whichever finished first."""
    places = tuple(fields(parameters))
    truths: dict[SimulatedField, FieldTruth] = {}

    def finish(place: SimulatedField, truth: FieldTruth) -> None:
        truths[place] = truth
        if progress is not None:
            progress(len(truths), len(places))

    if min(workers, len(places)) == 1:
        for place in places:
            finish(place, plate_files.write_movie(folder, parameters, place))
    else:
        # Forking would copy zarr's running event loop thread, which can then wait forever.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(places)), mp_context=context) as pool:
            waiting = {
                pool.submit(plate_files.write_movie, folder, parameters, place): place for place in places
            }
            try:
                for future in as_completed(waiting):
                    finish(waiting[future], future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return tuple(truths[place] for place in places)


@contextmanager
def _appearing_whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name at the end; removed when anything goes wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
        if out.exists():
            out.rmdir()
        staging.rename(out)
    except OSError as fault:
        if fault.errno == errno.ENOSPC:
            raise BadInputError(
                f"the disk that holds {out.parent} is full; free some space or name a folder on another disk"
            ) from fault
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
