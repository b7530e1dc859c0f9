"""Reinforcement learning on text through Gymnasium and Stable-Baselines3.

Importing this package registers its environments, so ``gym.make("TextSumm-v0")`` works afterwards.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from textgym.deferred import deferred
from textgym.feedback.types import Comparison
from textgym.registration import register_task, registered_ids
from textgym.types import Example, RewardFn

__version__ = version("textgym")
__all__ = ["Comparison", "Example", "RewardFn", "__version__", "register_task", "registered_ids"]

register_task("TextSumm", "textgym.tasks.summarization:Summarization")
register_task("TextSumm", "textgym.tasks.summarization:HurriedSummarization", version=1)
register_task("TextGen", "textgym.tasks.generation:Generation")
register_task("TextSpell", "textgym.tasks.spelling:Spelling")
register_task("TextQA", "textgym.tasks.answering:Answering")
register_task("TextReport", "textgym.tasks.report:Report")
register_task("TextTranslate", "textgym.tasks.translate:Translate")
register_task("TextContinue", "textgym.tasks.continuation:Continuation")
register_task("TextStory", "textgym.tasks.story:Story")
register_task("TextCode", "textgym.tasks.coding:Coding")
register_task("TextRec", "textgym.tasks.recommendation:Recommendation")
register_task("TextChat", "textgym.tasks.chat:Chat")

if not TYPE_CHECKING:  # else every name would exist for type checkers
    __getattr__, __dir__ = deferred(
        __name__,
        {},
        [f"textgym.{name}" for name in ("agents", "rewards", "reward_models", "tasks", "data", "feedback")],
    )
