"""The same pixels under any chunking, sharding, compression and Zarr version; one changed pixel is found."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.imaging.readers.registry import open_source
from cell_assets.imaging.same_pixels import Comparison, compare_pixels
from cell_assets.store.digest import digest_folder
from cell_assets_tests.imaging.source_plates import write_zarr

SHAPE = (3, 2, 2, 24, 20)
PIXELS = {
    name: np.random.default_rng(k).integers(0, 2**16, SHAPE).astype("uint16")
    for k, name in enumerate(("A/1/0", "A/2/0"))
}


def compared(a: Path, b: Path) -> Comparison:
    return compare_pixels(open_source(a), open_source(b))


def recompressed(folder: Path) -> Path:
    """The same plate with every array written anew, without compression and in other chunks."""
    path = write_zarr(folder, {name: np.zeros_like(pixels) for name, pixels in PIXELS.items()})
    for name, pixels in PIXELS.items():
        old = zarr.open_array(path / name / "0")
        attributes, dimensions = dict(old.attrs), getattr(old.metadata, "dimension_names", None)
        new = zarr.create_array(
            path / name / "0",
            shape=SHAPE,
            dtype="uint16",
            chunks=(1, 1, 1, 10, 20),
            compressors=None,
            overwrite=True,
            attributes=attributes,
            dimension_names=dimensions,
        )
        new[:] = pixels
    return path


def test_recompressed_and_resharded_plates_hold_the_same_pixels(tmp_path: Path) -> None:
    plain = write_zarr(tmp_path / "a.zarr", PIXELS, chunks=(1, 1, 2, 24, 20))
    others = {
        "rechunked": write_zarr(tmp_path / "b.zarr", PIXELS, chunks=(1, 1, 1, 12, 20)),
        "resharded": write_zarr(
            tmp_path / "c.zarr", PIXELS, chunks=(1, 1, 1, 12, 20), shards_ratio=(3, 2, 2, 2, 1)
        ),
        "Zarr 2": write_zarr(tmp_path / "d.zarr", PIXELS, version="0.4"),
        "uncompressed": recompressed(tmp_path / "e.zarr"),
    }
    content, byte_digests = set(), {digest_folder(plain).root}
    for what, other in others.items():
        found = compared(plain, other)
        assert found.is_same, (what, found.differs)
        assert found.content_digests is not None
        content.update(found.content_digests)
        byte_digests.add(digest_folder(other).root)
    assert len(content) == 1
    assert len(byte_digests) == 1 + len(others)


@settings(max_examples=15)
@given(
    at=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
    name=st.sampled_from(sorted(PIXELS)),
    flip=st.integers(1, 2**16 - 1),
)
def test_one_changed_pixel_is_found_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, at: tuple[int, ...], name: str, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("plates")
    changed = {key: pixels.copy() for key, pixels in PIXELS.items()}
    changed[name][at] ^= flip
    found = compared(write_zarr(folder / "a.zarr", PIXELS), write_zarr(folder / "b.zarr", changed))
    t, c, z, y, x = at
    was, now = PIXELS[name][at], changed[name][at]
    assert found.differs == f"FOV {name}, t {t}, c {c}, z {z}, y {y}, x {x}: {was} in A and {now} in B"


def test_shapes_dtypes_and_fovs_are_compared_first(tmp_path: Path) -> None:
    whole = write_zarr(tmp_path / "a.zarr", PIXELS)
    fewer = write_zarr(tmp_path / "b.zarr", {"A/1/0": PIXELS["A/1/0"]})
    wider = write_zarr(
        tmp_path / "c.zarr", {name: pixels.astype("uint32") for name, pixels in PIXELS.items()}
    )
    assert compared(whole, fewer).differs == "FOV A/2/0 is in A only, not in B"
    assert compared(fewer, whole).differs == "FOV A/2/0 is in B only, not in A"
    assert "uint16 (3, 2, 2, 24, 20) in A and uint32" in compared(whole, wider).differs
