"""Names of modules: typed by the user, or standing in a file that somebody sent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from textgym.errors import ConsentError
from textgym.rewards import Clip, Gate, WeightedSum, resolve_reward
from textgym.security import consent
from textgym.security.consent import (
    check_names,
    check_repeated,
    import_named_module,
    load_named,
    names_from,
    resume_command,
)

COMMAND = "textgym train --resume run"


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(consent, "_user_folders", [str(tmp_path)])


def module(folder: Path, name: str, text: str = "") -> Path:
    """Write a module that leaves a mark when it is imported, and return where the mark will be."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f"{name}.mark"
    source = (
        f"open({str(mark)!r}, 'w').close()\ndef reward(prompts, responses, examples): return [1.0] * len(prompts)\n"
    )
    (folder / f"{name}.py").write_text(source + text)
    return mark


def test_what_the_user_names_is_imported_and_the_module_path_stays(tmp_path: Path) -> None:
    before = list(sys.path)
    mark = module(tmp_path, "wanted_by_user")
    assert resolve_reward("wanted_by_user:reward")(["p"], ["r"], []) == [1.0]
    assert mark.exists()
    assert sys.path == before


def test_the_users_folder_comes_last(tmp_path: Path) -> None:
    mark = module(tmp_path, "scipy")
    module(tmp_path, "uses_scipy", "import scipy\n")
    resolve_reward("uses_scipy:reward")
    assert not mark.exists()
    assert not str(sys.modules["scipy"].__file__).startswith(str(tmp_path))


def test_what_a_file_names_is_not_imported(tmp_path: Path) -> None:
    mark = module(tmp_path, "named_by_file")
    with names_from("run", COMMAND):
        for reward in (
            "named_by_file:reward",
            WeightedSum({"a": (1.0, "named_by_file:reward")}),
            Clip(WeightedSum({"a": (1.0, Gate("named_by_file:reward", lambda *_: True))}), 0, 1),
        ):
            with pytest.raises(ConsentError, match=r"run --reward named_by_file:reward$"):
                resolve_reward(reward).bind(None)  # type: ignore[attr-defined]
        with pytest.raises(ConsentError, match=r"run named_by_file:Id-v0$"):
            import_named_module("named_by_file:Id-v0", "env_id")
        with pytest.raises(ConsentError, match=r"run --callback named_by_file:x$"):  # whatever comes later
            load_named("named_by_file:x", "callback")
        with names_from("run/round-1", COMMAND, ["something:else"]), pytest.raises(ConsentError):
            load_named("named_by_file:reward", "reward")
    assert not mark.exists()
    assert "named_by_file" not in sys.modules


def test_consent_is_the_same_name_again(tmp_path: Path) -> None:
    mark = module(tmp_path, "named_twice")
    with names_from("run", COMMAND, ["named_twice:reward"]):
        with names_from("run/round-1", COMMAND):  # a run inside the run
            assert callable(load_named("named_twice:reward", "reward"))
        with pytest.raises(ConsentError):  # another attribute of it is another name
            load_named("named_twice:open", "reward")
    assert mark.exists()


@pytest.mark.parametrize("name", ["inside:reward", "run.inside:reward", "outer.run.inside:reward"])
def test_nothing_inside_the_run_folder_is_imported_consent_or_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outer" / "run"
    mark = module(folder, "inside")
    places = {1: folder, 2: tmp_path / "outer", 3: tmp_path}
    monkeypatch.syspath_prepend(str(places[name.count(".") + 1]))
    with names_from(folder, COMMAND, [name]), pytest.raises(ConsentError, match="outside of the folder that names it"):
        load_named(name, "reward")
    assert not mark.exists()


def test_the_working_folder_is_no_place_for_modules_inside_the_run(tmp_path: Path) -> None:
    mark = module(tmp_path, "beside_settings")
    with names_from(tmp_path, COMMAND, ["beside_settings:reward"]), pytest.raises(ValueError, match="no module"):
        load_named("beside_settings:reward", "reward")
    assert not mark.exists()


def test_a_link_into_the_run_folder_is_seen_through(tmp_path: Path) -> None:
    mark = module(tmp_path / "run", "linked")
    (tmp_path / "linked.py").symlink_to(tmp_path / "run" / "linked.py")
    with names_from("run", COMMAND, ["linked:reward"]), pytest.raises(ConsentError):
        load_named("linked:reward", "reward")
    assert not mark.exists()


def test_settings_are_checked_before_anything_is_built() -> None:
    record = {"reward": "evil:one", "choice": {"env_id": "evil:Id-v0", "data": "owner/data:config"}, "model": "a:b"}
    with pytest.raises(ConsentError, match="reward 'evil:one' and env_id 'evil:Id-v0'"):
        check_names(record)  # not even without a block
    with names_from("run", COMMAND, ["evil:one"]), pytest.raises(ConsentError, match=r"--reward evil:one evil:Id-v0$"):
        check_names(record)
    with names_from("run", COMMAND, ["evil:one", "evil:Id-v0"]):
        check_names(record)
    compared = {"agents": ["random", "evil:Agent"], "metric": ["ter", "-0.5*evil:one?n=3"]}
    with names_from("run", COMMAND), pytest.raises(ConsentError) as refused:
        check_names(compared)
    assert str(refused.value).endswith("--agent evil:Agent --metric '-0.5*evil:one?n=3'")
    check_names({"reward": "rouge", "choice": {"env_id": "TextSumm-v0"}, "device": "cuda:0"})


def test_names_in_compositions_are_found() -> None:
    record = {
        "reward": [[0.5, "m:a"], {"gate": {"of": ["rouge", "m:b"], "model": ["m:a"]}}],
        "choice": [{"env_id": "m:Id-v0"}],
        "data": ["owner/data:x", "m:c"],
    }
    names = ["m:a", "m:b", "m:Id-v0"]
    with pytest.raises(ConsentError, match="got reward 'm:a' and reward 'm:b' and env_id 'm:Id-v0' in"):
        check_names(record)
    with names_from("run", COMMAND, names):
        check_names(record)
    check_repeated(names, record)
    assert resume_command("train", "run", {"reward": ["m:a", "m:a"]}) == "textgym train --resume run --reward m:a"


def test_what_is_repeated_stands_in_the_run() -> None:
    check_repeated(["m:r", "m:Id-v0"], {"reward": "m:r", "choice": {"env_id": "m:Id-v0"}})
    with pytest.raises(ValueError, match="a run keeps its settings"):
        check_repeated(["other:r"], {"reward": "m:r"})


def test_the_advice_can_be_pasted() -> None:
    record = {"reward": "m:r", "choice": {"env_id": "m:Id-v0"}}
    assert resume_command("train", "my runs/a", record) == "textgym train --resume 'my runs/a' --reward m:r m:Id-v0"
    assert resume_command("rlhf", "run", {"choice": {"env_id": "TextSumm-v0"}}) == "textgym rlhf --resume run"
    assert "'m:x; rm'" in resume_command("train", "run", {"reward": "m:x; rm"})


@pytest.mark.parametrize("name", ["../evil:x", "evil/../x:y", ".evil:x", "evil:", ":x", "a b:x", "1:x"])
def test_only_names_are_imported(name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        load_named(name, "reward")
