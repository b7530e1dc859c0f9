from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import transformers
from stable_baselines3.common.callbacks import BaseCallback

import textgym
from tests.chat_templates import NO_SYSTEM_ROLE, TEMPLATES, TERMINATORS, write_chat_folder
from textgym.agents.sft import SFT, TokenPair, encode_pairs, response_loss, supervised_fine_tune
from textgym.errors import DataError, ModelError
from textgym.evaluation.sampling import encode_prompts
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate
from textgym.models.loading import load_language_model
from textgym.naming import options_named
from textgym.reward_models.encoding import TextEncoder
from textgym.tasks import TextTask, prompt_of, prompt_text
from textgym.tasks.base import shown_of
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example

PAIRS = [TokenPair([5, 6, 7], [8, 9, 1]), TokenPair([3], [4, 4, 4, 4, 1]), TokenPair([0, 0, 2, 5, 5], [1])]


@pytest.fixture
def model(make_network: Any) -> CausalLM:
    return CausalLM(make_network())


class Documents:
    name = "documents"
    split = "train"

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


class TemplateTask(TextTask):
    prompt_template = "Read: {prompt}\n\nSummary:"
    max_prompt_tokens = 30

    def __init__(self) -> None:
        """It needs no data."""


class KeyTask(TemplateTask):
    """A formatter that is more than its template."""

    def prompt(self, example: Example) -> str:
        return f"[{example.key}] {example.prompt}\n"


def by_hand(model: CausalLM, pairs: list[TokenPair]) -> float:
    """Mean negative log-likelihood of the response tokens, one text at a time by the bare model."""
    losses = []
    for prompt, response in pairs:
        text = [*prompt, *response]
        with torch.no_grad():
            log_probs = model.network(input_ids=torch.tensor([text])).logits[0].log_softmax(-1)
        losses += [-float(log_probs[len(prompt) + k - 1, token]) for k, token in enumerate(response)]
    return float(np.mean(losses))


def test_the_loss_counts_response_tokens_only(model: CausalLM) -> None:
    loss = response_loss(model, PAIRS)
    assert loss.item() == pytest.approx(by_hand(model, PAIRS), abs=1e-4)
    # 3 + 5 + 1 tokens: a mean over tokens, not over texts
    single = [by_hand(model, [pair]) for pair in PAIRS]
    assert loss.item() == pytest.approx((3 * single[0] + 5 * single[1] + single[2]) / 9, abs=1e-4)


def test_the_order_of_texts_and_their_padding_do_not_matter(model: CausalLM) -> None:
    assert response_loss(model, PAIRS[::-1]).item() == pytest.approx(response_loss(model, PAIRS).item(), abs=1e-5)
    long = TokenPair([7] * 30, [8])
    both = response_loss(model, [PAIRS[1], long]).item()
    assert both == pytest.approx((5 * by_hand(model, [PAIRS[1]]) + by_hand(model, [long])) / 6, abs=1e-4)


def test_prompt_share(model: CausalLM) -> None:
    every = response_loss(model, PAIRS, 1.0, np.random.default_rng(0)).item()
    whole = [TokenPair(pair.prompt[:1], pair.prompt[1:] + pair.response) for pair in PAIRS]
    assert every == pytest.approx(by_hand(model, whole), abs=1e-4)
    some = {response_loss(model, PAIRS, 0.5, np.random.default_rng(seed)).item() for seed in range(4)}
    assert len(some) > 1


def test_the_padded_vocabulary_takes_no_part(make_network: Any) -> None:
    model = CausalLM(make_network())
    model.restrict_vocabulary(377)
    with torch.no_grad():
        model.network.get_output_embeddings().weight[377:] = 100.0
    log_probs = model.network(input_ids=torch.tensor([[5, 6, 7, 8]])).logits[0, 2, :377].log_softmax(-1)
    loss = response_loss(model, [TokenPair([5, 6, 7], [8])])
    assert loss.item() == pytest.approx(-float(log_probs[8].detach()), abs=1e-4)


