"""Questions about recorded numbers: explain."""
