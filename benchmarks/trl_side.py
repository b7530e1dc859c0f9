"""One training by TRL, as a job file describes it: what ``textgym bench trl`` runs in TRL's own environment.

    python -P benchmarks/trl_side.py JOB.json
    python -P benchmarks/trl_side.py          # print what there is: the version, and whether it has PPO

Of textgym it needs :mod:`textgym.trl` only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from textgym.trl import TrlEnv

PPO_MODULE = "trl.experimental.ppo"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Job:
    """A training of TRL; settings that have a counterpart in textgym have its value.

    Attributes:
        method: ``"ppo"``, ``"grpo"`` or ``"rloo"``.
        env_id, reward: Environment whose completions are scored, and its reward.
        model: Folder of the start model.
        folder: Folder for the trained model and the outcome.
        rows: Rows of the data set, in the order in which they are trained on; each is a prompt.
        texts: Texts of a rollout.
        group: Texts for each prompt.
        minibatches, epochs: Optimizer steps per pass over a rollout, and passes.
        response: Most tokens of a response.
        learning_rate, kl_coef: Peak learning rate, which falls to 0 linearly, and KL penalty coefficient.
        seed, threads: Seed, and threads of torch.
    """

    method: str
    env_id: str
    reward: str
    model: str
    folder: str
    rows: Sequence[Mapping[str, Any]]
    texts: int
    group: int
    minibatches: int
    epochs: int
    response: int
    learning_rate: float
    kl_coef: float
    seed: int
    threads: int

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")


class WatchedEnv:
    """A reward function of TRL that counts the tokens of the completions it scores."""

    def __init__(self, job: Job) -> None:
        self.env, self.tokens, self.__name__ = TrlEnv(job.env_id, job.reward), 0, job.reward

    def __call__(self, prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float]:
        """Score completions."""
        self.tokens += sum(map(len, completion_ids))
        return self.env(prompts, completions, **columns)


class RewardNetwork(nn.Module):
    """A reward function in the form of the reward model that TRL's PPO asks for: a backbone, and a head behind it."""

    base_model_prefix = "backbone"

    def __init__(self, reward: WatchedEnv, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> None:
        super().__init__()
        self.backbone, self.score = RewardBackbone(reward, rows, tokenizer), nn.Identity()


class RewardBackbone(nn.Module):
    """Scores the text of a row, whose prompt is one of ``rows``, as the hidden state of all its tokens."""

    def __init__(self, reward: WatchedEnv, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> None:
        super().__init__()
        self.reward, self.tokenizer = reward, tokenizer
        self.rows = {row["prompt"]: row for row in rows}

    def forward(self, input_ids: Tensor, **others: Any) -> Any:
        """Return hidden states (B, T, 1); pads have id 0, which decoding skips."""
        texts = self.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        asked = [next(self.rows[prompt] for prompt in self.rows if text.startswith(prompt)) for text in texts]
        prompts = [row["prompt"] for row in asked]
        written = [text.removeprefix(prompt) for text, prompt in zip(texts, prompts, strict=True)]
        prompt_ids = self.tokenizer(prompts)["input_ids"]
        lengths = (input_ids != self.tokenizer.pad_token_id).sum(1).tolist()
        ids = [[0] * (length - len(own)) for length, own in zip(lengths, prompt_ids, strict=True)]
        columns = {name: [row[name] for row in asked] for name in ("task_key", "task_split")}
        scores = torch.tensor(self.reward(prompts, written, ids, **columns))
        return HiddenStates([scores[:, None, None].expand(*input_ids.shape, 1)])


@dataclass(frozen=True, slots=True)
class HiddenStates:
    """The part of a model's output that TRL's PPO reads."""

    hidden_states: Sequence[Tensor]


def main() -> None:
    """Describe TRL, or do a job and write its outcome as ``outcome.json`` into the folder of the job."""
    if len(sys.argv) == 1:
        has_ppo = importlib.util.find_spec(PPO_MODULE) is not None
        print(json.dumps({"version": version("trl"), "ppo": has_ppo}))
        return
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    reward = WatchedEnv(job)
    trainer = _ppo_trainer(job, reward) if job.method == "ppo" else _group_trainer(job, reward)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    folder = Path(job.folder)
    trainer.save_model(str(folder / "model"))
    for name in _TOKENIZER:  # as it was: transformers writes another form of it, and KLs are of one tokenizer
        shutil.copy(Path(job.model) / name, folder / "model" / name)
    outcome = {"seconds": seconds, "tokens": reward.tokens}
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def _group_trainer(job: Job, reward: WatchedEnv) -> Any:
    import trl
    from datasets import Dataset

    rollouts = len(job.rows) * job.group // job.texts
    own = {"loss_type": "grpo", "scale_rewards": "group"} if job.method == "grpo" else {}
    kinds = {"grpo": (trl.GRPOConfig, trl.GRPOTrainer), "rloo": (trl.RLOOConfig, trl.RLOOTrainer)}
    config_class, trainer_class = kinds[job.method]
    config = config_class(
        **_common_settings(job),
        **own,
        per_device_train_batch_size=job.texts // job.minibatches,
        steps_per_generation=job.minibatches,
        num_iterations=job.epochs,
        num_generations=job.group,
        max_completion_length=job.response,
        max_steps=rollouts * job.minibatches * job.epochs,
        beta=job.kl_coef,
        epsilon=0.2,
        shuffle_dataset=False,
        model_init_kwargs={"dtype": "float32"},
    )
    return trainer_class(job.model, reward, args=config, train_dataset=Dataset.from_list(list(job.rows)))


def _ppo_trainer(job: Job, reward: WatchedEnv) -> Any:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # it warns of the import itself
    from datasets import Dataset

    ppo: Any = importlib.import_module(PPO_MODULE)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    config = ppo.PPOConfig(
        **_common_settings(job),
        per_device_train_batch_size=job.texts,
        gradient_accumulation_steps=1,
        num_mini_batches=job.minibatches,
        num_ppo_epochs=job.epochs,
        total_episodes=len(job.rows) // job.texts * job.texts,
        local_rollout_forward_batch_size=job.texts,
        response_length=job.response,
        stop_token="eos",
        kl_coef=job.kl_coef,
        vf_coef=0.1,
        lam=0.95,
        num_sample_generations=0,
    )
    policy, reference = (AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32) for _ in range(2))
    value = AutoModelForSequenceClassification.from_pretrained(job.model, dtype=torch.float32, num_labels=1)
    nn.init.zeros_(value.score.weight)  # as textgym's value head begins
    return ppo.PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=RewardNetwork(reward, job.rows, tokenizer),
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": tokenizer([row["prompt"] for row in job.rows])["input_ids"]}),
    )


def _common_settings(job: Job) -> dict[str, Any]:
    """Return the settings that all of TRL's trainers share."""
    return {
        "output_dir": str(Path(job.folder) / "run"),
        "temperature": 1.0,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused",
        "adam_epsilon": 1e-5,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": job.seed,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


if __name__ == "__main__":
    main()
