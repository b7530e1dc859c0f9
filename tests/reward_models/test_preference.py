"""A reward learnt from comparisons."""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from textgym.errors import CheckpointError, DataError, RewardError
from textgym.feedback import BradleyTerryAnnotator, make_questions
from textgym.feedback.types import Comparison
from textgym.models.loading import load_language_model
from textgym.reward_models import PreferenceRewardModel, load_reward
from textgym.reward_models.calibration import sigmoid
from textgym.reward_models.evidence import Split, preferences, read_split
from textgym.reward_models.report import pairwise_loss
from textgym.reward_models.scoring import ResponseScorer
from textgym.rewards import resolve_reward, reward_name, score
from textgym.testing import AWKWARD_TEXTS
from textgym.types import FloatArray, RewardFn

FILLER = ("council", "bridge", "road", "voted", "closed", "opened", "mayor")
TEXTS = ["good road", "", "bad", "the council voted on the bridge " * 5, "good good good"]
PROMPTS = ["document: the mayor\n\nSummary:", "p", "", "document " * 30, "Summary:"]


def quality(responses: list[str], task_keys: list[str] | None = None) -> FloatArray:
    return np.array([text.split().count("good") - text.split().count("bad") for text in responses], dtype=np.float64)


def sample_texts(rng: np.random.Generator, n: int) -> list[str]:
    return [" ".join(rng.choice([*FILLER, "good", "bad"], size=rng.integers(2, 7))) for _ in range(n)]


def comparisons(n: int, temperature: float = 0.0, seed: int = 0) -> list[Comparison]:
    """Choices by an annotator who counts "good" and "bad"; equally good texts are not asked about."""
    rng = np.random.default_rng(seed)
    prompts = [f"document {' '.join(rng.choice(FILLER, size=4))} {i}\n\nSummary:" for i in range(n)]
    a, b = sample_texts(rng, n), sample_texts(rng, n)
    b = [
        second if quality([first]) != quality([second]) else f"{second} good"
        for first, second in zip(a, b, strict=True)
    ]
    questions = make_questions(prompts, [str(i) for i in range(n)], a, b)
    return BradleyTerryAnnotator(lambda texts, keys: quality(list(texts)), temperature, rng).compare(questions)


@pytest.fixture(scope="module")
def fitted(neox: Path) -> PreferenceRewardModel:
    model = PreferenceRewardModel(neox, max_length=128)
    model.fit(comparisons(400), epochs=4, batch_size=16, learning_rate=3e-3, validation_fraction=0.2)
    model.normalise(PROMPTS, TEXTS)
    return model


def test_the_shipped_model_scores_every_response() -> None:
    texts = [*AWKWARD_TEXTS, ";", "今" * 3000, "\udfff", "\x1b[0m", "😀" * 300]
    scores = load_reward("tiny-reward")(["The council met. \ud800"] * len(texts), texts, [])
    assert np.isfinite(scores).all()


def test_separable_choices_are_learnt(fitted: PreferenceRewardModel) -> None:
    report = fitted.report
    assert report is not None
    assert report.accuracy.mean > 0.9
    assert 0.8 < report.accuracy.low < report.accuracy.mean <= report.accuracy.high
    assert report.train_loss < 0.3 < report.losses[0]
    assert report.pairs + report.held_out_pairs == 400
    assert len(report.losses) == len(report.gradient_norms) == 4 * math.ceil(report.pairs / 16)
    assert report.seconds > 0


def test_a_fresh_model_scores_by_the_likelihood_of_the_response(neox: Path) -> None:
    """The head starts at zero (checklist 24), so all that counts is how likely the trunk finds the tokens."""
    model = PreferenceRewardModel(neox, max_length=128)
    assert not model.head.weight.any()
    [text] = model.encoder([PROMPTS[0]], ["good road"])
    ids = torch.tensor([[*text.prompt, *text.response]])
    network = AutoModelForCausalLM.from_pretrained(neox, dtype=torch.float32).eval()
    with torch.no_grad():
        log_probs = network(input_ids=ids).logits[0, :, : model.trunk.vocab_size].log_softmax(-1)
    begin = len(text.prompt)
    picked = [float(log_probs[begin + k - 1, token]) for k, token in enumerate(text.response)]
    expected = 10.0 * math.exp(sum(picked) / len(picked))
    assert model.raw([PROMPTS[0]], ["good road"])[0] == pytest.approx(expected, rel=1e-4)


