"""How a representation moves along tracks: smoothness, identity, divisions, tracking errors."""
