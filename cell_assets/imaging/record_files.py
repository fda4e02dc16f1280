"""JSON records beside tables: read back whole, or refused by the name of the file."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from cell_assets.errors import BadInputError

Record = TypeVar("Record", bound=BaseModel)


def read_record(file: Path, record: type[Record], asset: str, content: str) -> Record:
    """What `record` wrote into `file`.

    Args:
        asset: whose folder it should lie in, for messages.
        content: what it is a record of, for messages.

    Raises:
        BadInputError: the file is missing, or is no such record.
    """
    try:
        return record.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror}); give a folder of {asset}") from error
    except ValidationError as error:
        raise BadInputError(f"{file}: is no record of {content} ({error.errors()[0]['msg']})") from error
