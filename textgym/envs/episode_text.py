"""Text generation with the whole text as one action, one copy."""

from __future__ import annotations

from collections.abc import Sequence

from gymnasium.error import ResetNeeded

from textgym.envs.arguments import EPISODE_ARGUMENTS, TaskSource, build_task_and_reward, check_arguments, stops_of
from textgym.envs.base import SingleTextEnv
from textgym.envs.episode_core import EpisodeCore
from textgym.envs.types import Info, Options
from textgym.spaces import Text
from textgym.types import Data, NameOrPath, RewardFn, Split


class EpisodeTextEnv(SingleTextEnv[str, str]):
    r"""Write a whole text as one action.

    ## Description
    A task gives a prompt as text; the agent answers with a text, which is scored; the episode is over. This is a
    contextual bandit. The same task exists token by token under the id without `Episode`; for any text both pay the
    same return.

    ## Observation Space
    `textgym.spaces.Text()`: the whole prompt, uncut. Gymnasium's `AsyncVectorEnv` needs `shared_memory=False` for it.

    ## Action Space
    `textgym.spaces.Text()`: any Unicode text, the empty text included. It is cut before the first string of `stop` and
    its white space at both ends is dropped before it is scored.

    ## Rewards
    The score of the text, from `reward`.

    ## Starting State
    The prompt of a random example of the split: one 64-bit draw of `np_random`, modulo the number of examples.
    `reset(options={"task_key": key})` starts on a named example and draws nothing.

    ## Episode End
    `terminated` after the one step; `info["finish_reason"]` is `"stop"` if a stop string was in the text, else `"eos"`.

    ## Several Turns
    In a task with `max_turns` above 1, the other side answers (`reply` of the task), and the agent writes again.

    * Observation: the prompt and the conversation so far. What the other side says is a line `User: ...`, and the last
      line is `Assistant:`.
    * Action: the agent's next turn.
    * Reward: of each turn, `turn_reward` of the task; the last turn's adds the score of `reward`, which
      sees that turn, with the conversation so far as its prompt.
    * End: `terminated` when `reply` returns `None`, or after `max_turns` turns. Infos before are empty.
    * Randomness: what `reply` draws follows from the seed of the reset, the number of the episode since, and the number
      of the turn.

    >>> from textgym.tasks import TextTask
    >>> from textgym.types import Example, Message
    >>> class Guess(TextTask):
    ...     default_data = [Example(f"{n}", f"Up to {2 * n}?", (f"{n}",)) for n in range(1, 10)]
    ...     max_turns = 3
    ...     reward = "none"
    ...
    ...     def reply(self, episode, rng):
    ...         return None if self.is_success(episode) else [Message("user", "No.")]
    ...
    ...     def turn_reward(self, episode):
    ...         return float(self.is_success(episode))
    >>> env = EpisodeTextEnv(Guess)
    >>> env.reset(options={"task_key": "5"})
    ('Up to 10?', {'task_key': '5'})
    >>> env.step("3")
    ('Up to 10? 3\nUser: No.\nAssistant:', 0.0, False, False, {})
    >>> _, reward, terminated, _, info = env.step("5")
    >>> reward, terminated, [turn["content"] for turn in info["turns"]]
    (1.0, True, ['3', 'No.', '5'])

    ## Info
    At reset `task_key`, at the end all of these:

    | Key | Meaning |
    |---|---|
    | `task_key` | which example it is |
    | `text` | the answer (of several turns: the last one) as it was scored |
    | `turns` | everything that was said, as `role` and `content`; only in tasks of several turns |
    | `finish_reason` | `"eos"` or `"stop"` |
    | `is_success` | the task's own criterion of success, apart from the reward |
    | `rewards` | each part of the reward by name, before any weight; `turns`, if turns have any; `total`, the return |
    | `gold` | true quality of the text, whatever the reward; only where the data know it |

    ## Arguments
    * `data`: a built-in corpus, a file, a folder, a Hub id, or a list of examples or rows; the task's own if `None`.
    * `prompt_column`, `reference_column`: where prompts and references are in a file.
    * `prompt_template`: text around every prompt instead of the task's own, such as `"{prompt}\n\nReply:"`: `{prompt}`
      once, `{name}` for another column of the data, `{{` and `}}` for literal braces.
    * `split`: `"train"`, `"validation"` or `"test"`.
    * `reward`: a name (`"learned"`, `"rouge"`, `"gold"`, `"success"`), `"module:attribute"`, a folder with a reward
      model, or a callable `reward(prompts, responses, examples) -> n numbers`; the task's default if `None`. Models
      load at the first score.
    * `stop`: strings that end a text; not part of it.
    * `render_mode`: `"ansi"` (`render()` returns prompt and response, at the end with a line of what the episode was
      worth), `"rgb_array"` (the same as an image of 720 x 576 pixels) or `"human"` (prints the prompt at `reset` and
      the rest at the end, without a call of `render()`).

    There are no token budgets and there is no `model` here: this grain knows no tokens.

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
        reward: RewardFn | NameOrPath | None = None,
        stop: Sequence[str] = (),
        render_mode: str | None = None,
        prompt_template: str | None = None,
        **others: object,
    ) -> None:
        chosen = check_arguments(task, others, EPISODE_ARGUMENTS, render_mode)
        made, scorer = build_task_and_reward(
            task, data, prompt_column, reference_column, split, reward, prompt_template, chosen
        )
        self._core: EpisodeCore = EpisodeCore(made, scorer, stops_of(stop))
        self._running = False
        self.render_mode = render_mode
        self.observation_space = Text()
        self.action_space = Text()

    def reset(self, *, seed: int | None = None, options: Options | None = None) -> tuple[str, Info]:
        """Show the prompt of a random example, or of ``options["task_key"]``."""
        example, root = self._begin(seed, options)
        self._core.conversations.start([0], [example], [root])
        self._running = True
        self._print_start()
        return self._core.conversations.shown(0), {"task_key": example.key}

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Write a whole turn; at the end of the episode, the observation stays what it was.

        Raises:
            gymnasium.error.ResetNeeded: The episode has ended or not begun.
            gymnasium.error.InvalidAction: ``action`` is not a text.
        """
        if not self._running:
            raise ResetNeeded("expected a running episode, got a step before reset() or after the end; call reset()")
        rewards, (ended,), (info,), _ = self._core.step([action])
        self._running = not ended
        self._end_turn(info if ended else None)
        return self._core.conversations.shown(0), float(rewards[0]), bool(ended), False, info
