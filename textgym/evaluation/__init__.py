"""Sampling texts, scoring them with intervals, comparing models."""
