"""Names on disk are one folder deep, reversible, and refuse what climbs or hides."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.store.names import (
    MAX_FOLDER_BYTES,
    check_asset_name,
    check_key_name,
    decode_partition,
    encode_partition,
)

partitions = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("partition", "folder"),
    [
        ("P1", "P1"),
        ("P1|A/1/000", "P1%7CA%2F1%2F000"),
        ("plate 7 (µ)", "plate%207%20%28%C2%B5%29"),
        (".hidden", "%2Ehidden"),
        ("..", "%2E."),
        ("50%", "50%25"),
        ("a~b", "a%7Eb"),
    ],
)
def test_encoded_partitions(partition: str, folder: str) -> None:
    assert encode_partition(partition) == folder
    assert decode_partition(folder) == partition


@given(partitions)
def test_one_safe_folder_and_back(partition: str) -> None:
    folder = encode_partition(partition)
    assert PurePosixPath(folder).parts == (folder,)
    assert not folder.startswith(".")
    assert len(folder.encode()) <= MAX_FOLDER_BYTES
    assert decode_partition(folder) in (partition, None)


@given(partitions, partitions)
def test_different_partitions_get_different_folders(one: str, other: str) -> None:
    assert (encode_partition(one) == encode_partition(other)) == (one == other)


def test_long_partitions_are_cut_and_stay_apart() -> None:
    one, other = encode_partition("x" * 500 + "1"), encode_partition("x" * 500 + "2")
    assert one != other
    assert len(one) == MAX_FOLDER_BYTES
    assert decode_partition(one) is None


@pytest.mark.parametrize("partition", ["", "a\nb", "\0", "\ud800"])
def test_unusable_partitions(partition: str) -> None:
    with pytest.raises(BadInputError, match="partition key"):
        encode_partition(partition)


@pytest.mark.parametrize("folder", ["a b", "%7c", "%FF", "P1%7", ""])
def test_folders_that_the_store_did_not_name(folder: str) -> None:
    with pytest.raises(BadInputError, match="not an encoded partition"):
        decode_partition(folder)


@pytest.mark.parametrize(
    "name", ["", " ", "..", "a..b", "a|b", "a/b", "../P1", ".hid", "a\nb", "a\0", "P1 ", "\u202eP1"]
)
def test_unusable_plate_names_are_quoted(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_key_name(name)
    assert repr(name) in str(caught.value)
    assert "plate name" in str(caught.value)


@pytest.mark.parametrize("name", ["P1", "2024-03-01 plate 7", "ctc_ecoli", "A.1"])
def test_usable_plate_names(name: str) -> None:
    assert check_key_name(name) == name


@pytest.mark.parametrize("asset", ["", ".staging", "a/b", "..", "1a", "a-b", "é"])
def test_unusable_asset_names(asset: str) -> None:
    with pytest.raises(BadInputError, match="asset name"):
        check_asset_name(asset)
