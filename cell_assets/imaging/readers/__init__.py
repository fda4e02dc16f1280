"""One file per source format; each registers itself."""
