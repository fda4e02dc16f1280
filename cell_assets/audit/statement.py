"""What a bundle states of a number and of its own members, as an in-toto Statement."""

import json
from dataclasses import asdict
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cell_assets.audit.explanation import Explanation
from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, Number

STATEMENT = "statement.intoto.json"
PREDICATE_TYPE: Final = "urn:cell-assets:evidence-bundle:1"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StatedNumber(_Stated):
    """The number, as the ledger has it."""

    id: int
    experiment: str | None
    report: str
    name: str
    split: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    unit: str
    why_missing: str | None
    recorded: str
    withdrawn_because: str | None


class StatedArtifact(_Stated):
    """One artifact that the number rests on."""

    id: int
    asset: str
    partition: str
    digest: _Digest
    digest_type: str
    n_bytes: int
    n_files: int
    state: str


class StatedEntry(_Stated):
    """The newest entry of the ledger when the bundle was made."""

    entry: int
    digest: _Digest


class Withdrawal(_Stated):
    """An artifact or plate behind the number that was withdrawn."""

    artifact: int | None
    plate: str | None
    reason: str


class Signer(_Stated):
    """The public key to the envelope's signature."""

    keyid: _Digest
    keytype: str
    scheme: str
    public: str


class Evidence(_Stated):
    """The statement's predicate."""

    format_version: Literal[1] = 1
    made_by: str
    """Version of cell_assets."""
    number: StatedNumber
    report_artifact: int
    run: int
    artifacts: tuple[StatedArtifact, ...]
    """Everything that the number rests on, the report first."""
    chain_head: StatedEntry
    withdrawn: tuple[Withdrawal, ...]
    environments_without_text: tuple[str, ...]
    """Digests of environments whose packages were not recorded when their runs were."""
    signer: Signer | None
    """The key that the statement is signed with, so that a signature cannot be taken away unseen."""


class _Sha256(_Stated):
    sha256: _Digest


class Subject(_Stated):
    """A member of the bundle and its digest."""

    name: str
    digest: _Sha256


class Statement(BaseModel):
    """An in-toto Statement about every member of the bundle but itself and its envelope."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...]
    predicate_type: Literal["urn:cell-assets:evidence-bundle:1"] = Field(alias="predicateType")
    predicate: Evidence


def make_statement(members: dict[str, str], predicate: Evidence) -> bytes:
    """The statement over `members`, SHA-256 by name."""
    statement = Statement(
        _type=_STATEMENT_TYPE,
        subject=tuple(Subject(name=name, digest=_Sha256(sha256=said)) for name, said in members.items()),
        predicateType=PREDICATE_TYPE,
        predicate=predicate,
    )
    said = statement.model_dump(mode="json", by_alias=True)
    return (json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_statement(content: bytes) -> Statement:
    """A statement from anybody's hands. Raises BadInputError naming the first field that cannot be read."""
    try:
        return Statement.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{STATEMENT} is no statement of this format: {where}: {first['msg']}") from None


def stated_number(number: Number) -> StatedNumber:
    """A number as statements give it."""
    return StatedNumber(
        id=number.id,
        experiment=number.experiment,
        recorded=number.recorded.isoformat(),
        withdrawn_because=number.withdrawn_because,
        **asdict(number.draft),
    )


def stated_artifact(artifact: Artifact) -> StatedArtifact:
    """An artifact as statements give it."""
    return StatedArtifact(
        id=artifact.id,
        asset=artifact.asset,
        partition=artifact.partition,
        digest=artifact.digest,
        digest_type=artifact.digest_type,
        n_bytes=artifact.n_bytes,
        n_files=artifact.n_files,
        state=artifact.state.value,
    )


def withdrawals(ledger: Ledger, explanation: Explanation) -> tuple[Withdrawal, ...]:
    """What was withdrawn of everything behind a number, in an extract, which holds no other plates."""
    behind = {node.artifact.id for node in explanation.artifacts}
    return tuple(
        Withdrawal(artifact=one.artifact_id, plate=one.plate, reason=one.reason)
        for one in ledger.tombstones()
        if one.artifact_id is None or one.artifact_id in behind
    )
