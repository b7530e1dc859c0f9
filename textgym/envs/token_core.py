"""The token-level transition for ``n`` copies at once, in numpy; single and vector environments are thin around it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import InvalidAction, ResetNeeded

from textgym.envs.arguments import check_budget, stops_of, transcript
from textgym.envs.prompts import find_example, prompt_of
from textgym.envs.scoring import FinishReason, judge
from textgym.spaces import TokenIds, TokenSpace
from textgym.text.prompts import EncodedPrompt
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, FloatArray, IntArray, Prompt, RewardFn, Task

Observation = dict[str, npt.NDArray[Any]]
_MOST_KEPT = 2**20  # ids of prompts, some 40 MB
_ARRAYS = ("ids", "lengths", "prompt_lengths", "stop_states")


class TokenCore:
    """State of ``n`` copies of a token-level text environment.

    No text is decoded before a copy's last token; resets and finished texts are handled a batch at a time.

    Attributes:
        task, tokenizer, reward: What is asked, in which tokens, judged by what.
        max_prompt_tokens, max_new_tokens: The budgets; a row has room for both.
        examples: The current example of every copy.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        reward: RewardFn,
        *,
        n: int,
        max_prompt_tokens: int | None,
        max_new_tokens: int | None,
        stop: Sequence[str],
    ) -> None:
        """Allocate the state; budgets that are ``None`` are the task's."""
        self.task, self.tokenizer, self.reward, self.n = task, tokenizer, reward, check_budget("num_envs", n, 1)
        self.max_prompt_tokens = check_budget("max_prompt_tokens", max_prompt_tokens, task.max_prompt_tokens)
        self.max_new_tokens = check_budget("max_new_tokens", max_new_tokens, task.max_new_tokens)
        self.stop = tokenizer.stop_table(stops_of(stop))
        self.examples: list[Example] = []
        self.truncated = [False] * n
        width = self.max_prompt_tokens + self.max_new_tokens
        self._ids = np.full((n, width), tokenizer.pad_id, dtype=np.int64)
        self._mask = np.zeros((n, width), dtype=np.int8)
        self._lengths = np.zeros(n, dtype=np.int64)
        self._prompt_lengths = np.zeros(n, dtype=np.int64)
        self._stop_states = np.zeros(n, dtype=np.int64)
        self._alive = np.zeros(n, dtype=np.bool_)
        self._prompts: dict[Prompt, EncodedPrompt] = {}
        self._rows = np.arange(n)
        self._is_eos = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
        self._is_eos[list(tokenizer.eos_ids)] = True
        if not (tokenizer.eos_ids or self.stop.stops):
            _warn_endless(tokenizer, self.max_new_tokens)
        self._encode([task.dataset[0]])  # a budget that is too small fails here, not in the middle of a run

    def observation_space(self) -> gym.spaces.Dict:
        """Return the observation space of one copy."""
        width = self._ids.shape[1]
        return gym.spaces.Dict(
            {
                "input_ids": TokenIds(self.tokenizer.vocab_size, width),
                "attention_mask": gym.spaces.Box(0, 1, (width,), np.int8),
                "prompt_length": gym.spaces.Box(0, self.max_prompt_tokens, (1,), np.int64),
            }
        )

    def action_space(self) -> TokenSpace:
        """Return the action space of one copy."""
        return TokenSpace(self.tokenizer.vocab_size, self.tokenizer.name, self.tokenizer.fingerprint)

    def reset(self, rows: Sequence[int], examples: Sequence[Example]) -> None:
        """Start ``rows`` on ``examples``, whose prompts are encoded together."""
        if not self.examples:
            self.examples = [examples[0]] * self.n
        for row, example, prompt in zip(rows, examples, self._encode(examples), strict=True):
            length = len(prompt.ids)
            self._ids[row] = self.tokenizer.pad_id
            self._ids[row, :length] = prompt.ids
            self._mask[row] = 0
            self._mask[row, :length] = 1
            self._lengths[row] = self._prompt_lengths[row] = length
            self.examples[row], self.truncated[row] = example, prompt.truncated
        self._stop_states[rows] = 0
        self._alive[rows] = True

    def step(self, actions: Any) -> IntArray:
        """Append one token per copy.

        Args:
            actions: Token ids, shape ``(n,)``.

        Returns:
            The copies whose text ended with this token.
        """
        actions = self._checked(actions)
        self._ids[self._rows, self._lengths] = actions
        self._mask[self._rows, self._lengths] = 1
        self._lengths += 1
        done = self._is_eos[actions] | (self._lengths - self._prompt_lengths >= self.max_new_tokens)
        if self.stop.stops:
            self._stop_states = self.stop.table[self._stop_states, actions].astype(np.int64)
            done |= self.stop.hit[self._stop_states]
        finished: IntArray = done.nonzero()[0]
        if finished.size:
            self._alive[finished] = False
        return finished

    def finish(self, rows: IntArray) -> tuple[FloatArray, list[dict[str, Any]]]:
        """Judge the texts of finished copies: one decoding call, one reward call.

        Returns:
            Rewards, shape ``(len(rows),)``, and their infos.
        """
        reasons = [self._reason(row) for row in rows]
        texts = self.texts(rows)
        rewards, infos = judge(self.task, self.reward, [self.examples[row] for row in rows], texts, reasons)
        for row, info in zip(rows, infos, strict=True):
            info["prompt_truncated"] = self.truncated[row]
        return rewards, infos

    def texts(self, rows: IntArray) -> list[str]:
        """Return the responses so far as a user would see them: cut at EOS and stop string, no special tokens."""
        ids = [self._ids[row, self._prompt_lengths[row] : self._lengths[row]] for row in rows]
        visible = [tokens[~self._is_eos[tokens]].tolist() for tokens in ids]
        decoded = self.tokenizer.decode_batch(visible, strip=False)
        return [self.stop.cut(text).strip() for text in decoded]

    def observe(self) -> Observation:
        """Return copies of all observations, with a leading axis of ``n``."""
        return {
            "input_ids": self._ids.copy(),
            "attention_mask": self._mask.copy(),
            "prompt_length": self._prompt_lengths[:, None].copy(),
        }

    def observe_row(self, row: int) -> Observation:
        """Return a copy of one observation."""
        return {
            "input_ids": self._ids[row].copy(),
            "attention_mask": self._mask[row].copy(),
            "prompt_length": self._prompt_lengths[row : row + 1].copy(),
        }

    def written(self, row: int) -> int:
        """Return how many tokens the response of a copy has so far."""
        return int(self._lengths[row] - self._prompt_lengths[row])

    def is_running(self, row: int) -> bool:
        """Return whether a copy is in the middle of a text."""
        return bool(self._alive[row])

    def reset_info(self, row: int) -> dict[str, Any]:
        """Return what is reported when a copy starts."""
        return {"task_key": self.examples[row].key, "prompt_truncated": self.truncated[row]}

    def render(self, row: int) -> str:
        """Return the prompt of a copy and its response so far."""
        if not self.examples:
            raise ResetNeeded("expected reset() before render(), got no episode; call reset() first")
        return transcript(self.task.format_prompt(self.examples[row]), self.texts(np.array([row]))[0])

    def get_state(self) -> dict[str, Any]:
        """Return the state of all copies as arrays, lists and plain values."""
        state: dict[str, Any] = {name: getattr(self, f"_{name}").copy() for name in _ARRAYS}
        return state | {
            "fingerprint": self.tokenizer.fingerprint,
            "task_keys": [example.key for example in self.examples],
            "prompt_truncated": list(self.truncated),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state of :meth:`get_state`.

        Raises:
            ValueError: It comes from another tokenizer, other budgets or another number of copies.
        """
        if state["fingerprint"] != self.tokenizer.fingerprint:
            raise ValueError(
                f"expected a state of tokenizer {self.tokenizer.fingerprint}, got one of {state['fingerprint']}; "
                "make the environment with the same model"
            )
        if np.shape(state["ids"]) != self._ids.shape:
            raise ValueError(
                f"expected ids of shape {self._ids.shape}, got {np.shape(state['ids'])}; "
                "make the environment with the same number of copies and the same budgets"
            )
        for name in _ARRAYS:
            setattr(self, f"_{name}", np.array(state[name], dtype=np.int64))
        self._mask = (np.arange(self._ids.shape[1]) < self._lengths[:, None]).astype(np.int8)
        self.examples = [find_example(self.task, key) for key in state["task_keys"]]
        self.truncated = [bool(cut) for cut in state["prompt_truncated"]]
        self._alive[:] = True

    def _encode(self, examples: Sequence[Example]) -> list[EncodedPrompt]:
        """Return encoded prompts; those that come again and again are kept."""
        known, asked = self._prompts, [prompt_of(self.task, example) for example in examples]
        new = list(dict.fromkeys(prompt for prompt in asked if prompt not in known))
        fresh = dict(zip(new, self.tokenizer.encode_prompts(new, self.max_prompt_tokens), strict=True))
        prompts = [known.get(prompt) or fresh[prompt] for prompt in asked]
        if (len(known) + len(fresh)) * self.max_prompt_tokens > _MOST_KEPT:
            known.clear()
        known.update(fresh)
        return prompts

    def _checked(self, actions: Any) -> IntArray:
        """Return legal actions as an int64 array of shape ``(n,)``."""
        if not self._alive.all():
            raise ResetNeeded("expected a running episode, got a step before reset() or after the end; call reset()")
        actions = np.asarray(actions)
        if actions.shape != (self.n,) or actions.dtype.kind not in "iu":
            raise InvalidAction(
                f"expected integer token ids of shape ({self.n},), got dtype {actions.dtype} of shape {actions.shape}"
            )
        legal: IntArray = actions.astype(np.int64, copy=False)
        if legal.view(np.uint64).max() >= self.tokenizer.vocab_size:  # a negative id is a huge one without its sign
            raise InvalidAction(
                f"expected token ids in [0, {self.tokenizer.vocab_size}), got {actions.min()} to {actions.max()}; "
                "does the policy use another tokenizer than the environment?"
            )
        return legal

    def _reason(self, row: int) -> FinishReason:
        """Say why the text of a finished copy ended."""
        if self._is_eos[self._ids[row, self._lengths[row] - 1]]:
            return "eos"
        return "stop" if self.stop.hit[self._stop_states[row]] else "length"


def _warn_endless(tokenizer: Tokenizer, budget: int) -> None:
    """Say that no text will end by itself."""
    warnings.warn(
        f"the tokenizer of {tokenizer.name!r} has no end-of-text token, so that every text runs to its budget of "
        f"{budget} tokens; set eos_token in its tokenizer_config.json or eos_token_id in generation_config.json, or "
        "give stop=",
        stacklevel=2,
    )


class CoreAttributes:
    """What single and vector environments show of their core."""

    _core: TokenCore

    @property
    def task(self) -> Task:
        """What is asked."""
        return self._core.task

    @property
    def tokenizer(self) -> Tokenizer:
        """Whose ids actions and observations are."""
        return self._core.tokenizer

    @property
    def reward(self) -> RewardFn:
        """What judges finished texts."""
        return self._core.reward

    @property
    def max_prompt_tokens(self) -> int:
        """Largest number of prompt tokens."""
        return self._core.max_prompt_tokens

    @property
    def max_new_tokens(self) -> int:
        """Largest number of tokens the agent writes."""
        return self._core.max_new_tokens

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a text."""
        return self._core.stop.stops
