"""Sampling episodes, scoring them with intervals, comparing agents.

>>> from textgym.evaluation import compare, evaluate, make_evaluation_set
>>> from textgym.models import load_language_model
>>> model, questions = load_language_model("tiny"), make_evaluation_set("TextSumm-v0", "rouge", prompts=4)
>>> sampled = evaluate(model, questions)
>>> round(sampled.measures.intervals()["reward"].mean, 1)
0.6
>>> likeliest = evaluate(model, make_evaluation_set("TextSumm-v0", "rouge", prompts=4, temperature=0))
>>> compare(before=sampled, after=likeliest)["reward"].mean > 0
True
"""

from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, make_evaluation_set
from textgym.evaluation.measures import Measures, compare, measure, score_responses

__all__ = [
    "Evaluation",
    "EvaluationSet",
    "Measures",
    "compare",
    "evaluate",
    "make_evaluation_set",
    "measure",
    "score_responses",
]
