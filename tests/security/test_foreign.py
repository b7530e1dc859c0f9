"""Files that would hang the reader, fill the memory or lead elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from textgym.security import foreign
from textgym.security.foreign import (
    parse_json,
    read_json,
    read_object,
    read_tail,
    read_text,
    refuse_links,
    require_regular,
)


@pytest.mark.parametrize("depth", [101, 900, 100_000])
@pytest.mark.parametrize("shape", [("[", "]"), ('{"a":', "}")])
def test_deep_json_is_refused(depth: int, shape: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="at most 100 levels"):
        parse_json(shape[0] * depth + "1" + shape[1] * depth)


def test_json_of_a_sane_depth_is_read() -> None:
    value = parse_json("[" * 100 + "]" * 100)
    for _ in range(99):
        value = value[0]
    assert value == []
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("text", ["", "{", "nonsense", "1" * 5000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid JSON text"):
        parse_json(text)


def test_large_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[" + "1," * 100 + "1]")
    with pytest.raises(ValueError, match="at most 50 bytes"):
        read_json(tmp_path / "x.json", 50)
    assert len(read_json(tmp_path / "x.json")) == 101
    with pytest.raises(ValueError, match="expected a JSON object"):
        read_object(tmp_path / "x.json")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte of nothing
    with pytest.raises(ValueError, match="got more"):
        read_text(tmp_path / "x.json")


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="expected a regular file"):
            require_regular(file)
        with pytest.raises(OSError, match="expected a regular file"):
            read_json(file)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (run / "latest").symlink_to("checkpoints")
    refuse_links(run)
    (tmp_path / "link").symlink_to(run)
    refuse_links(tmp_path / "link")
    for name, target in (("checkpoints/step-1", "../../precious"), ("log.jsonl", "/etc/passwd"), ("gone", "/nowhere")):
        (run / name).symlink_to(target)
        with pytest.raises(ValueError, match="without links to other places"):
            refuse_links(run)
        (run / name).unlink()
    os.mkfifo(run / "log.jsonl")
    assert stat.S_ISFIFO((run / "log.jsonl").stat().st_mode)
    with pytest.raises(ValueError, match="a pipe or device"):
        refuse_links(run)


def test_limits_are_far_from_what_is_published() -> None:
    assert foreign.LARGEST_JSON > 5 * 10 * 2**20
    assert foreign.LARGEST_TOKENIZER > 5 * 35 * 2**20


def test_only_the_end_of_a_text_is_read(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("ä" * 10 + "end", encoding="utf-8")
    assert read_tail(file, 3) == "end"
    assert read_tail(file, 4) == "\N{REPLACEMENT CHARACTER}end"
    assert read_tail(file) == "ä" * 10 + "end"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="regular file"):
        read_tail(tmp_path / "pipe")
