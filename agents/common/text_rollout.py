"""The rollout of a language model: until a number of steps or of finished texts is reached."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.carried_texts import read_carried, staleness
from textgym.agents.common.decisions import Decision
from textgym.agents.common.observations import require_texts, to_tensors
from textgym.agents.common.rollout_buffer import Segment
from textgym.agents.common.rollout_plans import RolloutPlan, UnfinishedTexts, WholeTexts, make_plan
from textgym.agents.common.text_agent import Finished, TextAgent
from textgym.envs.types import Info
from textgym.models.batch import EpisodeBatch
from textgym.models.stored_values import StoredRecord
from textgym.text.batching import length_batches
from textgym.types import BoolArray, FloatArray, IntArray


class TextRolloutAlgorithm(TextAgent):
    """An on-policy algorithm whose rollouts end after a number of steps or of whole texts.

    The loop is that of Stable-Baselines3. It remembers the state at its beginning, keeps the infos of finished texts,
    and computes no value that nobody needs.

    Attributes:
        rollout_texts: Texts of a rollout, in all environments together; ``None``: it ends after ``n_steps`` steps.
        unfinished_texts: Treatment of texts that the end of ``n_steps`` steps finds unfinished.
        batch_size, micro_batch_size: Transitions that are read at once, about; the second one counts if given.
        seconds: Time of the last iteration by part: rollout, reference, update.
    """

    rollout_texts: int | None
    unfinished_texts: UnfinishedTexts
    batch_size: int
    micro_batch_size: int | None
    _last_episode_starts: np.ndarray  # (B,)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        # Stable-Baselines3 counts the rollout just made, so that a rate that decays to 0 wastes the last iteration.
        super()._update_current_progress_remaining(num_timesteps - self.rollout_tokens, total_timesteps)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Collect a rollout, then shape its rewards; arguments as in Stable-Baselines3."""
        self._remember_start()
        self.finished, self.seconds = [], defaultdict(float)
        with self._timed("rollout"):
            going_on = self._roll_out(env, callback, n_rollout_steps)
        if going_on:
            self._is_updating = True  # from here on weights and coefficients change
            with self._timed("reference"):
                self.shape_rewards()
        return going_on

    def _roll_out(self, env: VecEnv, callback: BaseCallback, n_rollout_steps: int) -> bool:
        """Fill the buffer; false if the callback stops training."""
        buffer, n_steps, plan = self.rollout_buffer, 0, self.plan_rollout(env, n_rollout_steps)
        self.policy.set_training_mode(False)
        buffer.reset()
        callback.on_rollout_start()
        self.begin_rollout(env, plan)
        buffer.bring_back(self._last_episode_starts)
        counted: list[BoolArray] = []
        while not plan.is_over():
            actions, values, log_probs = self._choose_actions(~plan.counts)
            tokens = actions.cpu().numpy()
            new_obs, rewards, dones, infos = env.step(tokens)
            self.num_timesteps += self.all_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones & plan.counts)
            counted.append(plan.counts)
            ended = np.flatnonzero(dones & plan.counts).tolist()
            self.finished += [Finished(buffer.pos, row, infos[row]) for row in ended]
            plan.step(dones)
            self._add_values_of_truncated_texts(rewards, dones, infos)
            buffer.add(self._texts, tokens, rewards, self._last_episode_starts, values, log_probs)
            self._last_obs, self._last_episode_starts = require_texts(new_obs), dones
            n_steps += 1
        buffer.end_rollout(np.stack(counted))
        if plan.carries:
            buffer.set_aside(dones)
        self.rollout_tokens = int(self.everywhere(np.array([n_steps * env.num_envs])).sum())
        self.num_timesteps += self.rollout_tokens - n_steps * self.all_envs  # others made more steps, or fewer
        last_values = self._last_values(dones if plan.cuts else np.ones_like(dones))
        if self.policy.critic is not None:
            # A separate critic's pass over whole texts costs less than one per token, and nobody needs values before.
            buffer.values = self._score_rollout(lambda batch, _: self.policy.critic_values(batch)).astype(np.float32)
        buffer.compute_returns_and_advantage(last_values, dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    @property
    def _texts(self) -> dict[str, np.ndarray]:
        """The texts so far, as the environments showed them last."""
        return require_texts(self._last_obs)

    def plan_rollout(self, env: VecEnv, n_steps: int) -> RolloutPlan:
        """Return the plan of the next rollout: as many whole texts, or about as many steps."""
        if self.rollout_texts is not None:
            return WholeTexts(env.num_envs, self.rollout_texts // self.all_envs)
        return make_plan(self.unfinished_texts, env.num_envs, n_steps)

    def begin_rollout(self, env: VecEnv, plan: RolloutPlan) -> None:
        """Let a rollout of whole texts begin with new prompts, where texts are under way."""
        if plan.begins_anew and not np.all(self._last_episode_starts):
            self.begin_new_texts(env)

    def begin_new_texts(self, env: VecEnv) -> None:
        """Begin with new prompts in all environments."""
        self._last_obs = require_texts(env.reset())
        self._last_episode_starts = np.ones(env.num_envs, dtype=bool)
        self._tokens_so_far = np.zeros(env.num_envs, dtype=np.int64)

    def own_record(self) -> StoredRecord:
        """Return the texts that were set aside, where rollouts do that."""
        if not self.unfinished_texts.startswith("carry"):
            return {}
        return {"carried": [text.to_record() for text in self.rollout_buffer.carried]}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Go on from what :meth:`own_record` returned."""
        actions, shape = int(self.policy.action_space.n), self.policy.observation_space["input_ids"].shape
        assert shape is not None
        self.rollout_buffer.carried = read_carried(record.get("carried") or [], self.n_envs, actions, width=shape[0])

    def _describe_unfinished(self) -> dict[str, float]:
        """Return the numbers to log about the unfinished texts of the rollout, and of the one before."""
        buffer = self.rollout_buffer
        match self.unfinished_texts:
            case "bootstrap":
                return {}
            case "drain":
                return {"dropped": 1 - float(self.everywhere(buffer.counted.reshape(-1)).mean())}
            case "carry" | "carry_recompute":
                return staleness(self.everywhere(buffer.ages[buffer.counted]))

    @torch.no_grad()
    def _choose_actions(self, skipped: BoolArray) -> Decision:
        """Sample the next tokens; values of a separate critic come after the rollout.

        Args:
            skipped: (B,) environments that have written their share, which only have to be given some token.
        """
        with_values = self.policy.critic is None
        return self.policy.act(
            to_tensors(self._texts), with_values=with_values, skipped=skipped if skipped.any() else None
        )

    @torch.no_grad()
    def _last_values(self, dones: BoolArray) -> Tensor:
        """Values (B, 1) after the last step. Those of texts that ended, of the next prompts, count for nothing."""
        return self.policy.predict_values(to_tensors(self._texts), dones)

    @torch.no_grad()
    def _add_values_of_truncated_texts(self, rewards: FloatArray, dones: BoolArray, infos: list[Info]) -> None:
        """Add its discounted value to the reward of a text that a time limit cut (SB3's issue 633)."""
        for row in np.flatnonzero(dones):
            if infos[row].get("TimeLimit.truncated", False) and infos[row].get("terminal_observation") is not None:
                last = {name: np.asarray(array)[None] for name, array in infos[row]["terminal_observation"].items()}
                rewards[row] += float(self.gamma * self.policy.predict_values(to_tensors(last))[0, 0])

    def shape_rewards(self) -> None:
        """Change the rewards of the rollout before the update, and compute returns and advantages again."""

    @torch.no_grad()
    def _score_rollout(self, score: Callable[..., Tensor]) -> FloatArray:
        """Numbers (T, B) of the transitions, ``score(batch, actions)`` of passes over whole texts; 0 if not counted."""
        numbers = np.zeros(self.rollout_buffer.actions.shape[:2], dtype=np.float64)
        for batch, actions, places in self._passes(self.rollout_buffer.segments()):
            numbers.reshape(-1)[places] = score(batch, actions).flatten().cpu().numpy()
        return numbers

    @torch.no_grad()
    def _rescore(self, chosen: BoolArray) -> None:
        """Recompute log-probabilities and values of some transitions, ``chosen`` (T, B), with the current policy."""
        buffer = self.rollout_buffer
        segments = [each for each in buffer.segments() if chosen[each.start : each.stop, each.env].any()]
        for batch, actions, places in self._passes(segments):
            values, log_probs, _ = self.policy.evaluate_actions(batch, actions)
            renewed = chosen.reshape(-1)[places]
            buffer.values.reshape(-1)[places[renewed]] = values.flatten().float().cpu().numpy()[renewed]
            buffer.log_probs.reshape(-1)[places[renewed]] = log_probs.float().cpu().numpy()[renewed]

    def _passes(self, segments: Sequence[Segment]) -> Iterator[tuple[EpisodeBatch, Tensor, IntArray]]:
        """Yield batches of segments of like lengths: texts, their actions (N,), and places in the buffer (N,)."""
        buffer = self.rollout_buffer
        steps = [segment.stop - segment.start for segment in segments]
        lengths = [len(segment.prefix) + count for segment, count in zip(segments, steps, strict=True)]
        at_once = self.micro_batch_size or self.batch_size
        for rows in length_batches(lengths, at_once, longest_first=False, costs=steps):
            batch, places = buffer.episode_batch([segments[row] for row in rows])
            yield batch, torch.from_numpy(buffer.actions.reshape(-1)[places]).to(self.device), places
