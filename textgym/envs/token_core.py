"""The token-level transition for ``n`` copies at once, in numpy; single and vector environments are thin around it."""

from __future__ import annotations

import codecs
import copy
import warnings
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import InvalidAction, ResetNeeded

from textgym.envs.arguments import check_budget, stops_of
from textgym.envs.base import CoreAttributes
from textgym.envs.conversations import Conversations, TurnEnds
from textgym.envs.prompts import Root
from textgym.envs.rendering import Frame
from textgym.envs.types import EnvState, Info, Observation
from textgym.spaces import TokenIds, TokenSpace
from textgym.tasks.base import TextTask, prompt_of, widest_example
from textgym.text.prompts import EncodedPrompt
from textgym.text.tokenizer import Tokenizer
from textgym.types import BoolArray, Example, FinishReason, IntArray, Message, Prompt, RewardFn, Task
from textgym.values import attribute_of

_MOST_KEPT = 2**20  # ids of prompts, some 40 MB
_ARRAYS = ("ids", "lengths", "prompt_lengths", "stop_states")


class TokenCore:
    """State of ``n`` copies of a token-level text environment.

    No text is decoded before the last token of a turn; resets and finished turns are handled a batch at a time.

    Attributes:
        task, tokenizer, reward: Source of examples, tokens of the texts, and score of finished episodes.
        max_prompt_tokens, max_new_tokens: The budgets of the prompt and of every turn.
        conversations: Conversation in each copy.
        has_masks: Whether the task gives a mask of allowed tokens.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        reward: RewardFn,
        *,
        max_prompt_tokens: int | None,
        max_new_tokens: int | None,
        stop: Sequence[str],
    ) -> None:
        """Allocate the state of one copy; budgets that are ``None`` are the task's."""
        self.task, self.tokenizer, self.reward = task, tokenizer, reward
        self.max_prompt_tokens = check_budget("max_prompt_tokens", max_prompt_tokens, task.max_prompt_tokens)
        self.max_new_tokens = check_budget("max_new_tokens", max_new_tokens, task.max_new_tokens)
        self.stop_table = tokenizer.stop_table(stops_of(stop))
        self.has_masks = attribute_of(type(task), "allowed") not in (None, TextTask.allowed)
        self._is_eos = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
        self._is_eos[list(tokenizer.eos_ids)] = True
        self._prompts: dict[Prompt, EncodedPrompt] = {}
        self._allocate(1)
        if not (tokenizer.eos_ids or self.stop):
            _warn_endless(tokenizer, self.max_new_tokens)
        self._encode([widest_example(task)])  # a budget that is too small fails here, not in the middle of a run
        if task.max_turns > 1:
            tokenizer.encode_reply([Message("user", "")], task.max_reply_tokens, ended=False)

    def _allocate(self, n: int) -> None:
        """Allocate the state of ``n`` copies."""
        self.n, self.conversations = n, Conversations(self.task, n)
        self.truncated = [False] * n
        width = context_tokens(self.task, self.max_prompt_tokens, self.max_new_tokens)
        self._ids = np.full((n, width), self.tokenizer.pad_id, dtype=np.int64)
        self._mask = np.zeros((n, width), dtype=np.int8)
        self._lengths = np.zeros(n, dtype=np.int64)
        self._prompt_lengths = np.zeros(n, dtype=np.int64)  # where the current turn begins
        self._given = np.zeros(n, dtype=np.int64)  # ids that the agent did not write
        self._stop_states = np.zeros(n, dtype=np.int64)
        self._alive = np.zeros(n, dtype=np.bool_)
        self._rows = np.arange(n)

    def copies(self, n: int) -> TokenCore:
        """Return a core with the same arguments for ``n`` copies, not yet reset; encoded prompts are shared."""
        core = copy.copy(self)
        core._allocate(n)
        return core

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a text."""
        return self.stop_table.stops

    def observation_space(self) -> gym.spaces.Dict:
        """Return the observation space of one copy."""
        width = self._ids.shape[1]
        return gym.spaces.Dict(
            {
                "input_ids": TokenIds(self.tokenizer.vocab_size, width, width - self.max_prompt_tokens),
                "attention_mask": gym.spaces.Box(0, 1, (width,), np.int8),
                "prompt_length": gym.spaces.Box(0, width - self.max_new_tokens, (1,), np.int64),
            }
        )

    def action_space(self) -> TokenSpace:
        """Return the action space of one copy."""
        return TokenSpace(self.tokenizer.vocab_size, self.tokenizer.name, self.tokenizer.fingerprint)

    def reset(self, rows: Sequence[int], examples: Sequence[Example], roots: Sequence[Root]) -> None:
        """Start ``rows`` on ``examples``, whose prompts are encoded together."""
        self.conversations.start(rows, examples, roots)
        for row, prompt in zip(rows, self._encode(examples), strict=True):
            length = len(prompt.ids)
            self._ids[row] = self.tokenizer.pad_id
            self._ids[row, :length] = prompt.ids
            self._mask[row] = 0
            self._mask[row, :length] = 1
            self._lengths[row] = self._prompt_lengths[row] = self._given[row] = length
            self.truncated[row] = prompt.truncated
        self._stop_states[rows] = 0
        self._alive[rows] = True

    def step(self, actions: npt.ArrayLike) -> IntArray:
        """Append one token per copy.

        Args:
            actions: Token ids, shape ``(n,)``.

        Returns:
            The copies whose turn ended with this token; :meth:`finish` continues them.
        """
        actions = self._checked(actions)
        self._ids[self._rows, self._lengths] = actions
        self._mask[self._rows, self._lengths] = 1
        self._lengths += 1
        done = self._is_eos[actions] | (self._lengths - self._prompt_lengths >= self.max_new_tokens)
        if self.stop_table.stops:
            self._stop_states = self.stop_table.table[self._stop_states, actions].astype(np.int64)
            done |= self.stop_table.hit[self._stop_states]
        finished: IntArray = done.nonzero()[0]
        if finished.size:
            self._alive[finished] = False
        return finished

    def finish(self, rows: IntArray) -> TurnEnds:
        """Take in the turns that ended: one decoding call, and one reward call for the episodes that end with them.

        Behind a turn that is answered, the other side's ids are appended, and the copy goes on.
        """
        copies = rows.tolist()
        reasons = [self._reason(row) for row in copies]
        ends = self.conversations.end_turns(copies, self.texts(rows), reasons, self.reward)
        for row, reason, ended, info, reply in zip(copies, reasons, ends.ended, ends.infos, ends.replies, strict=True):
            if ended:
                info["prompt_truncated"] = self.truncated[row]
            else:
                self._append(row, reply, reason)
        return ends

    def _append(self, row: int, reply: Sequence[Message], reason: FinishReason) -> None:
        """Append what is said to a copy, and begin its next turn."""
        encoded = self.tokenizer.encode_reply(reply, self.task.max_reply_tokens, ended=reason == "eos")
        start, stop = self._lengths[row], self._lengths[row] + len(encoded.ids)
        self._ids[row, start:stop] = encoded.ids
        self._mask[row, start:stop] = 1
        self._lengths[row] = self._prompt_lengths[row] = stop
        self._given[row] += len(encoded.ids)
        self.truncated[row] |= encoded.truncated
        self._stop_states[row], self._alive[row] = 0, True

    def action_masks(self) -> BoolArray:
        """Return which tokens may be written next, shape ``(n, V)``; all where the task does not say.

        Raises:
            ValueError: The task allows an id that there is not, or none at all.
        """
        masks = np.ones((self.n, self.tokenizer.vocab_size), dtype=np.bool_)
        if not self.has_masks or not self.conversations.examples:
            return masks
        for row in range(self.n):
            ids = self._ids[row, self._prompt_lengths[row] : self._lengths[row]].tolist()
            allowed = self.task.allowed(self.conversations.episode(row), ids, self.tokenizer)
            if allowed is not None:
                masks[row] = False
                masks[row, self._legal(allowed)] = True
        return masks

    def _legal(self, allowed: IntArray) -> IntArray:
        """Return ids that a task allows, checked."""
        ids: IntArray = np.asarray(allowed, dtype=np.int64).reshape(-1)
        if not ids.size or ids.min() < 0 or ids.max() >= self.tokenizer.vocab_size:
            raise ValueError(
                f"expected ids in [0, {self.tokenizer.vocab_size}), one at least, from allowed of {self.task.name!r}, "
                f"got {ids.tolist()!r:.80}; return None where any token may be written"
            )
        return ids

    def texts(self, rows: IntArray) -> list[str]:
        """Return the responses so far as a user would see them: cut at EOS and stop string, no special tokens."""
        ids = [self._ids[row, self._prompt_lengths[row] : self._lengths[row]] for row in rows]
        visible = [tokens[~self._is_eos[tokens]].tolist() for tokens in ids]
        decoded = self.tokenizer.decode_batch(visible, strip=False)
        return [self.stop_table.cut(text).strip() for text in decoded]

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
        """Return how many tokens the agent has written in the episode of a copy."""
        return int(self._lengths[row] - self._given[row])

    @property
    def max_steps(self) -> int:
        """Most tokens of the agent in an episode."""
        return self.max_new_tokens * self.task.max_turns

    def is_running(self, row: int) -> bool:
        """Return whether a copy is in the middle of a text."""
        return bool(self._alive[row])

    def reset_info(self, row: int) -> Info:
        """Return what is reported when a copy starts."""
        key = self.conversations.examples[row].key
        return {"task_key": key, "prompt_truncated": self.truncated[row]}

    def render(self, row: int) -> Frame:
        """Return what a copy was shown, and its turn so far."""
        if not self.conversations.examples:
            raise ResetNeeded("expected reset() before render(), got no episode; call reset() first")
        return Frame(self.conversations.shown(row), self.texts(np.array([row]))[0], self._pieces(row))

    def _pieces(self, row: int) -> tuple[str, ...]:
        """Return the texts of the tokens of a turn; bytes of a character that several make stand in the last one."""
        reader = codecs.getincrementaldecoder("utf-8")("replace")
        ids = self._ids[row, self._prompt_lengths[row] : self._lengths[row]].tolist()
        return tuple("" if self._is_eos[token] else reader.decode(self.tokenizer.token_bytes[token]) for token in ids)

    def get_state(self) -> EnvState:
        """Return the state of all copies as arrays, lists and plain values."""
        state: EnvState = {name: vars(self)[f"_{name}"].copy() for name in _ARRAYS}
        return state | {
            "fingerprint": self.tokenizer.fingerprint,
            "prompt_truncated": list(self.truncated),
            **self.conversations.get_state(),
            **({"given": self._given.copy()} if self.conversations.has_turns else {}),
        }

    def set_state(self, state: EnvState) -> None:
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
        self._given = np.array(state.get("given", state["prompt_lengths"]), dtype=np.int64)
        self.conversations.set_state(state)
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

    def _checked(self, actions: npt.ArrayLike) -> IntArray:
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
        return "stop" if self.stop_table.hit[self._stop_states[row]] else "length"


def _warn_endless(tokenizer: Tokenizer, budget: int) -> None:
    """Say that no text will end by itself."""
    warnings.warn(
        f"the tokenizer of {tokenizer.name!r} has no end-of-text token, so that every text runs to its budget of "
        f"{budget} tokens; set eos_token in its tokenizer_config.json or eos_token_id in generation_config.json, or "
        "give stop=",
        stacklevel=2,
    )


def context_tokens(task: Task, max_prompt_tokens: int, max_new_tokens: int) -> int:
    """Return the most tokens of an episode: prompt, all turns of the agent, and what is said to it in between."""
    later = (task.max_turns - 1) * (task.max_reply_tokens + max_new_tokens) if task.max_turns > 1 else 0
    return max_prompt_tokens + max_new_tokens + later


class TokenAttributes(CoreAttributes):
    """Attributes of token-level environments that their core holds, besides those of all text environments."""

    _core: TokenCore

    @property
    def tokenizer(self) -> Tokenizer:
        """Return whose ids actions and observations are."""
        return self._core.tokenizer

    @property
    def max_prompt_tokens(self) -> int:
        """Largest number of prompt tokens."""
        return self._core.max_prompt_tokens

    @property
    def max_new_tokens(self) -> int:
        """Largest number of tokens of a turn of the agent."""
        return self._core.max_new_tokens

    @property
    def description(self) -> str:
        """Task, data, reward, model and budgets in one line."""
        budgets = f"{self.max_prompt_tokens:,} prompt + {self.max_new_tokens:,} new tokens"
        return f"{super().description}, tokens of {self.tokenizer.name}, {budgets}"
