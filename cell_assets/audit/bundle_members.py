"""Where things lie in an evidence bundle, and the limits within which one is read."""

from cell_assets.ledger.records import Artifact
from cell_assets.store.layout import DIGEST_LENGTHS
from cell_assets.store.names import check_asset_name, encode_partition

CRATE = "ro-crate-metadata.json"
LEDGER = "ledger.sqlite"
REPORT = "report"
NUMBERS = "report/numbers.json"
INPUTS = "inputs"
MANIFESTS = "manifests"
CODE = "code"
ENVIRONMENT = "environment"

FROZEN_LIST = "experiment_manifest"
"""The asset that lists plates, FOVs and splits; small, so that its files go along."""

MAX_JSON_BYTES = 2**26
"""Largest statement, envelope or numbers.json; a statement over 65,534 members has about 20 MB."""
MAX_MANIFEST_BYTES = 2**27
"""Largest list of files: about a million files in one artifact."""
MAX_LEDGER_BYTES = 2**29
"""Largest ledger extract. Reading JSON takes up to thirty times its size in memory, hence these limits."""


def place_of(artifact: Artifact) -> str:
    """`asset/encoded partition/digest12`, as in the store; raises BadInputError for names that cannot be folders."""
    folder = encode_partition(artifact.partition)
    return f"{check_asset_name(artifact.asset)}/{folder}/{artifact.digest[: DIGEST_LENGTHS[0]]}"


def manifest_member(artifact: Artifact) -> str:
    """The member that lists an artifact's files."""
    return f"{MANIFESTS}/{place_of(artifact)}.files.json"


def folder_member(artifact: Artifact, report_id: int) -> str | None:
    """The folder that holds an artifact's own files; None where they are not in the bundle."""
    if artifact.id == report_id:
        return REPORT
    return f"{INPUTS}/{place_of(artifact)}" if artifact.asset == FROZEN_LIST else None
