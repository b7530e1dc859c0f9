"""Properties of a network, found by computing."""
