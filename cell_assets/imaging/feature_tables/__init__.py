"""Tables of single-cell features that others measured: CellProfiler's, CytoTable's Parquet, AnnData's counts."""
