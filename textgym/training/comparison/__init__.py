"""Comparisons of agents: several methods on one environment, from the same start, with the same budget and seeds.

>>> from textgym.envs.choice import EnvChoice
>>> settings = comparison_settings(EnvChoice("TextSpell-v0"), ["ppo,random"], ["ppo:lr=3e-3"], seeds=2)
>>> settings.agents, settings.options, settings.allowed.words
({'ppo': 'ppo', 'random': 'random'}, {'ppo': {'learning_rate': 0.003}}, '100,000 tokens')
"""

from textgym.training.comparison.budget import Budget, Spent
from textgym.training.comparison.drawing import draw_curves
from textgym.training.comparison.finished import compare_runs, comparison_of
from textgym.training.comparison.records import Point, RunRecord, Sample, read_record
from textgym.training.comparison.report import write_report
from textgym.training.comparison.results import Comparison
from textgym.training.comparison.run import read_comparison, resume_comparison, run_comparison
from textgym.training.comparison.settings import ComparisonSettings, comparison_settings
from textgym.training.comparison.tables import markdown_of

__all__ = [
    "Budget",
    "Comparison",
    "ComparisonSettings",
    "Point",
    "RunRecord",
    "Sample",
    "Spent",
    "compare_runs",
    "comparison_of",
    "comparison_settings",
    "draw_curves",
    "markdown_of",
    "read_comparison",
    "read_record",
    "resume_comparison",
    "run_comparison",
    "write_report",
]
