"""What a finished text is worth and what is reported about it; the same for both grains of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from textgym.rewards.core import check_size, gold_scores, score
from textgym.types import Example, FloatArray, RewardFn, Task

FinishReason = Literal["eos", "stop", "length"]


def judge(
    task: Task,
    reward: RewardFn,
    examples: Sequence[Example],
    texts: Sequence[str],
    reasons: Sequence[FinishReason],
) -> tuple[FloatArray, list[dict[str, Any]]]:
    """Score ``n`` finished texts with one reward call.

    Returns:
        Totals, shape ``(n,)``, and one info per text: ``text``, ``finish_reason``, ``is_success`` (the task's
        judgement), ``rewards`` (parts by name and ``"total"``), ``task_key``, and ``gold`` where the task knows it.
    """
    prompts = [task.format_prompt(example) for example in examples]
    scores = score(reward, prompts, texts, examples)
    check_size(reward, scores.total)
    gold = gold_scores(task, texts, examples)
    infos: list[dict[str, Any]] = []
    for row, (example, text, reason) in enumerate(zip(examples, texts, reasons, strict=True)):
        parts = {name: float(values[row]) for name, values in scores.parts.items()}
        infos.append(
            {
                "text": text,
                "finish_reason": reason,
                "is_success": bool(task.is_success(text, example)),
                "rewards": parts | {"total": float(scores.total[row])},
                "task_key": example.key,
            }
        )
        if gold is not None:
            infos[-1]["gold"] = float(gold[row])
    return scores.total, infos
