"""The reward and the info of a finished episode, for both grains of a task."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.envs.types import Info
from textgym.rewards import Scores, check_size, gold_scores, score
from textgym.tasks.base import shown_of
from textgym.types import Episode, FloatArray, RewardFn, Task


def score_last_turns(task: Task, reward: RewardFn, episodes: Sequence[Episode]) -> Scores:
    """Score the last turns of ``n`` finished episodes with one reward call, for environments and evaluation.

    The reward is given what was shown before them: a text, or the messages of a conversation.

    Raises:
        RewardError: The reward does not return one finite number per episode.
    """
    shown = [shown_of(task, episode.example, episode.turns[:-1]) for episode in episodes]
    return score(reward, shown, [episode.text for episode in episodes], [episode.example for episode in episodes])


def score_episodes(task: Task, reward: RewardFn, episodes: Sequence[Episode]) -> tuple[FloatArray, list[Info]]:
    """Score ``n`` finished episodes with one reward call, which sees their last turns.

    Returns:
        Scores, shape ``(n,)``, without the rewards of turns; and one info per episode: ``text``, ``finish_reason``,
        ``is_success`` (the task's criterion), ``rewards`` (parts by name and ``"total"``, the return), ``task_key``,
        ``gold`` where the task knows it, and ``turns`` where an episode may have several.
    """
    scores = score_last_turns(task, reward, episodes)
    check_size(reward, scores.total)
    gold = gold_scores(task, episodes)
    pays_turns = task.max_turns > 1 or any(episode.turn_return for episode in episodes)
    infos: list[Info] = []
    for row, episode in enumerate(episodes):
        rewards = {name: float(values[row]) for name, values in scores.parts.items()}
        rewards["total"] = float(scores.total[row])
        if pays_turns:
            rewards |= {"turns": episode.turn_return, "total": rewards["total"] + episode.turn_return}
        infos.append(
            {
                "text": episode.text,
                "finish_reason": episode.finish_reason,
                "is_success": bool(task.is_success(episode)),
                "rewards": rewards,
                "task_key": episode.example.key,
            }
        )
        if task.max_turns > 1:
            infos[-1]["turns"] = [message._asdict() for message in episode.turns]
        if gold is not None:
            infos[-1]["gold"] = float(gold[row])
    return scores.total, infos
