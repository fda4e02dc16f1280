"""The published methods, one folder each."""
