"""Whether what was tested on was also learned from, at the level that a report claims, and by the pixels.

Names alone do not tell: a plate that was ingested twice under two names is one plate. FOVs whose decoded pixels
are equal are taken for one here, whatever they are called.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import UNIT_COLUMNS, Split, SplitUnit
from cell_assets.imaging.acquisition import open_acquisition

FovName = tuple[str, str]
"""Plate and position."""

_NAMED = 5


@dataclass(frozen=True)
class SharedUnits:
    """Units of one level that stand on both sides of the split."""

    unit: SplitUnit
    n_test: int
    """Units on the test side."""
    shared: tuple[str, ...]
    """Those of them that train or validate too, for example `P1|A/1/000|17`."""


@dataclass(frozen=True)
class Leakage:
    """What an audit of a split found."""

    claimed: SplitUnit
    """What the report says that no two splits share."""
    levels: tuple[SharedUnits, ...]
    """From tracks to plates. Sharing above the claimed level is no fault, but worth knowing."""
    copies: tuple[tuple[str, ...], ...]
    """Names of FOVs that show the same pixels, and stand on both sides."""
    tracks_of_copies: tuple[str, ...]
    """Tracks of the test side that lie in them."""

    @property
    def faults(self) -> tuple[SharedUnits, ...]:
        """Shared units at the claimed level or below it."""
        ranks = list(SplitUnit)
        return tuple(
            level
            for level in self.levels
            if level.shared and ranks.index(level.unit) <= ranks.index(self.claimed)
        )

    @property
    def leaks(self) -> bool:
        """Whether the claim does not hold."""
        return bool(self.faults or self.copies)

    def sentence(self) -> str:
        """What is wrong, for a person; empty when nothing is."""
        said = [
            f"{len(level.shared)} of {level.n_test} test units of level {level.unit.value} train too "
            f"({_first(level.shared)})"
            for level in self.faults
        ]
        said += [f"{' and '.join(names)} show the same pixels" for names in self.copies]
        if self.copies:
            said.append(
                f"{len(self.tracks_of_copies)} test tracks lie in them ({_first(self.tracks_of_copies)})"
            )
        return "; ".join(said)

    def refuse(self, title: str) -> None:
        """Raise BadInputError that names the shared tracks, unless the claim holds."""
        if self.leaks:
            raise BadInputError(
                f"{title} claims a split by {self.claimed.value}, but {self.sentence()}: withdraw the copy, or "
                "choose another split"
            )


def find_leakage(tracks: pd.DataFrame, claimed: SplitUnit, pixels: Mapping[FovName, str]) -> Leakage:
    """Hold the test tracks of a manifest against those that train or validate.

    Args:
        tracks: one row per track with `plate, well, fov_name, track_id, lineage_root, split`.
        pixels: digest of the decoded pixels of every FOV.

    Raises:
        BadInputError: a FOV has no digest.
    """
    names = list(dict.fromkeys(zip(tracks["plate"].astype(str), tracks["fov_name"].astype(str), strict=True)))
    for name in names:
        if name not in pixels:
            raise BadInputError(f"FOV {'|'.join(name)} has no digest of its pixels: ingest its plate again")
    same: dict[str, list[FovName]] = {}
    for name in sorted(names):
        same.setdefault(pixels[name], []).append(name)
    first = {name: group[0] for group in same.values() for name in group}
    alike = [
        first[name] for name in zip(tracks["plate"].astype(str), tracks["fov_name"].astype(str), strict=True)
    ]
    known = tracks.assign(
        plate=[plate for plate, _ in alike],
        fov_name=[fov for _, fov in alike],
        well=[fov.rpartition("/")[0] for _, fov in alike],
    )
    is_test = (tracks["split"] == Split.TEST.value).to_numpy()
    levels = []
    for unit in SplitUnit:
        ids = known[list(UNIT_COLUMNS[unit])].astype(str).agg("|".join, axis=1)
        tested = set(ids[is_test])
        levels.append(SharedUnits(unit, len(tested), tuple(sorted(tested & set(ids[~is_test])))))
    by_name = pd.Series(list(zip(tracks["plate"].astype(str), tracks["fov_name"].astype(str), strict=True)))
    tested_in, learned_in = set(by_name[is_test]), set(by_name[~is_test])
    copies = [
        group
        for group in same.values()
        if any(a != b and a in tested_in and b in learned_in for a in group for b in group)
    ]
    copied = {name for group in copies for name in group}
    lying = by_name.isin(copied).to_numpy() & is_test
    own = tracks.loc[lying, list(UNIT_COLUMNS[SplitUnit.TRACK])].astype(str).agg("|".join, axis=1)
    return Leakage(
        claimed,
        tuple(levels),
        tuple(tuple("|".join(name) for name in group) for group in copies),
        tuple(sorted(own)) if lying.any() else (),
    )


def fov_pixels(raw: Mapping[str, Path]) -> dict[FovName, str]:
    """Digest of the decoded pixels of every FOV of these raw acquisitions (by plate)."""
    return {
        (plate, position.name): position.content_digest
        for plate, folder in raw.items()
        for position in open_acquisition(folder).info.positions
    }


def refuse_copies(experiment: str, own: Mapping[FovName, str], independent: Mapping[FovName, str]) -> None:
    """Refuse FOVs that show what the experiment's own FOVs show, whatever they are called.

    Raises:
        BadInputError: two have the same decoded pixels.
    """
    known = {digest: name for name, digest in own.items()}
    for name, digest in sorted(independent.items()):
        if digest in known:
            raise BadInputError(
                f"independent_plates: {'|'.join(name)} shows the same pixels as {'|'.join(known[digest])} of "
                f"experiment {experiment}, so plate {name[0]} is not independent of it; leave the plate out"
            )


def _first(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
