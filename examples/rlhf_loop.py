"""Learning from human feedback in rounds: sample, ask, fit a reward, train on it, and ask again."""

import numpy as np

from textgym.agents import PPO, make_vec_env
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.feedback import SimulatedPerson, make_questions
from textgym.models.loading import load_language_model
from textgym.reward_models import PreferenceRewardModel
from textgym.tasks import Summarization, prompt_text
from textgym.types import episodes_of

task, rng, records, policy = Summarization(), np.random.default_rng(0), [], load_language_model("tiny")
person = SimulatedPerson(lambda texts, keys: task.gold(episodes_of([task.dataset.find(k) for k in keys], texts)), rng)
for number in range(3):
    asked = [task.dataset[int(place)] for place in rng.choice(len(task.dataset), 400, replace=False)]
    sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, seed=number)
    texts = sample_texts(policy, task, asked + asked, sampling).texts
    print("round", number, "gold", task.gold(episodes_of(asked + asked, texts)).mean())
    prompts, keys = [prompt_text(task, each) for each in asked], [each.key for each in asked]
    answers = person.answer(make_questions(prompts, keys, texts[: len(asked)], texts[len(asked) :]))
    records += [record for answer in answers for record in answer]
    reward = PreferenceRewardModel("tiny")
    print("held-out accuracy", reward.fit(records).accuracy)
    envs = make_vec_env("TextSumm-v0", n_envs=64, seed=number, reward=reward)
    agent = PPO("CausalLMPolicy", envs, learning_rate=2e-4, n_epochs=2, gae_lambda=1.0, kl_coef=0.02,
                scale_rewards=True, policy_kwargs={"model": policy}, seed=number)  # fmt: skip
    agent.learn(8 * 64 * 48)
    policy = agent.policy.model
policy.save_pretrained("rlhf-model")
