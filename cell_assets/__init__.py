"""Data assets, lineage and a metadata store for labs that film living cells."""
