"""Micro-Manager's TIFF stacks, written byte by byte after its published file format."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SHORT, _LONG, _ASCII, _RATIONAL = 3, 4, 2, 5

Place = tuple[int, int, int, int]
"""(channel, slice, frame, position)."""


def write_stack(
    file: Path,
    planes: Mapping[Place, NDArray[np.generic]],
    summary: Mapping[str, object],
    labels: Sequence[str] = (),
    stray: int = 0,
) -> None:
    """One file with a header, a directory and metadata per plane, and the map of planes at its end.

    `stray` is added to every directory's place in the map, to make a damaged one.
    """
    said = json.dumps(summary).encode()
    body = bytearray(said)
    start = 40
    directories, links = [], []
    for (channel, z, t, position), pixels in planes.items():
        body += b"\0" * (len(body) % 2)
        metadata = {"PositionName": labels[position]} if labels else {}
        text = (
            json.dumps({**metadata, "ChannelIndex": channel, "SliceIndex": z, "FrameIndex": t}).encode()
            + b"\0"
        )
        at = start + len(body)
        n_tags = (
            13  # so many that pixels start 162 bytes after their directory, as other readers take for given
        )
        data_at = at + 2 + 12 * n_tags + 4
        height, width = pixels.shape
        tags = [
            (256, _LONG, 1, width),
            (257, _LONG, 1, height),
            (258, _SHORT, 1, 8 * pixels.itemsize),
            (259, _SHORT, 1, 1),
            (262, _SHORT, 1, 1),
            (273, _LONG, 1, data_at),
            (277, _SHORT, 1, 1),
            (278, _LONG, 1, height),
            (279, _LONG, 1, pixels.nbytes),
            (282, _RATIONAL, 1, data_at + pixels.nbytes),
            (283, _RATIONAL, 1, data_at + pixels.nbytes),
            (296, _SHORT, 1, 3),
            (51123, _ASCII, len(text), data_at + pixels.nbytes + 8),
        ]
        body += struct.pack("<H", n_tags) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        links.append(len(body))
        body += b"\0\0\0\0" + pixels.tobytes() + struct.pack("<II", 1, 1) + text
        directories.append(at)
    for link, following in zip(links[:-1], directories[1:], strict=True):
        struct.pack_into("<I", body, link, following)
    index_at = start + len(body)
    body += struct.pack("<II", 3453623, len(planes))
    for place, directory in zip(planes, directories, strict=True):
        body += struct.pack("<5I", *place, directory + stray)
    head = struct.pack("<2sHI", b"II", 42, directories[0])
    head += struct.pack("<8I", 54773648, index_at, 483765892, 0, 99384722, 0, 2355492, len(said))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + body)
