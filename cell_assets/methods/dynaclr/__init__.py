"""DynaCLR: time-aware contrastive embeddings of tracked cells."""
