"""Frames: coloured tokens, the line at the end, and images."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.envs.rendering import Frame, RenderedTexts, image, result_of, shown_text

ORANGE, BLUE, WHITE = "230;159;0", "86;180;233", "255;255;255"


def painted(text: str, colour: str) -> str:
    return f"\x1b[48;2;{colour};30m{text}\x1b[0m"


def test_tokens_are_coloured_by_their_values() -> None:
    frame = Frame("Say it.", "one two", ("one", " two", " three"), (2.0, -2.0))
    assert frame.text == f"Say it.\n>>> {painted('one', ORANGE)}{painted(' two', BLUE)} three"
    assert frame._replace(values=(0.0,)).text == f"Say it.\n>>> {painted('one', WHITE)} two three"
    assert frame._replace(values=()).text == "Say it.\n>>> one two"
    evil = Frame("Say it.", "", ("a\x1b[31m", "b\x1b[0m"), (1.0,))
    assert shown_text(evil).count("\x1b") == 2  # those of the one coloured token


def test_the_last_line_says_what_the_episode_was_worth() -> None:
    info = {
        "rewards": {"rouge": 0.5, "short": 1.0, "total": 0.7},
        "gold": 0.25,
        "is_success": True,
        "finish_reason": "length",
    }
    line = "reward 0.700 (rouge 0.500, short 1.000), gold 0.250, success, ended by length"
    assert result_of(info) == line
    assert Frame("Say it.", "one", result=line).text == f"Say it.\n>>> one\n= {line}"


def test_an_image_has_one_size_and_shows_the_colours() -> None:
    frame = Frame("word " * 400, "", ("one", " two"), (1.0, -1.0), "reward 1.000")
    shown = image(frame)
    assert (shown.shape, shown.dtype) == ((576, 720, 3), np.dtype("uint8"))
    colours = {tuple(colour) for colour in shown.reshape(-1, 3).tolist()}
    assert {(230, 159, 0), (86, 180, 233), (255, 255, 255)} <= colours
    assert image(Frame("Short.", "")).shape == shown.shape
    assert not np.array_equal(image(Frame("Short.", "a")), image(Frame("Short.", "b")))


@pytest.mark.parametrize("grain", [0, 1])
def test_every_mode_of_an_environment(env_ids: tuple[str, str], tokenizer_folder: Path, grain: int) -> None:
    kwargs: dict[str, Any] = {"model": str(tokenizer_folder)} if grain == 0 else {}
    text: Any = gym.make(env_ids[grain], render_mode="ansi", reward="none", **kwargs)
    image: Any = gym.make(env_ids[grain], render_mode="rgb_array", reward="none", **kwargs)
    for env in (text, image):
        env.reset(options={"task_key": "train/3"})
    before = image.render()
    for env in (text, image):
        env.step(np.int64(1) if grain == 0 else "Brief.")
    last = text.render().splitlines()[-1]
    assert last.startswith("= reward 0.000, gold ")
    assert last.endswith(", no success, ended by eos")
    assert before.shape == image.render().shape == (576, 720, 3)
    assert not np.array_equal(before, image.render())
    text.reset(options={"task_key": "train/3"})
    assert text.render() == "Short.\n\nSummary:\n>>> "  # the end is forgotten
    many: Any = gym.make_vec(env_ids[grain], num_envs=2, render_mode="rgb_array", **kwargs)
    many.reset(seed=0)
    assert [frame.shape for frame in many.render()] == [(576, 720, 3)] * 2


def test_an_agent_supplies_values(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env: Any = gym.make(env_ids[0], model=str(tokenizer_folder), render_mode="ansi").unwrapped
    env.reset(options={"task_key": "train/3"})
    tokens = env.tokenizer.encode("ab")
    for token in tokens:
        env.step(np.int64(token))
    env.token_values = np.linspace(-1, 1, len(tokens))
    assert env.token_values == tuple(np.linspace(-1, 1, len(tokens)).tolist())
    shown = env.render()
    assert shown.count("\x1b[0m") == len(tokens)
    assert painted("a", BLUE) in shown
    for wrong in ([float("nan")], [[1.0]], "ab", 3.0):
        with pytest.raises(ValueError, match="as token_values"):
            env.token_values = wrong
    env.reset(seed=0)
    assert env.token_values == ()


def test_what_a_terminal_would_obey_is_replaced(env_ids: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make(env_ids[1], render_mode="human")
    env.reset(options={"task_key": "train/3"})
    env.step("a\x1b[31mred")
    assert "\x1b" not in capsys.readouterr().out


def test_notebooks_show_rendered_texts_with_colours_and_escaped() -> None:
    frame = Frame("<b>prompt</b>", "ab", ("a", "b"), (1.0, -1.0), "reward 1")
    shown = frame.rendered
    assert shown == frame.text
    assert isinstance(shown, str)
    page = shown._repr_html_()
    assert page.startswith('<pre style="white-space: pre-wrap">&lt;b&gt;prompt&lt;/b&gt;\n')
    assert '<span style="background: rgb(230, 159, 0); color: black">a</span>' in page
    assert "\x1b" not in page
    assert page.endswith("reward 1</pre>")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_rendered_texts_go_to_other_processes(copied: Any) -> None:
    shown = RenderedTexts([Frame("prompt", "a").rendered, Frame("prompt", "b").rendered])
    again = copied(shown)
    assert again == ("prompt\n>>> a", "prompt\n>>> b")
    assert again._repr_html_() == shown._repr_html_()
    assert again._repr_html_().count("<pre") == 2


def test_environments_return_texts_for_notebooks(env_ids: tuple[str, str]) -> None:
    one: Any = gym.make(env_ids[1], render_mode="ansi")
    one.reset(seed=0)
    assert "<pre" in one.render()._repr_html_()
    many: Any = gym.make_vec(env_ids[1], num_envs=2, render_mode="ansi")
    many.reset(seed=0)
    assert many.render()._repr_html_().count("<pre") == 2
