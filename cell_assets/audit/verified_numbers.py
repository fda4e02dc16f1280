"""What a verification of everything says of each number."""

from collections.abc import Sequence
from dataclasses import dataclass

from cell_assets.audit.verify import Verification
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, Number


@dataclass(frozen=True)
class VerifiedNumber:
    """One number, and what is wrong with what it rests on."""

    number: Number
    damaged: tuple[Artifact, ...]
    """Artifacts that it rests on, however remotely, and that are not what was published."""
    was_edited: bool
    """Whether its own row in the ledger is not what was recorded."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing wrong was found with it."""
        return not self.damaged and not self.was_edited


def standing_numbers(ledger: Ledger) -> tuple[Number, ...]:
    """Every number that somebody may still quote: superseded ones too, but none that was withdrawn.

    What carries one of these is never let go of, so that all of its bytes must be there.
    """
    return tuple(one for one in ledger.numbers(superseded=True) if one.withdrawn_because is None)


def verified_numbers(
    ledger: Ledger, numbers: Sequence[Number], found: Verification
) -> tuple[VerifiedNumber, ...]:
    """Say of each number what `found`, a verification of all of them, means for it.

    One query for each damaged artifact.
    """
    damaged = [node.artifact for node in found.nodes if not node.verdict.is_verified]
    resting = {one.id: ledger.descendants([one.id]).artifact_ids for one in damaged}
    faults = () if found.chain is None else found.chain.faults
    edited = {fault.key for fault in faults if fault.table == "number"}
    return tuple(
        VerifiedNumber(
            number,
            tuple(one for one in damaged if number.artifact_id in resting[one.id]),
            number.id in edited,
        )
        for number in numbers
    )
