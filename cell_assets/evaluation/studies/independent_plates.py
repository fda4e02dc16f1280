"""Reading the plates that a report calls independent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.cell_features import join_features
from cell_assets.evaluation.scores.annotated_states import annotated_states
from cell_assets.evaluation.studies.embedding_study import read_embeddings
from cell_assets.evaluation.studies.independent_rivals import measured_otherwise
from cell_assets.evaluation.studies.independent_study import IndependentCells
from cell_assets.imaging.acquisition import open_acquisition


def read_independent(
    plates: Sequence[str],
    embeddings: Mapping[str, Path],
    raw: Mapping[str, Path],
    annotations: Mapping[tuple[str, str], Path],
    features: Mapping[str, Path],
) -> IndependentCells:
    """Embedded cells, annotations and measured features of these plates.

    Args:
        embeddings: folders by plate, of these plates and perhaps others; so are the other folders.
        features: single_cell_features folders; those of other plates are of the experiment's own.

    Raises:
        BadInputError: the plates differ in their time between frames, or have no cell.
    """
    acquisitions = {plate: open_acquisition(raw[plate]) for plate in plates}
    intervals = {acquisition.info.interval_min for acquisition in acquisitions.values()}
    if len(intervals) > 1:
        raise BadInputError(
            f"independent_plates {', '.join(plates)} have {len(intervals)} different times between frames "
            f"({', '.join(str(i) for i in sorted(intervals, key=str))} min); name plates of one, and report the "
            "others by themselves"
        )
    embedded = read_embeddings([embeddings[plate] for plate in sorted(plates)])
    given = {plate: acquisition.given_states() for plate, acquisition in acquisitions.items()}
    known = annotated_states(
        {plate: frame for plate, frame in given.items() if frame is not None},
        {key: folder for key, folder in annotations.items() if key[0] in plates},
        embedded.cells,
    )
    theirs = {plate: features[plate] for plate in plates if plate in features}
    own = {plate: folder for plate, folder in features.items() if plate not in plates}
    return IndependentCells(
        embedded,
        known.states,
        intervals.pop(),
        any(acquisition.info.simulated for acquisition in acquisitions.values()),
        (*(f"Independent plates: {note}" for note in known.notes), *measured_otherwise(own, theirs)),
        join_features(embedded.cells, theirs) if theirs else None,
    )
