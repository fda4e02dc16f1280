"""When cells go from one annotated state into the other."""