def test_fitted_scores_follow_the_quality_of_new_texts(fitted: PreferenceRewardModel) -> None:
    texts = sample_texts(np.random.default_rng(99), 200)
    scores = fitted(["document road\n\nSummary:"] * 200, texts)
    assert np.corrcoef(scores, quality(texts))[0, 1] > 0.8


def test_noisy_choices_reach_the_noise_ceiling(neox: Path) -> None:
    records = comparisons(600, temperature=1.0, seed=1)
    model = PreferenceRewardModel(neox, max_length=128)
    report = model.fit(records, epochs=3, learning_rate=3e-3, validation_fraction=0.3)
    gaps = np.abs(quality([r.response_a for r in records]) - quality([r.response_b for r in records]))
    ceiling = float(sigmoid(gaps).mean())
    assert report.accuracy.mean == pytest.approx(ceiling, abs=0.07)
    assert report.calibration is not None
    assert report.calibration.expected_calibration_error < 0.15
    assert 0.2 < report.calibration.temperature < 5


@pytest.mark.parametrize("trunk", ["neox", "gpt2", "neox_pad_is_eos"])
def test_a_batch_scores_as_one_by_one(trunk: str, request: pytest.FixtureRequest) -> None:
    """Checklist 2 and 3: padding changes nothing, also for absolute positions and where pad is EOS."""
    model = PreferenceRewardModel(request.getfixturevalue(trunk), max_length=128)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    together = model.raw(PROMPTS, TEXTS)
    alone = [model.raw([prompt], [text])[0] for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert np.ptp(together) > 0.1
    assert together.dtype == np.float64


@pytest.mark.parametrize("trunk", ["neox", "gpt2"])
def test_the_score_is_the_head_at_the_eos_of_the_bare_model(trunk: str, request: pytest.FixtureRequest) -> None:
    """Checklist 1 and 12: the oracle is the bare Hugging Face model on one unpadded row."""
    folder = request.getfixturevalue(trunk)
    model = PreferenceRewardModel(folder, max_length=128)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    model.likelihood_weight.data.zero_()
    bare = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = model.trunk.tokenizer
    ids = [*tokenizer.encode(PROMPTS[0]), *tokenizer.encode(" good road"), tokenizer.eos_ids[0]]
    with torch.no_grad():
        states = bare.base_model(input_ids=torch.tensor([ids])).last_hidden_state
    expected = (states[0, -1] @ model.head.weight[0].detach()).item()
    assert model.raw([PROMPTS[0]], ["good road"])[0] == pytest.approx(expected, abs=1e-4)


def test_eos_counts_where_pad_is_eos(neox_pad_is_eos: Path) -> None:
    """Checklist 2: the score is read at EOS by length, never by `ids != pad`."""
    model = PreferenceRewardModel(neox_pad_is_eos, max_length=128)
    assert model.trunk.tokenizer.pad_id == model.trunk.tokenizer.eos_ids[0]
    model.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    scores = model.score_texts(model.encoder(["p", "p p p p"], ["good", "bad"]))
    scores.sum().backward()
    embedding = model.trunk.network.get_input_embeddings().weight.grad
    assert embedding[model.trunk.tokenizer.eos_ids[0]].abs().sum() > 0


@pytest.mark.parametrize("trunk", ["neox", "gpt2"])
def test_shared_prompts_give_the_same_scores_and_gradients(trunk: str, request: pytest.FixtureRequest) -> None:
    """Checklist 12: sharing a prompt between two responses is exact, gradients included."""
    network = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(trunk), dtype=torch.float64)
    model = ResponseScorer(load_language_model(network)).double()
    encoder = PreferenceRewardModel(request.getfixturevalue(trunk), max_length=64).encoder
    pairs = list(zip(encoder(PROMPTS, TEXTS), encoder(PROMPTS, TEXTS[::-1]), strict=True))[:3]
    model.head = model.head.float()  # the head reads fp32 states by contract
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    results = []
    for share in (False, True):
        model.shares_prompts = share
        model.zero_grad()
        scores = model.score_pairs(pairs)
        (scores * torch.arange(1.0, 7.0).reshape(3, 2)).sum().backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        results.append((scores.detach(), gradients))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)
    assert model.try_sharing(pairs)


def test_prompts_cut_differently_are_not_shared(neox: Path) -> None:
    model = PreferenceRewardModel(neox, max_length=32)
    model.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    encoder = model.encoder
    pair = (encoder(["document " * 40], ["good"])[0], encoder(["document " * 40], ["good road " * 4])[0])
    assert pair[0].prompt != pair[1].prompt
    model.shares_prompts = True
    expected = torch.stack([model.score_texts([text])[0] for text in pair])
    torch.testing.assert_close(model.score_pairs([pair])[0], expected)


