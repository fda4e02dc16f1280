"""Which assets compute with a network on a device: their steps are worth a GPU, all others are not."""

from cell_assets.assets.recipes import (
    AssetName,
    attribution_name,
    bleaching_name,
    checkpoint_name,
    embeddings_name,
    profiles_name,
)
from cell_assets.methods.registry import ENTRIES, MethodEntry, Represents


def gpu_assets() -> frozenset[str]:
    """Names of all of them; those of a method follow from its entry in the registry."""
    shared = {AssetName.STATE_SEGMENTATION.value, AssetName.SUPERVISED_PROFILES.value}
    return frozenset(shared.union(*map(_of_method, ENTRIES)))


def _of_method(entry: MethodEntry) -> set[str]:
    """Reports and comparisons read what these made, and need no device."""
    representation = embeddings_name if entry.represents is Represents.CELLS else profiles_name
    names = {checkpoint_name(entry.name), representation(entry.name)}
    if entry.attributable:
        names.add(attribution_name(entry.name))
    if entry.bleachable:
        names.add(bleaching_name(entry.name))
    return names
