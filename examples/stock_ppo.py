"""Fine-tune a language model with the stock PPO of Stable-Baselines3, on a learned reward."""

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from textgym.agents import CausalLMPolicy, EpisodeRolloutBuffer, make_vec_env
from textgym.metrics import mean_interval

train, test = (make_vec_env("TextSumm-v0", n_envs=64, seed=0, split=split) for split in ("train", "test"))
model = PPO(CausalLMPolicy, train, learning_rate=2e-4, n_steps=48, batch_size=768, n_epochs=2, gamma=1.0,
            gae_lambda=1.0, seed=0, rollout_buffer_class=EpisodeRolloutBuffer)  # fmt: skip
for title, steps in (("before", 0), ("after", 43_000)):
    model.learn(steps, progress_bar=True)
    rewards, _ = evaluate_policy(model, test, 300, deterministic=False, return_episode_rewards=True)
    print(title, mean_interval(rewards))
model.save("summarizer")
print(PPO.load("summarizer", env=test).predict(test.reset())[0][:8])
model.policy.save_pretrained("summarizer-hf")  # a Hugging Face folder
