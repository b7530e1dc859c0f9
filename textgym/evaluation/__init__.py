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
>>> again = rescore(sampled, make_evaluation_set("TextSumm-v0", "length?target=12", prompts=4))  # nothing is generated
>>> again.texts == sampled.texts, again.measures.intervals()["reward"] != sampled.measures.intervals()["reward"]
(True, True)
"""

from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, make_evaluation_set, rescore
from textgym.evaluation.measures import Measures, compare, compare_significance, measure, score_responses

__all__ = [
    "Evaluation",
    "EvaluationSet",
    "Measures",
    "compare",
    "compare_significance",
    "evaluate",
    "make_evaluation_set",
    "measure",
    "rescore",
    "score_responses",
]