def test_dropout_is_off_always(neox: Path) -> None:
    """Checklist 10: dropout in the config has no effect, whatever mode is asked for."""
    model = PreferenceRewardModel(neox, max_length=128)
    model.head.weight.data.normal_()
    model.train()
    assert not any(module.training for module in model.modules())
    texts = model.encoder(PROMPTS, TEXTS)
    assert torch.equal(model.score_texts(texts), model.score_texts(texts))


def test_references_have_mean_0_and_std_1(fitted: PreferenceRewardModel) -> None:
    """Checklist 19: normalised on reference responses; raw scores are reported beside."""
    scores = fitted(PROMPTS, TEXTS)
    assert (scores.mean(), scores.std()) == pytest.approx((0.0, 1.0), abs=1e-9)
    mean, std = fitted.normalisation
    assert fitted.raw(PROMPTS, TEXTS) == pytest.approx(scores * std + mean)
    parts = score(fitted, PROMPTS, TEXTS, []).parts
    assert parts["learned"] == pytest.approx(scores)
    assert parts["learned_raw"] == pytest.approx(scores * std + mean)


def test_it_is_a_reward_by_name(fitted: PreferenceRewardModel) -> None:
    reward: RewardFn = fitted
    assert isinstance(reward, RewardFn)
    assert fitted.name == "learned"
    assert np.shape(reward([], [], [])) == (0,)
    with pytest.raises(ValueError, match="expected one prompt per response"):
        reward(["p"], ["a", "b"], [])


def test_probabilities_are_calibrated_and_antisymmetric(fitted: PreferenceRewardModel) -> None:
    there = fitted.preference_probability(["p"], ["good road"], ["bad road"])
    back = fitted.preference_probability(["p"], ["bad road"], ["good road"])
    assert there[0] > 0.9
    assert there + back == pytest.approx(1.0)


def test_seeds_reproduce(neox: Path) -> None:
    """Checklist 30: the same seed gives the same weights bit for bit, another seed others."""

    def run(seed: int) -> FloatArray:
        model = PreferenceRewardModel(neox, max_length=128)
        torch.rand(3)  # the global generator plays no part
        model.fit(comparisons(40), seed=seed, learning_rate=1e-3)
        return model.raw(PROMPTS, TEXTS)

    first = run(1)
    assert np.array_equal(first, run(1))
    assert not np.array_equal(first, run(2))


def test_progress_is_shown(neox: Path) -> None:
    heard: list[tuple[int, int, float]] = []
    model = PreferenceRewardModel(neox, max_length=128)
    report = model.fit(comparisons(30), batch_size=8, epochs=2, progress=lambda *step: heard.append(step))
    assert [step for step, _, _ in heard] == list(range(1, heard[0][1] + 1))
    assert tuple(loss for _, _, loss in heard) == report.losses


def test_bf16_on_request(neox: Path) -> None:
    """Checklist 13: the loss stays fp32; afterwards the trunk has its own precision again."""
    model = PreferenceRewardModel(neox, max_length=128)
    report = model.fit(comparisons(64), learning_rate=3e-3, precision="bf16")
    assert model.trunk.precision == "fp32"
    assert all(math.isfinite(loss) for loss in report.losses)
    assert next(model.trunk.parameters()).dtype == torch.float32


def test_save_and_load_are_exact(fitted: PreferenceRewardModel, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "reward"
    fitted.save(folder)
    for loaded in (PreferenceRewardModel.load(folder), load_reward(folder), load_reward(folder.parent)):
        assert isinstance(loaded, PreferenceRewardModel)
        assert np.array_equal(loaded(PROMPTS, TEXTS), fitted(PROMPTS, TEXTS))
        assert fitted.report is not None
        assert loaded.report == replace(fitted.report, losses=(), gradient_norms=(), held_out_losses=())
    assert [path.name for path in folder.parent.iterdir()] == ["reward"]
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert json.loads((folder / "reward_model.json").read_text())["kind"] == "preference"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_disk(fitted: PreferenceRewardModel, tmp_path: Path, dtype: str) -> None:
    fitted.save(tmp_path / "full")
    fitted.save(tmp_path / "half", dtype=dtype)  # type: ignore[arg-type]
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = PreferenceRewardModel.load(tmp_path / "half")
    assert next(loaded.parameters()).dtype == torch.float32
    assert loaded(PROMPTS, TEXTS) == pytest.approx(fitted(PROMPTS, TEXTS), abs=0.05)


def test_a_loaded_model_saves_over_its_own_folder(fitted: PreferenceRewardModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "reward")
    PreferenceRewardModel.load(tmp_path / "reward").save(tmp_path / "reward")
    again = PreferenceRewardModel.load(tmp_path / "reward")
    assert np.array_equal(again(PROMPTS, TEXTS), fitted(PROMPTS, TEXTS))


def test_other_folders_are_left_alone(fitted: PreferenceRewardModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="new or empty folder"):
        fitted.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_failed_save_keeps_the_earlier_one(
    fitted: PreferenceRewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "reward")
    monkeypatch.setattr(fitted, "_state", lambda: {"broken": math.nan})
    with pytest.raises(ValueError, match="JSON"):
        fitted.save(tmp_path / "reward")
    PreferenceRewardModel.load(tmp_path / "reward")
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]


