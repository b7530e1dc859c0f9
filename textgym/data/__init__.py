"""Texts to work on: lists of examples, files, folders, Hub data sets; and how they are split and reported."""

from textgym.data.dataset import InMemoryDataset, LoadReport
from textgym.data.files import DataWarning
from textgym.data.source import load_examples

__all__ = ["DataWarning", "InMemoryDataset", "LoadReport", "load_examples"]
