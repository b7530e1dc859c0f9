"""Train an encoder-decoder from nothing: a small T5 learns to translate, first from drafts and then from rewards.

The drafts of ``TextTranslate`` are those of learners, who get word order, cases and verbs right in three of ten, and
so does a model that imitates them. PPO is rewarded for what is right, and finds it. Takes some minutes on one CPU core:

    python examples/encoder_decoder.py
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from textgym.agents import PPO, SFT, make_vec_env
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.models.text_model import TextModel
from textgym.tasks import Translate, prompt_text
from textgym.types import Interval

ENV_ID = "TextTranslate-v0"
Scores = Mapping[float, Interval]  # temperature -> mean adequacy


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    vocabulary: int = 800
    """tokens of the tokenizer"""
    width: int = 128
    """size of the hidden states"""
    layers: int = 2
    """layers of the encoder, and of the decoder"""
    examples: int = 20_000
    """sentences with a draft to imitate"""
    sft_steps: int = 1_500
    """optimizer steps of supervised fine-tuning, on 64 drafts each"""
    total_timesteps: int = 60_000
    """tokens to train on with PPO"""
    n_envs: int = 64
    """parallel environments"""
    learning_rate: float = 3e-4
    """peak step size of PPO"""
    eval_prompts: int = 200
    """held-out sentences to measure on, before and after PPO"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/encoder-decoder")
    """folder of the models and the plot"""


def build(args: Args, folder: Path) -> None:
    """Write a T5 with random weights and a tokenizer of its own, as a Hugging Face folder."""
    special = ["<pad>", "</s>", "<unk>"]
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    # Words carry a mark where a space was, as in T5's own tokenizer; full stops are tokens by themselves.
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    backend.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=args.vocabulary, special_tokens=special, show_progress=False)
    backend.train_from_iterator(texts(args.examples), trainer)
    # T5 ends a text that it reads with EOS.
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    torch.manual_seed(args.seed)
    config = T5Config(
        vocab_size=backend.get_vocab_size(),
        d_model=args.width,
        num_heads=4,
        d_kv=args.width // 4,
        d_ff=4 * args.width,
        num_layers=args.layers,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,  # a response follows the pad token, as in all T5
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)


def texts(count: int) -> Iterator[str]:
    """Yield sentences with the text around them, and their translations, good ones and drafts."""
    task = Translate()
    for example in map(task.dataset.__getitem__, range(count)):
        yield from (prompt_text(task, example), *example.references, *example.demonstrations)


def imitate(args: Args, start: Path) -> TextModel:
    """Fine-tune on the learners' drafts."""
    env = make_vec_env(ENV_ID, model=str(start))
    agent = SFT.create(env, start, limit=args.examples, batch_size=64, learning_rate=2e-3, seed=args.seed)
    agent.learn(args.sft_steps)
    return agent.text_model


def improve(args: Args, start: Path) -> PPO:
    """Train on the adequacy of the texts: PPO, with the model as its policy."""
    env = make_vec_env(ENV_ID, args.n_envs, seed=args.seed, model=str(start), reward="gold")
    agent = PPO(
        "Seq2SeqLMPolicy",
        env,
        learning_rate=args.learning_rate,
        gae_lambda=1.0,
        policy_kwargs={"model": str(start)},
        seed=args.seed,
    )
    agent.learn(args.total_timesteps)
    return agent


def measure(args: Args, model: TextModel) -> Scores:
    """Measure the mean adequacy on held-out sentences: sampled, and where the most likely token is always taken."""
    sets = {t: make_evaluation_set(ENV_ID, "gold", args.eval_prompts, args.seed, temperature=t) for t in (1.0, 0.0)}
    return {t: evaluate(model, questions).measures.intervals()["gold"] for t, questions in sets.items()}


def plot(history: Sequence[Mapping[str, float]], scores: Mapping[str, Scores], out: Path) -> None:
    """Draw the reward through training, and the adequacy before and after with its 95 % intervals."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    training, held_out = figure.subplots(1, 2, sharey=True)
    training.plot([row["timesteps"] for row in history], [row["reward"] for row in history])
    training.set(xlabel="tokens", ylabel="adequacy", title="while PPO trains")
    for offset, (moment, found) in enumerate(scores.items()):
        means = [each.mean for each in found.values()]
        errors = [[each.mean - each.low for each in found.values()], [each.high - each.mean for each in found.values()]]
        held_out.bar([place + 0.4 * offset for place in range(len(means))], means, 0.4, yerr=errors, label=moment)
    held_out.set(title="held-out sentences", xticks=[0.2, 1.2], xticklabels=[f"temperature {t:g}" for t in (1, 0)])
    held_out.legend()
    figure.savefig(out)


def main(args: Args) -> dict[str, Scores]:
    """Build, imitate, measure, improve, measure again, and keep both models."""
    build(args, args.out / "random")
    model = imitate(args, args.out / "random")
    model.save_pretrained(args.out / "sft")
    scores = {"before": measure(args, model)}
    agent = improve(args, args.out / "sft")
    scores["after"] = measure(args, agent.text_model)
    agent.text_model.save_pretrained(args.out / "ppo")  # opens with AutoModelForSeq2SeqLM.from_pretrained
    plot(agent.history, scores, args.out / "adequacy.png")
    return scores


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    for moment, found in main(args).items():
        shown = (f"T = {t:g}: {each.mean:.3f} [{each.low:.3f}, {each.high:.3f}]" for t, each in found.items())
        print(f"{moment:>7}  {'  '.join(shown)}")
    print(f"plot: {args.out / 'adequacy.png'}")
