"""Writing that survives a crash: atomic replacement, locks, paths."""