def test_wrong_folders_are_refused(fitted: PreferenceRewardModel, neox: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"without reward_model\.json"):
        PreferenceRewardModel.load(neox)
    with pytest.raises(CheckpointError, match="got neither"):
        load_reward(neox)
    fitted.save(tmp_path / "reward")
    (tmp_path / "reward" / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        PreferenceRewardModel.load(tmp_path / "reward")
    (tmp_path / "reward" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="expected safetensors weights"):
        PreferenceRewardModel.load(tmp_path / "reward")
    for text, complaint in (('{"kind": "other"}', "got 'other'"), ("{", "expected JSON"), ("[]", "got list")):
        (tmp_path / "reward" / "reward_model.json").write_text(text)
        with pytest.raises(CheckpointError, match=complaint):
            load_reward(tmp_path / "reward")


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": "x"},
        {"max_length": 1.5},
        {"max_length": 10**6},
        {"normalisation": {"mean": 0, "std": 0}},
        {"normalisation": {"mean": None, "std": 1}},
        {"normalisation": {"mean": math.nan, "std": 1}},
        {"normalisation": [0, 1]},
        {"report": {"a": 1}},
        {"report": [1]},
    ],
)
def test_a_damaged_card_is_refused(fitted: PreferenceRewardModel, tmp_path: Path, change: dict[str, object]) -> None:
    fitted.save(tmp_path / "reward")
    file = tmp_path / "reward" / "reward_model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match="expected a complete reward model"):
        PreferenceRewardModel.load(tmp_path / "reward")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"head.weight": None}, "expected the tensors"),
        ({"foo": torch.zeros(3)}, "expected the tensors"),
        ({"head.weight": torch.zeros(1, 16)}, "expected the tensors"),
        ({"likelihood_weight": torch.tensor([math.nan])}, "expected finite weights"),
    ],
)
def test_a_damaged_head_is_refused(
    fitted: PreferenceRewardModel, tmp_path: Path, change: dict[str, torch.Tensor | None], complaint: str
) -> None:
    fitted.save(tmp_path / "reward")
    file = tmp_path / "reward" / "head.safetensors"
    tensors = load_file(file) | change
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)
    with pytest.raises(CheckpointError, match=complaint):
        PreferenceRewardModel.load(tmp_path / "reward")


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ([], "got none"),
        ([replace(record, choice="tie") for record in comparisons(4)], "got 4 ties"),
        (comparisons(1), "got 1 of one"),
        (
            [replace(record, response_b=f" {record.response_a}") for record in comparisons(3)],
            "got 3 of a text with itself",
        ),
    ],
)
def test_data_that_teaches_nothing_is_refused(neox: Path, records: list[Comparison], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        PreferenceRewardModel(neox, max_length=128).fit(records)


def test_texts_compared_with_themselves_are_left_out_with_a_warning(neox: Path) -> None:
    records = comparisons(20)
    records[3] = replace(records[3], response_b=records[3].response_a)
    with pytest.warns(UserWarning, match="left out 1 comparisons"):
        report = PreferenceRewardModel(neox, max_length=128).fit(records)
    assert report.pairs + report.held_out_pairs == 19


def test_one_record_can_be_learnt_without_a_judgement(neox: Path) -> None:
    model = PreferenceRewardModel(neox, max_length=128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = model.fit(comparisons(1), epochs=20, learning_rate=1e-2, validation_fraction=0.0)
    assert report.accuracy == (0.5, 0.0, 1.0)
    assert report.calibration is None
    assert model.differences(comparisons(1))[0] * (1 if comparisons(1)[0].choice == "a" else -1) > 0


def test_ties_pull_scores_together(neox: Path) -> None:
    records = [replace(record, choice="tie") if i % 2 else record for i, record in enumerate(comparisons(160))]
    report = PreferenceRewardModel(neox, max_length=128).fit(records, validation_fraction=0.5)
    assert report.calibration is not None
    assert report.accuracy.low > 0 or report.accuracy.high == 1.0


def test_a_loss_that_is_not_finite_stops_the_fit(neox: Path) -> None:
    """Checklist 21: NaN never gets into the weights."""
    model = PreferenceRewardModel(neox, max_length=128)
    model.head.weight.data.fill_(math.inf)
    with pytest.raises(RewardError, match="at step 1; lower learning_rate"):
        model.fit(comparisons(8))
    with pytest.raises(RewardError, match="'learned'"):
        model.raw(["p"], ["text"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_the_fit_before_the_weights(neox: Path, value: float) -> None:
    model, calls, seen = PreferenceRewardModel(neox, max_length=128), [0], list[torch.Tensor]()

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        seen.append(model.head.weight.detach().clone())
        return torch.full_like(gradient, value) if calls[0] == 4 else gradient

    model.head.weight.register_hook(spoil)  # type: ignore[no-untyped-call]
    with pytest.raises(RewardError, match=r"at step 4; lower learning_rate"):
        model.fit(comparisons(8), batch_size=2, validation_fraction=0.0)
    assert torch.equal(model.head.weight, seen[-1])
    assert not torch.equal(seen[0], seen[-1])
    assert all(bool(torch.isfinite(each).all()) for each in model.parameters())


def test_references_without_spread_are_refused(neox: Path, fitted: PreferenceRewardModel) -> None:
    blind = PreferenceRewardModel(neox, max_length=128)
    blind.likelihood_weight.data.zero_()
    with pytest.raises(DataError, match="differ between texts, got one score for all 5"):
        blind.normalise(PROMPTS, TEXTS)
    with pytest.raises(DataError, match="got 1"):
        fitted.normalise(["p"], ["one"])


def test_settings_are_checked(neox: Path) -> None:
    with pytest.raises(ValueError, match="the context of the model, got 512; pass max_length=256"):
        PreferenceRewardModel(neox)
    with pytest.raises(ValueError, match="got 0, 16 and"):
        PreferenceRewardModel(neox, max_length=128).fit(comparisons(4), epochs=0)
    with pytest.raises(ValueError, match=r"expected precision 'auto' or 'fp32' or 'bf16', got 'fp16'; choose one"):
        PreferenceRewardModel(neox, max_length=128).fit(comparisons(4), precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got -1"):
        PreferenceRewardModel(neox, max_length=128).fit(comparisons(4), weight_decay=-1)


def test_measuring_the_held_out_loss_changes_nothing(neox: Path) -> None:
    """The weights after a fit that is watched are those of the same fit with nothing to watch, to the last bit."""
    split = read_split(comparisons(80), held_out=0.25, seed=0)
    watched, alone = (PreferenceRewardModel(neox, max_length=128) for _ in range(2))
    alone.load_state_dict(watched.state_dict())
    report = watched.fit(split, batch_size=8, epochs=2)
    bare = alone.fit(Split(split.train), batch_size=8, epochs=2)
    assert report.losses == bare.losses
    assert all(torch.equal(mine, other) for mine, other in zip(watched.parameters(), alone.parameters(), strict=True))
    steps = [step for step, _ in report.held_out_losses]
    assert len(steps) == 4
    assert steps[-1] == len(report.losses)
    asked = preferences(split.held_out.observations)
    assert report.held_out_losses[-1][1] == pytest.approx(pairwise_loss(asked[:64], watched.differences_of(asked[:64])))
    assert report.held_out_loss == pytest.approx(pairwise_loss(asked, watched.differences_of(asked)))
    assert bare.held_out_loss is None
    assert bare.held_out_losses == ()


def test_a_reward_model_from_a_folder_is_called_after_it(fitted: PreferenceRewardModel, tmp_path: Path) -> None:
    for folder, name in (
        ("helpful", "helpful"),
        ("reward", "reward"),
        ("run/reward", "run"),
        ("total", "total-reward"),
    ):
        fitted.save(tmp_path / folder)
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "config.json").write_text("{}")  # which makes a run folder of it
        reward = load_reward(tmp_path / folder)
        assert isinstance(reward, PreferenceRewardModel)
        assert reward_name(resolve_reward(str(tmp_path / folder))) == reward.name == name
        assert set(score(reward, PROMPTS, TEXTS, []).parts) == {name, f"{name}_raw"}
    assert load_reward("tiny-reward").name == "learned"  # type: ignore[attr-defined]
