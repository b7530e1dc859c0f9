"""Reinforcement learning on text through Gymnasium and Stable-Baselines3.

Importing this package registers its environments, so ``gym.make("TextSumm-v0")`` works afterwards.
"""

from importlib.metadata import version

from textgym.feedback.types import Comparison
from textgym.registration import register_task, registered_ids
from textgym.types import Example, RewardFn

__version__ = version("textgym")
__all__ = ["Comparison", "Example", "RewardFn", "__version__", "register_task", "registered_ids"]

register_task("TextSumm", "textgym.tasks.summarization:Summarization")
register_task("TextSumm", "textgym.tasks.summarization:InstructedSummarization", version=1)
register_task("TextGen", "textgym.tasks.generation:Generation")
register_task("TextContinue", "textgym.tasks.continuation:Continuation")
register_task("TextStory", "textgym.tasks.story:Story")