def test_pairs(tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    documents: Any = Documents(
        [
            Example("a", "The council met.", references=("It met.",), demonstrations=("One.", "Two.")),
            Example("b", "A storm.", references=("Wind.",)),
            Example("c", "No answer."),
        ]
    )
    task: Any = TemplateTask()
    pairs = encode_pairs(task, documents, tokenizer)
    prompt = tokenizer.encode("Read: The council met.\n\nSummary:")
    assert pairs[0] == TokenPair(prompt, [*tokenizer.encode(" One."), 1])
    assert [tokenizer.decode(pair.response) for pair in pairs] == ["One.", "Two.", "Wind."]
    assert [pair.response[-1] for pair in pairs] == [1, 1, 1]
    assert len(encode_pairs(task, documents, tokenizer, limit=1)) == 2
    with pytest.raises(DataError, match="expected references to imitate in 'documents'"):
        encode_pairs(task, documents, tokenizer, limit=0)
    without: Any = Documents([Example("c", "No answer.", extra={"kind": "lost", "reply": "We look."})])
    with pytest.raises(
        DataError, match=r"name their column with reference_column=\.\.\. \(columns beside the prompts: kind, reply\)"
    ):
        encode_pairs(task, without, tokenizer)
    with (
        options_named({"reference_column": "--reference-column"}),
        pytest.raises(DataError, match="--reference-column"),
    ):
        encode_pairs(task, without, tokenizer)


def test_a_short_context_cuts_prompts_and_never_responses(tokenizer_folder: Path) -> None:
    tokenizer, task = Tokenizer.load(tokenizer_folder), TemplateTask()
    body, texts = "The council met on Tuesday.", ("It met.", "The council met on Tuesday and voted.")
    documents: Any = Documents([Example("a", body, texts)])
    frame = len(tokenizer.encode("Read: ")) + len(tokenizer.encode("\n\nSummary:"))
    responses = [[*tokenizer.encode_response(text), 1] for text in texts]
    context = frame + len(responses[0]) + 3  # room for three tokens of the document with the shorter response
    assert len(responses[1]) > len(responses[0]) + 3
    with pytest.warns(UserWarning, match=f"left out 1 of 2 references in 'documents': .* context of {context} tokens"):
        pairs = encode_pairs(task, documents, tokenizer, context_length=context)
    cut = tokenizer.encode_prompt("Read: ", body, "\n\nSummary:", context - len(responses[0]))
    assert cut.truncated
    assert pairs == [TokenPair(cut.ids, responses[0])]
    assert encode_pairs(task, documents, tokenizer, context_length=200) == encode_pairs(task, documents, tokenizer)
    with pytest.raises(DataError, match="at most 5 tokens with their prompts in 'documents', got none; shorten"):
        encode_pairs(task, documents, tokenizer, context_length=5)


def test_texts_beyond_the_context_are_an_error(make_network: Any) -> None:
    model = CausalLM(make_network("gpt2"))  # 64 positions
    supervised_fine_tune(model, [TokenPair([5] * 60, [6, 7, 8, 1])], steps=1)
    with pytest.raises(ModelError, match="at least 65 tokens for the longest text to imitate, got 64"):
        supervised_fine_tune(model, [*PAIRS, TokenPair([5] * 60, [6, 7, 8, 9, 1])], steps=1)


def test_a_tokenizer_without_an_end(tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())
    documents: Any = Documents([Example("b", "A storm.", ("Wind.",))])
    with pytest.raises(ModelError, match="end-of-text token"):
        encode_pairs(TemplateTask(), documents, Tokenizer.load(tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [TemplateTask, KeyTask])
def test_prompts_are_those_of_the_environment(kind: Any, tokenizer_folder: Path) -> None:
    """One formatter for supervised training, RL and evaluation; too long ones are cut alike."""
    tokenizer, task = Tokenizer.load(tokenizer_folder), kind()
    examples = [
        Example("k1", "The council met.", ("x",)),
        Example("k2", "word " * 90, ("y",)),
        Example("k3", "", ("z",)),
    ]
    pairs = encode_pairs(task, Documents(examples), tokenizer)  # type: ignore[arg-type]
    for example, pair in zip(examples, pairs, strict=True):
        prompt = prompt_of(task, example)
        assert prompt.prefix + prompt.body + prompt.suffix == prompt_text(task, example)
        assert pair.prompt == tokenizer.encode_prompts([prompt], 30)[0].ids
        assert len(pair.prompt) <= 30


def test_learns_to_answer(make_network: Any) -> None:
    model = CausalLM(make_network(scale=1.0))
    pairs = [TokenPair([k, 3], [k + 100, k + 101, 1]) for k in range(10, 18)]
    steps: list[int] = []
    losses = supervised_fine_tune(
        model, pairs, steps=80, batch_size=8, learning_rate=1e-2, progress=lambda step, _: steps.append(step)
    )
    assert steps == list(range(80))
    assert losses[0] == pytest.approx(math.log(384), abs=0.5)
    assert losses[-1] < 0.1
    answers = generate(model, [pair.prompt for pair in pairs], max_new_tokens=6, eos_ids=[1], temperature=0)
    assert answers == [pair.response for pair in pairs]


def test_seeds(make_network: Any) -> None:
    pairs = [TokenPair([k], [k + 1, 1]) for k in range(2, 40)]

    def train(seed: int) -> list[float]:
        model = CausalLM(make_network())
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index, union-attr]
        losses = supervised_fine_tune(model, pairs, steps=5, batch_size=4, prompt_share=0.3, seed=seed)
        assert (before[0] == np.random.get_state()[1]).all()  # type: ignore[index]
        assert torch.equal(before[1], torch.get_rng_state())
        return losses

    assert train(0) == train(0)
    assert train(0) != train(1)


def test_every_pair_is_seen_once_per_pass(model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def loss(model_: CausalLM, batch: Any, *_: Any) -> torch.Tensor:
        seen.extend(pair.prompt[0] for pair in batch)
        return next(model_.parameters()).sum() * 0

    monkeypatch.setattr("textgym.agents.sft.response_loss", loss)
    pairs = [TokenPair([k], [1] * (1 + k % 7)) for k in range(50)]
    supervised_fine_tune(model, pairs, steps=14, batch_size=8)
    assert sorted(seen[:50]) == list(range(50))
    assert sorted(seen[50:]) == list(range(50))


def test_lora_trains_adapters_only(make_network: Any) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network())
    model.add_lora(2)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    supervised_fine_tune(model, PAIRS, steps=3)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}
    assert changed
    assert all("lora" in name for name in changed)


