"""What a report itself says of its numbers, for whoever holds only its files."""

from pydantic import BaseModel, ConfigDict, ValidationError

from cell_assets.errors import BadInputError
from cell_assets.ledger.records import NumberDraft

FILE = "numbers.json"


class _Reported(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)
    report: str
    name: str
    split: str
    value: float | None
    n: int
    unit: str
    ci_low: float | None
    ci_high: float | None
    why_missing: str | None


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)
    numbers: tuple[_Reported, ...]


def check_reported(content: bytes, draft: NumberDraft) -> None:
    """Raise BadInputError unless a report's `numbers.json` states exactly this number."""
    try:
        document = _Document.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"the report's {FILE} cannot be read: {where}: {first['msg']}") from None
    named = (draft.report, draft.name, draft.split)
    found = [one for one in document.numbers if (one.report, one.name, one.split) == named]
    if not found:
        raise BadInputError(f"the report's {FILE} states no {' '.join(named)}")
    if NumberDraft(**found[0].model_dump()) != draft:
        raise BadInputError(
            f"the report's {FILE} states {found[0].value} for {' '.join(named)}, the ledger {draft.value}"
        )
