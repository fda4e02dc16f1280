"""CytoSummaryNet (van Dijk et al. 2024): well profiles learned from single-cell features by weak supervision."""