@pytest.fixture
def with_adapters() -> Any:
    """Make an agent that trains adapters, on a few built-in reports."""
    pytest.importorskip("peft")
    env = gym.make("TextSumm-v0", max_prompt_tokens=64, max_new_tokens=16)
    return lambda seed=0: SFT.create(env, "tiny", lora_rank=2, limit=8, batch_size=2, seed=seed)


def adapter_weights(agent: SFT) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in agent.text_model.parameters() if parameter.requires_grad]


def test_lora_rank_is_an_option_of_create(with_adapters: Any) -> None:
    agent = with_adapters()
    names = [name for name, parameter in agent.text_model.named_parameters() if parameter.requires_grad]
    assert names
    assert all("lora" in name for name in names)
    state = torch.random.get_rng_state()
    torch.manual_seed(9)
    again, other = with_adapters(), with_adapters(seed=1)
    torch.random.set_rng_state(state)
    agent.learn(2), again.learn(2), other.learn(2)
    first, same, different = map(adapter_weights, (agent, again, other))
    assert all(map(torch.equal, first, same))
    assert not any(map(torch.equal, first, different))


def test_adapters_of_supervised_training_are_resumed_bit_for_bit(with_adapters: Any, tmp_path: Path) -> None:
    agent = with_adapters()
    agent.learn(2)
    agent.save(tmp_path / "agent")
    loaded = SFT.load(tmp_path / "agent", agent.env or gym.make("TextSumm-v0", max_prompt_tokens=64, max_new_tokens=16))
    for each in (agent, loaded):
        each.learn(2, reset_num_timesteps=False)
    assert all(map(torch.equal, adapter_weights(agent), adapter_weights(loaded)))
    assert agent.losses == loaded.losses


def test_a_loss_that_is_not_finite(model: CausalLM) -> None:
    with torch.no_grad():
        model.network.get_output_embeddings().weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="at step 0, got nan; lower learning_rate"):
        supervised_fine_tune(model, PAIRS, steps=3)


