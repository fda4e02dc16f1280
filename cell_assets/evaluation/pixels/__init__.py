"""From a probe back to the pixels: attribution and bleaching, cells, scores and files."""
