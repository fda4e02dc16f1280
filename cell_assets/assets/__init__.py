"""What exists: every data asset, its partitions and its thin body."""
