"""Tables of single-cell features that other programs measured: CellProfiler's databases, CytoTable's Parquet."""
