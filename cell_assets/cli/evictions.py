"""What `gc` says, for a person and for a program."""

import json
from collections import Counter, defaultdict
from dataclasses import asdict

from cell_assets.assets.evicting import Evicted, Judged
from cell_assets.store.store import SweepReport


def to_text(done: Evicted, swept: SweepReport | None, each_kept: bool) -> str:
    """Line by line what goes; what stays is counted by its reason, unless each was asked for by name.

    Args:
        swept: what the sweep before it did; None for a dry run.
    """
    going = "would be" if swept is None else "was"
    lines = [] if swept is None else [_swept(swept)]
    lines += [f"evicted  {one.sentence}" for one in done.gone]
    if each_kept:
        lines += [f"kept     {one.sentence}" for one in done.staying]
    else:
        artifacts, n_bytes = Counter[str](), defaultdict[str, int](int)
        for one in done.staying:
            artifacts[one.why] += 1
            n_bytes[one.why] += one.artifact.n_bytes
        lines += [
            f"kept     {count} artifacts, {n_bytes[why] / 1e6:.1f} MB: {why}"
            for why, count in artifacts.most_common()
        ]
    lines.append(f"{len(done.gone)} artifacts, {done.freed_bytes / 1e6:.1f} MB {going} let go")
    return "\n".join(lines)


def to_json(done: Evicted, swept: SweepReport | None) -> str:
    """The whole of it as one JSON document."""
    document = {
        "dry_run": swept is None,
        "evicted": [_plain(one) for one in done.gone],
        "kept": [_plain(one) for one in done.staying],
        "freed_bytes": done.freed_bytes,
        "sweep": None if swept is None else asdict(swept),
    }
    return json.dumps(document, indent=1)


def _swept(report: SweepReport) -> str:
    halves = f" and {len(report.removed_evicted)} half-finished evictions" if report.removed_evicted else ""
    return (
        f"removed {report.removed_staging} staging entries, {len(report.removed_orphans)} unrecorded copies{halves}, "
        f"{report.freed_bytes / 1e6:.1f} MB; left {len(report.kept_intents)} living writers alone"
    )


def _plain(one: Judged) -> dict[str, object]:
    artifact = one.artifact
    return {
        "artifact": artifact.id,
        "asset": artifact.asset,
        "partition": artifact.partition,
        "bytes": artifact.n_bytes,
        "why": one.why,
    }
