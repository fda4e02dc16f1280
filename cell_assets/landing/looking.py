"""One look at one folder: what it says of itself, and a digest by which the next look tells whether it changed."""

from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.landing.places import Place
from cell_assets.landing.side_files import (
    EXPERIMENT_FILE,
    PLATE_FILE,
    ExperimentFile,
    PlateFile,
    parse_experiment_file,
    parse_plate_file,
)
from cell_assets.landing.typed_yaml import MAX_BYTES

_MAX_SIDE_BYTES = 64 * 2**20
"""So much of a plate map, a table of states or a list of checksums goes into the digest by its bytes."""


OutOfTime = Callable[[], bool]


class OutOfTimeError(Exception):
    """A look took longer than it may."""


@dataclass(frozen=True)
class Look:
    """What was seen of one folder."""

    folder: str
    """As it is shown and recorded."""
    path: str
    """As its place names it."""
    digest: str
    fingerprint: str
    """Size and time of its YAML file; the digest changes with it."""
    problem: str | None = None
    """Why it cannot be taken as it is; one sentence."""
    plate: PlateFile | None = None
    experiment: ExperimentFile | None = None


def look_at_plate(place: Place, path: str, fingerprint: str, is_out_of_time: OutOfTime) -> Look:
    """What lies in the folder of a plate.

    The digest is BLAKE3 over the bytes of `plate.yaml`, of the plate map, of the states and of the list of
    checksums, and over path, size, time of writing and permissions of every file. The pixels' own bytes are not
    read: a sensor has a minute, and a plate of a terabyte takes hours to read. So a file that was changed without
    any trace in its size and time is not noticed here. The run that follows reads every byte.

    Raises:
        OutOfTimeError: the folder has more files than could be listed in time.
    """
    folder = place.title(path)
    whole = blake3()
    plate: PlateFile | None = None
    try:
        if "\\" in folder and folder != path and "://" not in folder:
            raise BadInputError(f"the folder's name {folder!r} is no UTF-8: rename it")
        content = place.read(f"{path}/{PLATE_FILE}", MAX_BYTES + 1)
        whole.update(content)
        plate = parse_plate_file(content, f"{folder}/{PLATE_FILE}")
        for name in plate.side_files:
            _add_side_file(whole, place, path, name)
        lines = []
        for file in place.walk(path):
            lines.append(f"{file.path}\0{file.size}\0{file.stamp}\n")
            if is_out_of_time():
                raise OutOfTimeError
        for line in sorted(lines):
            whole.update(line.encode())
    except BadInputError as error:
        problem = str(error) if str(error).startswith(folder) else f"{folder}: {error}"
    except OSError as error:
        problem = f"{folder} cannot be read ({error.strerror or error}): give the platform access to it"
    else:
        return Look(folder, path, whole.hexdigest(), fingerprint, plate=plate)
    whole.update(problem.encode())
    return Look(folder, path, whole.hexdigest(), fingerprint, problem=problem, plate=plate)


def look_at_experiment(place: Place, path: str, fingerprint: str) -> Look:
    """What the `experiment.yaml` of a folder says."""
    folder = place.title(path)
    whole = blake3(fingerprint.encode())
    try:
        content = place.read(f"{path}/{EXPERIMENT_FILE}", MAX_BYTES + 1)
        whole.update(content)
        experiment = parse_experiment_file(content, f"{folder}/{EXPERIMENT_FILE}")
    except BadInputError as error:
        return Look(folder, path, whole.hexdigest(), fingerprint, problem=str(error))
    except OSError as error:
        problem = f"{folder}/{EXPERIMENT_FILE} cannot be read ({error.strerror or error}): give access to it"
        return Look(folder, path, blake3(problem.encode()).hexdigest(), fingerprint, problem=problem)
    return Look(folder, path, whole.hexdigest(), fingerprint, experiment=experiment)


def _add_side_file(whole: blake3, place: Place, path: str, name: str) -> None:
    try:
        content = place.read(f"{path}/{name}", _MAX_SIDE_BYTES)
    except FileNotFoundError:
        raise BadInputError(
            f"{place.title(path)}/{PLATE_FILE}: {name} is named and is not there: copy the file"
        ) from None
    whole.update(f"{name}\0{len(content)}\n".encode())
    whole.update(content)
