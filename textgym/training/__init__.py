"""Runs: folder, checkpoints, callbacks, interrupts, resume."""
