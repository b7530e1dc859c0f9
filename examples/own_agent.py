"""An agent of your own at the episode level: a bandit that learns which sentence of a document to repeat."""

import gymnasium as gym
import numpy as np

import textgym  # noqa: F401

env = gym.make("TextSummEpisode-v0", reward="rouge")
rng, totals, counts = np.random.default_rng(0), np.zeros(4), np.zeros(4)
document, info = env.reset(seed=0)
for _ in range(1000):
    arm = rng.integers(4) if rng.random() < 0.1 else int(np.argmax(totals / np.maximum(counts, 1)))
    sentence = (document.split("\n\nSummary:")[0].split(". ") + [""] * 4)[arm]
    _, reward, terminated, truncated, info = env.step(sentence)
    totals[arm], counts[arm] = totals[arm] + float(reward), counts[arm] + 1
    document, _ = env.reset()
print("mean ROUGE-L by sentence:", (totals / np.maximum(counts, 1)).round(3), "chosen:", counts)
