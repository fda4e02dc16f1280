"""Letting go of bytes and putting them back: refusals, crashes at every step, and what the sweep makes of them."""

import itertools
import multiprocessing
import signal

import pytest

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger.records import ArtifactState, NumberDraft
from cell_assets.store.store import Store, VerdictState
from cell_assets_tests.store import writer_process
from cell_assets_tests.store.drafts import (
    FILES,
    FORMAT,
    contents,
    fill,
    leftovers,
    publish,
    run_draft,
    swept_as_foreseen,
)

KEY = "P1|A/1/000"


def test_evicted_bytes_are_gone_and_their_names_and_digests_are_not(any_store: Store) -> None:
    store = any_store
    kept, artifact = publish(store, "P0").artifact, publish(store, KEY).artifact
    assert store.evict(artifact) == sum(map(len, FILES.values()))
    assert not store.path_of(artifact).exists()
    now = store.ledger.artifact(artifact.id)
    verdict = store.verify(now)
    assert (verdict.state, f"`cell-assets restore {now.id}`" in verdict.why) == (
        VerdictState.UNVERIFIABLE,
        True,
    )
    digests = store.file_digests(now)
    assert digests is not None
    assert {file.path for file in digests.files} == FILES.keys()
    with pytest.raises(NotFoundError, match="were evicted"):
        store.read("tracks", KEY)
    assert store.verify(kept).is_verified
    assert store.orphans() == ()
    swept = swept_as_foreseen(store)
    assert (swept.freed_bytes, swept.removed_evicted, swept.removed_orphans) == (0, (), ())
    assert leftovers(store) == []


def test_a_withdrawn_artifact_whose_bytes_went_is_no_damage(any_store: Store) -> None:
    store = any_store
    artifact = publish(store, KEY).artifact
    store.ledger.withdraw({artifact.id: "out of focus"})
    store.evict(artifact)
    verdict = store.verify(store.ledger.artifact(artifact.id))
    assert (verdict.state, verdict.why) == (
        VerdictState.UNVERIFIABLE,
        "it was withdrawn and its bytes are no longer kept",
    )


def test_what_is_being_written_and_what_a_number_rests_on_stay(any_store: Store) -> None:
    store = any_store
    artifact = publish(store, KEY).artifact
    with store.write("tracks", KEY), pytest.raises(BadInputError, match="is being written just now"):
        store.evict(artifact)
    with store.write("report", "E1") as staged:
        fill(staged.path)
        number = NumberDraft("r", "auc", "test", 0.5, 3)
        store.publish(staged, run_draft(), [store.receipt(artifact)], FORMAT, [number])
    with pytest.raises(BadInputError, match=r"number 1 \(r auc\) rests on it"):
        store.evict(artifact)
    assert contents(store.path_of(artifact)) == FILES
    assert store.verify(store.ledger.artifact(artifact.id)).is_verified


def test_only_the_very_bytes_come_back(any_store: Store) -> None:
    store = any_store
    old = publish(store, KEY, {"a": b"old"}).artifact
    new = publish(store, KEY, {"a": b"new"}).artifact
    store.evict(old)
    with store.write("tracks", KEY) as staged:
        fill(staged.path, {"a": b"other"})
        assert not store.put_back(staged, old)
    assert store.ledger.artifact(old.id).state is ArtifactState.EVICTED
    assert leftovers(store) == []
    with store.write("tracks", KEY) as staged:
        fill(staged.path, {"a": b"old"})
        assert store.put_back(staged, old)
    assert store.verify(store.ledger.artifact(old.id)).is_verified
    assert store.read("tracks", KEY).receipt.artifact_id == new.id
    assert store.ledger.open_intents() == ()
    assert leftovers(store) == []


@pytest.mark.parametrize("act", ["evict", "put back"])
def test_killed_before_every_change_to_the_file_system(store: Store, ledger_url: str, act: str) -> None:
    """What is left is whole or gone, never half: the ledger says which, and a sweep makes it so."""
    before = publish(store, "P0").artifact
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["cell_assets_tests.store.writer_process"])
    for n in itertools.count():
        partition = f"P1|A/1/{n:03}"
        artifact = publish(store, partition).artifact
        if act == "put back":
            store.evict(artifact)
        work = {"evict": writer_process.evict_until_change, "put back": writer_process.put_back_until_change}
        process = forks.Process(target=work[act], args=(n, ledger_url, str(store.root), artifact.id))
        process.start()
        process.join(60)
        now = store.ledger.artifact(artifact.id)
        if now.state is ArtifactState.PRESENT:
            assert store.verify(now).is_verified
        swept = swept_as_foreseen(store)
        assert len(swept.removed_evicted) <= 1
        assert store.ledger.open_intents() == ()
        assert leftovers(store) == []
        assert store.path_of(now).exists() == (now.state is ArtifactState.PRESENT), (
            f"killed before change {n}"
        )
        assert store.file_digests(now) is not None
        assert publish(store, partition).recreated
        assert store.verify(store.ledger.artifact(artifact.id)).is_verified
        if process.exitcode == 0:
            assert now.state is (ArtifactState.EVICTED if act == "evict" else ArtifactState.PRESENT)
            break
        assert process.exitcode == -signal.SIGKILL
    assert n > 5
    assert store.verify(before).is_verified
