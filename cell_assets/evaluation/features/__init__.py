"""A representation held against measured features of the same cells."""
