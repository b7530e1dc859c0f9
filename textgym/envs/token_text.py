"""Text generation token by token, one copy."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction

from textgym.envs.arguments import (
    TOKEN_ARGUMENTS,
    TaskSource,
    build_task_and_reward,
    check_arguments,
    start_model_of,
)
from textgym.envs.base import SingleTextEnv
from textgym.envs.limits import GivenUp, refuse_time_limit
from textgym.envs.token_core import TokenAttributes, TokenCore
from textgym.envs.types import Info, Observation, Options
from textgym.text.tokenizer import Tokenizer
from textgym.types import BoolArray, Data, NameOrPath, RewardFn, Split


class TokenTextEnv(TokenAttributes, SingleTextEnv[Observation, np.int64]):
    r"""Write a text token by token.

    ## Description
    A task gives a prompt, for instance a document to summarise. The agent appends one token per step until it writes
    an end-of-sequence token, a stop string appears, or its budget is used up. The finished text is then scored by a
    reward. This is a finite Markov decision process with a deterministic transition: the next state is the state
    plus the token. The same task exists as `...Episode-v0`, where the whole text is one action; for any text both pay
    the same return.

    ## Observation Space
    `Dict` with, for `L = max_prompt_tokens + max_new_tokens` and `V` = number of tokens:

    | Key | Space | Meaning |
    |---|---|---|
    | `input_ids` | `Box(0, V - 1, (L,), int64)` | prompt ids, then the tokens written so far, then padding |
    | `attention_mask` | `Box(0, 1, (L,), int8)` | 1 for prompt and response, 0 for padding |
    | `prompt_length` | `Box(0, L - max_new_tokens, (1,), int64)` | where the agent's turn begins: its ids come behind |

    The ids of the prompt are those of its whole text. For a model with a chat template, that text is what the template
    makes of the conversation (a list of messages in the data, or else one message of the user), with the beginning of
    the assistant's turn, as transformers' `apply_chat_template` writes it; where a template refuses a role, its
    messages become part of the first user turn. A task may have another prompt template for such models
    (`chat_prompt_template`), which rewards and people are not shown. The response is tokenised by itself.

    A prompt that is too long is cut as text, and encoded then: a conversation loses its oldest turns first, a question
    with its answer; then the document (of a conversation: the last message of the user) loses its end, back to a word
    boundary, or to a whole character where a text has no spaces; the system's message comes last. The instruction
    around a document stays. `info["prompt_truncated"]` says so. Special tokens that are spelled out in a text are plain
    text. Arrays are fresh copies.

    ## Action Space
    `textgym.spaces.TokenSpace(V)`, a `Discrete` that knows its tokenizer. Every token is legal at every step, padding
    and other special tokens too (they count as a token and add no text). A task may say which tokens make sense next:
    `info["action_mask"]` (int8, shape `(V,)`) and `action_masks()` tell it to algorithms that mask actions; the
    environment takes any.

    ## Rewards
    0 for every token but the last; at the last token the score of the whole text, from `reward`. The text that is
    scored is the one a user would see: cut before EOS and before the stop string, without special tokens, with no
    white space at its ends. The reward sees the whole prompt, not the cut one. An empty text is legal and scored.

    ## Starting State
    The prompt of a random example of the split: one 64-bit draw of `np_random`, modulo the number of examples.
    `reset(options={"task_key": key})` starts on a named example and draws nothing.

    ## Episode End
    `terminated` (never `truncated`: the budget is part of the task) when
    1. the token is one of the tokenizer's EOS tokens, among them the one with which its chat template ends a turn:
       `info["finish_reason"] == "eos"`,
    2. the response, without the spaces it begins with, contains a string of `stop`: `"stop"`,
    3. it has `max_new_tokens` tokens: `"length"`.

    A wrapper that ends an episode before (`TimeLimit`, `gym.make(..., max_episode_steps=...)`) leaves a text without a
    score, and is refused unless it leaves room for `max_new_tokens`: set that instead. Of a limit of another kind the
    environment warns when it sees texts given up; `textgym.testing.check_text_env` and
    `textgym.agents.GymVecEnv` refuse it.

    ## Several Turns
    In a task with `max_turns` above 1, the other side answers when a text ends (`reply` of the task), and the agent
    goes on behind the answer; the class docstring of `EpisodeTextEnv` has an example.

    * Observation: `L = max_prompt_tokens + max_new_tokens + (max_turns - 1) * (max_reply_tokens + max_new_tokens)`.
      With the last token of a turn, the ids grow by what is said to the agent, in one step; `prompt_length` is where
      its next turn begins. Between two turns stands what the model's chat template writes there; for models without
      one, lines such as `User: ...` and `Assistant:`. An answer of more than `max_reply_tokens` of the task is cut at
      its end.
    * Action: the next token of the agent's turn; what is said to it is never its action. Each turn has the budget
      `max_new_tokens`.
    * Reward: the last token of each turn has `turn_reward` of the task as reward; that of the last turn adds the score
      of `reward`, which sees that turn, with the conversation so far as its prompt.
    * End: `terminated` when `reply` returns `None`, or after `max_turns` turns. Infos before hold the action mask only.

    ## Info
    At reset `task_key` and `prompt_truncated`, at the end all of these but the last, nothing in between:

    | Key | Meaning |
    |---|---|
    | `task_key` | which example it is |
    | `prompt_truncated` | whether the prompt, or what was said to the agent, was cut to its budget |
    | `text` | the response (of several turns: the last one) as it was scored |
    | `turns` | everything that was said, as `role` and `content`; only in tasks of several turns |
    | `finish_reason` | `"eos"`, `"stop"` or `"length"` |
    | `is_success` | the task's own criterion of success, apart from the reward |
    | `rewards` | each part of the reward by name, before any weight; `turns`, if turns have any; `total`, the return |
    | `gold` | true quality of the text, whatever the reward; only where the data know it |
    | `action_mask` | which tokens make sense next, at every step; only in tasks that say so |

    ## Arguments
    * `data`: a built-in corpus, a file, a folder, a Hub id, or a list of examples or rows; the task's own if `None`.
    * `prompt_column`, `reference_column`: where prompts and references are in a file.
    * `prompt_template`: text around every prompt instead of the task's own, such as `"{prompt}\n\nReply:"`: `{prompt}`
      once, `{name}` for another column of the data, `{{` and `}}` for literal braces.
    * `split`: `"train"`, `"validation"` or `"test"`.
    * `model`: whose tokenizer it is: a shipped model such as `"tiny"`, a folder, or an id on the Hugging Face Hub; that
      of the task's start model if `None`. No weights are read.
    * `reward`: a name (`"learned"`, `"rouge"`, `"gold"`, `"success"`), `"module:attribute"`, a folder with a reward
      model, or a callable `reward(prompts, responses, examples) -> n numbers`; the task's default if `None`. Models
      load at the first score.
    * `max_prompt_tokens`, `max_new_tokens`: the budgets; the task's if `None`.
    * `stop`: strings that end a text; not part of it.
    * `render_mode`: `"ansi"` (`render()` returns prompt and response so far, at the end with a line of what the
      episode was worth), `"rgb_array"` (the same as an image of 720 x 576 pixels) or `"human"` (prints the prompt at
      `reset` and the rest at the end, without a call of `render()`, which prints them so far). Tokens are coloured by
      the numbers in `env.unwrapped.token_values`, one per token of the turn, which an agent may set.

    ## Version History
    * v0: first release.
    """

    def __init__(
        self,
        task: TaskSource,
        data: Data | None = None,
        prompt_column: str | None = None,
        reference_column: str | None = None,
        split: Split = "train",
        model: str | None = None,
        reward: RewardFn | NameOrPath | None = None,
        max_prompt_tokens: int | None = None,
        max_new_tokens: int | None = None,
        stop: Sequence[str] = (),
        render_mode: str | None = None,
        prompt_template: str | None = None,
        **others: object,
    ) -> None:
        chosen = check_arguments(task, others, TOKEN_ARGUMENTS, render_mode)
        made, scorer = build_task_and_reward(
            task, data, prompt_column, reference_column, split, reward, prompt_template, chosen
        )
        self._core = TokenCore(
            made,
            Tokenizer.load(model or start_model_of(made)),
            scorer,
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
            stop=stop,
        )
        self._given_up = GivenUp()
        self.render_mode = render_mode
        self.observation_space: gym.spaces.Dict = self._core.observation_space()  # type: ignore[assignment]
        self.action_space = self._core.action_space()

    def reset(self, *, seed: int | None = None, options: Options | None = None) -> tuple[Observation, Info]:
        """Start a new text on a random example, or on ``options["task_key"]``."""
        example, root = self._begin(seed, options)
        refuse_time_limit(self, self._core.max_steps)
        self._given_up.reset(self._core.written(0) if self._core.is_running(0) else 0)
        self._core.reset([0], [example], [root])
        self._print_start()
        return self._core.observe_row(0), self._masked(self._core.reset_info(0))

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, Info]:
        """Append one token, and behind the last one of a turn what is said to it.

        Raises:
            gymnasium.error.ResetNeeded: The episode has ended or not begun.
            gymnasium.error.InvalidAction: ``action`` is not an integer in ``[0, V)``.
        """
        if np.ndim(action) != 0:
            raise InvalidAction(
                f"expected one token id, got an array of shape {np.shape(action)}; pass a single integer"
            )
        finished = self._core.step(np.asarray(action).reshape(1))
        if not finished.size:
            return self._core.observe_row(0), 0.0, False, False, self._masked({})
        written = self._core.written(0)
        rewards, (ended,), (info,), _ = self._core.finish(finished)
        self._end_turn(info if ended else None)
        if not ended:
            return self._core.observe_row(0), float(rewards[0]), False, False, self._masked({})
        self._given_up.finish(written)
        return self._core.observe_row(0), float(rewards[0]), True, False, self._masked(info)

    def action_masks(self) -> BoolArray:
        """Return which tokens the task lets the agent write next, shape ``(V,)``; for algorithms that mask actions."""
        masks: BoolArray = self._core.action_masks()[0]
        return masks

    def _masked(self, info: Info) -> Info:
        """Add the action mask of a task that has one."""
        return info | {"action_mask": self.action_masks().astype(np.int8)} if self._core.has_masks else info
