"""Pixels and cells: plate readers, quality, segmentation, tracking, patches."""
