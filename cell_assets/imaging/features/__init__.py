"""Features of single cells: shape, intensity, texture and neighbourhood, measured from pixels and labels."""
