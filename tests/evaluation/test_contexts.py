"""Turns behind conversations: the contexts that are drawn, and how models read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.chat_templates import TEMPLATES, write_chat_folder
from tests.envs.guessing import WORDS, Guessing, write_tokenizer
from textgym.evaluation.loading import load_model
from textgym.evaluation.sampling import (
    Context,
    Sampling,
    encode_contexts,
    encode_prompts,
    sample_contexts,
    sample_responses,
    sample_texts,
)
from textgym.models.causal_lm import CausalLM
from textgym.text.tokenizer import Tokenizer
from textgym.types import Episode, Example, Message

TASK = Guessing("test")
EXAMPLES = [TASK.dataset[index] for index in range(3)]
SAMPLING = Sampling(16, 2, seed=4)
EOS = WORDS.index("<eos>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    """A model of whole words that says anything, and ends one turn in twenty by itself."""
    folder = write_tokenizer(tmp_path_factory.mktemp("words"))
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 38}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=1)).save_pretrained(folder)
    return load_model(str(folder), "cpu")


def words(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def test_a_context_has_the_ids_of_the_environment(model: CausalLM) -> None:
    """The prompt, each turn with its EOS where it ended by itself, and the replies."""
    said = [Message("assistant", "3"), Message("user", "higher"), Message("assistant", "x y"), Message("user", "lower")]
    contexts = [Context(EXAMPLES[0], tuple(said), (True, False)), Context(EXAMPLES[1])]
    assert encode_contexts(TASK, contexts, model.tokenizer, SAMPLING) == [
        [
            *words("guess from 1 to 5 Assistant : 3"),
            EOS,
            *words("User : higher Assistant : x y User : lower Assistant :"),
        ],
        words("guess from 1 to 6 Assistant :"),
    ]


def test_a_chat_model_reads_a_context_as_its_template_writes_it(tmp_path: Path) -> None:
    class Roomy(Guessing):
        max_reply_tokens = 50

    chat = Tokenizer.load(write_chat_folder(tmp_path, *TEMPLATES["default_system"]))
    context = Context(Example("k", "Go"), (Message("assistant", "Yes?"), Message("user", "Go on")), (True,))
    (ids,) = encode_contexts(Roomy("test"), [context], chat, Sampling(200, 50))
    assert chat._backend.decode(ids, skip_special_tokens=False).endswith(
        "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nGo on<|im_end|>\n<|im_start|>assistant\n"
    )


def test_contexts_that_were_sampled_are_read_as_they_were_written(model: CausalLM) -> None:
    samples = sample_texts(model, TASK, EXAMPLES * 20, SAMPLING)
    compared = 0
    for place, row in enumerate(samples.rows):
        earlier = [ids for ids, other in zip(samples.ids[:place], samples.rows[:place], strict=True) if other == row]
        if any(id_ in (0, EOS) for ids in earlier for id_ in ids[:-1]) or any(ids[-1] == 0 for ids in earlier):
            continue  # specials within a turn are no text
        turns = samples.episodes[row].turns[: 2 * len(earlier)]
        context = Context(samples.episodes[row].example, turns, tuple(ids[-1] == EOS for ids in earlier))
        assert encode_contexts(TASK, [context], model.tokenizer, SAMPLING) == [samples.prompts[place]]
        compared += len(earlier) > 0
    assert compared > 50


def test_contexts_stand_before_any_turn_of_the_agent(model: CausalLM) -> None:
    contexts = sample_contexts(model, TASK, EXAMPLES * 20, SAMPLING)
    assert contexts == sample_contexts(model, TASK, EXAMPLES * 20, SAMPLING)
    assert [context.example for context in contexts] == EXAMPLES * 20
    assert {len(context.turns) for context in contexts} == {0, 2, 4}
    for context in contexts:
        assert [turn.role for turn in context.turns] == ["assistant", "user"] * len(context.ended)


def test_in_a_task_of_one_turn_responses_are_the_texts_of_evaluation(model: CausalLM) -> None:
    class Once(Guessing):
        max_turns = 1

    task = Once("test")
    contexts = sample_contexts(model, task, EXAMPLES * 3, SAMPLING)
    assert contexts == [Context(example) for example in EXAMPLES * 3]
    assert sample_responses(model, task, contexts, SAMPLING) == sample_texts(model, task, EXAMPLES * 3, SAMPLING).texts


def test_an_episode_that_ends_early_has_fewer_contexts(model: CausalLM) -> None:
    class Brief(Guessing):
        def reply(self, episode: Episode, rng: object) -> None:
            return None

    assert {context.turns for context in sample_contexts(model, Brief("test"), EXAMPLES * 9, SAMPLING)} == {()}
    prompts = encode_prompts(TASK, EXAMPLES, model.tokenizer, 16)
    assert encode_contexts(TASK, list(map(Context, EXAMPLES)), model.tokenizer, SAMPLING) == prompts
