"""The small model and data of tests that run commands."""

from tests.small_runs import data, lm, one_thread, own_folder, short

__all__ = ["data", "lm", "one_thread", "own_folder", "short"]
