"""Which pixels decide what a linear head on an encoder says; the same for every method whose encoder is a network."""
