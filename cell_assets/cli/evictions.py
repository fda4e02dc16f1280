"""What `gc` says, for a person and for a program."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict

from cell_assets.assets.evicting import Evicted, Judged
from cell_assets.audit.counting import counted
from cell_assets.store.room import said_bytes
from cell_assets.store.store import SweepReport


def to_text(done: Evicted, swept: SweepReport, *, dry_run: bool, each_kept: bool) -> str:
    """Line by line what goes; what stays is counted by its reason, unless each was asked for by name."""
    lines = [*_swept(swept, dry_run)]
    lines += [f"evicted  {one.sentence}" for one in done.gone]
    if each_kept:
        lines += [f"kept     {one.sentence}" for one in done.staying]
    else:
        artifacts, n_bytes = Counter[str](), defaultdict[str, int](int)
        for one in done.staying:
            artifacts[one.why] += 1
            n_bytes[one.why] += one.artifact.n_bytes
        lines += [
            f"kept     {counted(count, 'artifact')}, {said_bytes(n_bytes[why])}: {why}"
            for why, count in artifacts.most_common()
        ]
    what = (
        f"{counted(len(done.gone), 'artifact')}, {said_bytes(done.freed_bytes)}" if done.gone else "nothing"
    )
    lines.append(f"{'would let' if dry_run else 'let'} go of {what}")
    return "\n".join(lines)


def to_json(done: Evicted, swept: SweepReport, copies: int = 0, *, dry_run: bool) -> str:
    """The whole of it as one JSON document; `copies` are the bytes of copies that went from this machine."""
    document = {
        "dry_run": dry_run,
        "evicted": [_plain(one) for one in done.gone],
        "kept": [_plain(one) for one in done.staying],
        "freed_bytes": done.freed_bytes,
        "copies_bytes": copies,
        "sweep": asdict(swept),
    }
    return json.dumps(document, indent=1)


def _swept(report: SweepReport, dry_run: bool) -> Iterator[str]:
    """What crashes left, by name where it has one, then counted."""
    yield from (f"swept    {writer}, whose writer died" for writer in report.closed_intents)
    yield from (f"swept    {uri}, of which nothing is recorded" for uri in report.removed_orphans)
    yield from (f"swept    {uri}, evicted before and not to its end" for uri in report.removed_evicted)
    yield from (f"left     {writer}, whose writer lives or may" for writer in report.kept_intents)
    counts = (
        (report.removed_staging, "staging entry", "staging entries"),
        (len(report.removed_orphans), "unrecorded copy", "unrecorded copies"),
        (len(report.removed_evicted), "half-finished eviction", "half-finished evictions"),
    )
    removed = [counted(n, one, many) for n, one, many in counts if n]
    what = ", ".join([*removed, said_bytes(report.freed_bytes)]) if removed else "nothing that a crash left"
    yield f"{'would remove' if dry_run else 'removed'} {what}"


def _plain(one: Judged) -> dict[str, object]:
    artifact = one.artifact
    return {
        "artifact": artifact.id,
        "asset": artifact.asset,
        "partition": artifact.partition,
        "bytes": artifact.n_bytes,
        "why": one.why,
    }