@pytest.mark.parametrize("name", ["thinking", "dated", "no_system", "two_ends", "spaced", "named"])
def test_conversations_are_what_the_template_writes_to_the_end_of_the_turn(name: str, tmp_path: Path) -> None:
    """Prompt and response together: nothing between them, nothing else behind them."""
    template, kind = TEMPLATES[name]
    folder = write_chat_folder(tmp_path / name, template, kind, clean_up_tokenization_spaces=False)
    theirs, tokenizer = transformers.AutoTokenizer.from_pretrained(folder), Tokenizer.load(folder)
    turns = [("user", "Say one"), ("assistant", "one"), ("user", "Again, please"), ("assistant", "two, then.")]
    if name not in NO_SYSTEM_ROLE:
        turns = [("system", "Be brief."), *turns]
    messages = [{"role": role, "content": content} for role, content in turns]
    data = tmp_path / "data"
    data.mkdir()
    (data / "test.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}')
    (data / "validation.jsonl").write_text('{"messages": [{"role": "user", "content": "b"}]}')
    (data / "train.jsonl").write_text(json.dumps({"messages": messages}))
    task = TextTask(data)
    (pair,) = encode_pairs(task, task.dataset, tokenizer)
    whole = theirs.apply_chat_template(messages, return_dict=True)["input_ids"]
    ids = [*pair.prompt, *pair.response]
    assert ids == whole[: len(ids)]
    assert ids[-1] == theirs.convert_tokens_to_ids(TERMINATORS[name])
    assert theirs.decode(whole[len(ids) :]).strip() in ("", "<|endoftext|>", "</s>")
    asked = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert pair.prompt == asked
    env: Any = gym.make("TestChat-v0", data=str(data), model=str(folder), reward=lambda *_: [0.0])
    observation, _ = env.reset()
    assert observation["input_ids"][: len(asked)].tolist() == asked
    for id_ in pair.response[:-1]:
        assert not env.step(np.int64(id_))[2]
    *_, info = env.step(np.int64(pair.response[-1]))
    thought = "<think>\n\n</think>\n\n" if name == "thinking" else ""  # it is what the model writes
    assert (info["text"], info["finish_reason"]) == (thought + "two, then.", "eos")
    assert encode_prompts(task, [task.dataset[0]], tokenizer, 512) == [asked]  # what is evaluated
    (read,) = TextEncoder(tokenizer, 512)([shown_of(task, task.dataset[0])], ["two, then."])  # what is rewarded
    assert (read.prompt, read.response) == pair


@pytest.fixture(autouse=True, scope="module")
def _chat_environment() -> None:
    textgym.register_task("TestChat", TextTask)


class Recorder(BaseCallback):
    """Calls of a callback, with the number of steps."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.stop_at = stop_at

    def _on_rollout_start(self) -> None:
        self.calls.append(("start", self.model.num_timesteps))

    def _on_step(self) -> bool:
        self.calls.append(("step", self.num_timesteps))
        return self.num_timesteps != self.stop_at

    def _on_rollout_end(self) -> None:
        self.calls.append(("end", self.model.num_timesteps))


def test_an_agent_learns_what_the_function_does_and_tells_callbacks(make_network: Any) -> None:
    expected = supervised_fine_tune(CausalLM(make_network()), PAIRS, steps=5, batch_size=2, learning_rate=1e-2)
    agent, recorder = SFT(CausalLM(make_network()), PAIRS, batch_size=2, learning_rate=1e-2, log_every=2), Recorder()
    agent.learn(5, recorder)
    assert agent.losses == expected
    steps = [[("start", 2 * k), ("step", 2 * k + 1), ("step", 2 * k + 2), ("end", 2 * k + 2)] for k in range(2)]
    assert recorder.calls == [*steps[0], *steps[1], ("start", 4), ("step", 5), ("end", 5)]
    assert [record["timesteps"] for record in agent.history] == [2.0, 4.0, 5.0]
    assert [record["loss"] for record in agent.history[:2]] == [np.mean(expected[:2]), np.mean(expected[2:4])]
    assert agent.seconds["update"] > 0


def test_a_callback_can_end_supervised_training(make_network: Any) -> None:
    agent = SFT(CausalLM(make_network()), PAIRS, batch_size=2)
    agent.learn(20, Recorder(stop_at=3))
    assert agent.num_timesteps == 3


@pytest.mark.parametrize("prompt_share", [0.0, 0.5])
def test_supervised_training_goes_on_bit_for_bit(prompt_share: float, make_network: Any) -> None:
    """From a state in the middle of an iteration, too; prompt tokens are drawn as they would have been."""

    def make() -> SFT:
        return SFT(CausalLM(make_network()), PAIRS, batch_size=2, prompt_share=prompt_share, log_every=4)

    whole, begun, again = make(), make(), make()
    whole.learn(10)
    begun.begin(10)
    for _ in range(6):
        begun.advance()
    again.set_state(begun.get_state())
    again.learn(4, reset_num_timesteps=False)
    assert again.losses == whole.losses
    weights = whole.text_model.state_dict(), again.text_model.state_dict()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_supervised_training_without_texts_is_an_error(model: CausalLM) -> None:
    with pytest.raises(DataError, match="expected texts to imitate, got none"):
        SFT(model).learn(1)


def test_a_checkpoint_of_supervised_training_keeps_the_source(model_folder: Path, tmp_path: Path) -> None:
    agent = SFT(load_language_model(model_folder), PAIRS, batch_size=2)
    agent.learn(1)
    agent.save(tmp_path / "agent")
    assert SFT.load(tmp_path / "agent").text_model.source == str(model_folder)


def test_references_that_the_budget_cuts_off_are_said() -> None:
    """A model that learns texts longer than it may write is never seen to end one."""
    rows = [{"prompt": f"Ask {n}.", "reference": "word " * (40 if n % 2 else 2)} for n in range(8)]
    env: Any = gym.make("TextSumm-v0", data=rows, reward="rouge", max_new_tokens=20)
    with pytest.warns(UserWarning, match=r"\d of \d references have more than 20 tokens, the longest \d+: .* raise"):
        SFT.create(env, "tiny", batch_size=4)
