"""Text environments: token by token, and whole text at once; one copy, and many."""

from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.episode_text_vector import EpisodeTextVectorEnv
from textgym.envs.token_text import TokenTextEnv
from textgym.envs.token_text_vector import TokenTextVectorEnv

__all__ = ["EpisodeTextEnv", "EpisodeTextVectorEnv", "TokenTextEnv", "TokenTextVectorEnv"]
