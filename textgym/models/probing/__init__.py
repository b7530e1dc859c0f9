"""What a network computes, found by computing."""
