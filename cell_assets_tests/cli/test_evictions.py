"""What `gc` says of none, one and several."""

from datetime import UTC, datetime

import pytest

from cell_assets.assets.evicting import Evicted, Judged
from cell_assets.cli.evictions import to_text
from cell_assets.ledger.records import Artifact, ArtifactState
from cell_assets.store.store import SweepReport


def judged(number: int, why: str = "asked for", n_bytes: int = 2_000_000) -> Judged:
    return Judged(
        Artifact(
            number, "patch_table", "P1|A/1/000", "d" * 64, "blake3", None, n_bytes, 1, "u", "f", "1",
            ArtifactState.PRESENT, datetime(2026, 3, 1, tzinfo=UTC),
        ),
        why,
    )  # fmt: skip


def swept(staging: int = 0, orphans: int = 0, evicted: int = 0, writers: int = 0) -> SweepReport:
    many = (staging, orphans, evicted)
    return SweepReport(
        closed_intents=tuple(f"tracks P{n}" for n in range(writers)),
        kept_intents=tuple(f"tracks Q{n}" for n in range(writers)),
        removed_staging=staging,
        removed_orphans=tuple(f"tracks/P{n}/0" for n in range(orphans)),
        removed_evicted=tuple(f"tracks/Q{n}/0" for n in range(evicted)),
        unrecognised=(),
        freed_bytes=500 * sum(many),
    )


@pytest.mark.parametrize(
    ("n_gone", "dry_run", "said"),
    [
        (0, False, "let go of nothing"),
        (0, True, "would let go of nothing"),
        (1, False, "let go of 1 artifact, 2.0 MB"),
        (2, False, "let go of 2 artifacts, 4.0 MB"),
        (2, True, "would let go of 2 artifacts, 4.0 MB"),
    ],
)
def test_what_goes_is_counted_and_named(n_gone: int, dry_run: bool, said: str) -> None:
    gone = tuple(judged(n) for n in range(n_gone))
    done = Evicted(gone, (), 2_000_000 * n_gone)
    first, *named, last = to_text(done, swept(), dry_run=dry_run, each_kept=False).splitlines()
    assert first == f"{'would remove' if dry_run else 'removed'} nothing that a crash left"
    assert named == [
        f"evicted  artifact {n} (patch_table P1|A/1/000, 2.0 MB): asked for" for n in range(n_gone)
    ]
    assert last == said


def test_what_stays_is_counted_by_reason_or_named() -> None:
    staying = (judged(1, "a number rests on it"), judged(2, "young", 10), judged(3, "a number rests on it"))
    done = Evicted((), staying, 0)
    assert to_text(done, swept(), dry_run=False, each_kept=False).splitlines()[1:3] == [
        "kept     2 artifacts, 4.0 MB: a number rests on it",
        "kept     1 artifact, 10 B: young",
    ]
    assert to_text(done, swept(), dry_run=False, each_kept=True).splitlines()[2] == (
        "kept     artifact 2 (patch_table P1|A/1/000, 10 B): young"
    )


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (swept(1), ["removed 1 staging entry, 500 B"]),
        (swept(2, 1), ["swept    tracks/P0/0, of which nothing is recorded",
                       "removed 2 staging entries, 1 unrecorded copy, 1.5 kB"]),
        (swept(0, 0, 2), ["swept    tracks/Q0/0, evicted before and not to its end",
                          "swept    tracks/Q1/0, evicted before and not to its end",
                          "removed 2 half-finished evictions, 1.0 kB"]),
        (swept(1, writers=1), ["swept    tracks P0, whose writer died", "left     tracks Q0, whose writer lives or may",
                               "removed 1 staging entry, 500 B"]),
    ],
)  # fmt: skip
def test_what_a_crash_left_is_counted_and_named(report: SweepReport, said: list[str]) -> None:
    text = to_text(Evicted((), (), 0), report, dry_run=False, each_kept=False)
    assert text.splitlines()[:-1] == said
    foreseen = to_text(Evicted((), (), 0), report, dry_run=True, each_kept=False).splitlines()
    assert foreseen[-2] == said[-1].replace("removed", "would remove")
