"""How well a representation answers a yes-or-no question, against rivals and chance."""
