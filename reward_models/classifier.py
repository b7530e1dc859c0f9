"""Any Hugging Face sequence classifier (sentiment, toxicity, a published reward model) as a reward."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from textgym.errors import CheckpointError, ModelError, did_you_mean
from textgym.hub import resolve_folder
from textgym.models.pretrained import read_pretrained
from textgym.reward_models.module import RewardModule
from textgym.text.batching import length_batches
from textgym.types import FloatArray, Shown, shown_text
from textgym.values import attribute_of

Output = Literal["logit", "probability"]
_TOKENIZER_FILES = ("tokenizer.json", "vocab*", "*.model")
_SLOT = re.compile(r"\{(prompt|response)\}")


class SequenceClassifierReward(RewardModule):
    """Scores texts by one output of an ``AutoModelForSequenceClassification``, with the classifier's own tokenizer.

    A text that is too long loses the end of its prompt; a response is cut only if it fills the context by itself. An
    empty text is scored by its special tokens, or as one EOS (else pad) where the tokenizer adds none.

        happy = SequenceClassifierReward("path/or/hub-id", label="POSITIVE", output="probability")

    Args:
        model: Folder or Hub id; safetensors weights only.
        label: Name or index of the output. May be left out if there is one output only (regression, reward models).
        template: How prompt and response become one text; ``"{response}"`` scores the response alone. ``None`` gives
            them to the tokenizer as a pair of texts.
        output: ``"logit"``, or ``"probability"``: softmax over the labels (a sigmoid for single-output and multi-label
            classifiers).
        batch_size: Most texts per batch; batches are made of texts of about one length.
        max_length: Most tokens; by default what the classifier can read.

    Raises:
        ModelError: If the label is missing or unknown, or it is no sequence classifier.
        ValueError: If a setting is out of range or the template lacks ``{response}``.
        CheckpointError: If the model cannot be found, lacks weights (such as those of its head) or has no tokenizer.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        label: str | int | None = None,
        template: str | None = "{prompt} {response}",
        output: Output = "logit",
        batch_size: int = 32,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        _check_settings(template, output, batch_size, max_length)
        folder = resolve_folder(model, kind="reward")
        self.name = Path(str(model)).name
        self.network: Any = read_pretrained(AutoModelForSequenceClassification, "a sequence classifier", folder)
        self.tokenizer: Any = _read_tokenizer(folder)
        self.column = _find_column(self.network.config, label)
        self.template, self.output = template, output
        self.max_length = _context(self.network.config, self.tokenizer, max_length)
        self.batch_size = self._prepare_padding(batch_size)
        self.eval()

    @torch.inference_mode()
    def scores_of(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Scores of ``n`` responses; conversations are read as one text."""
        texts = [shown_text(prompt) for prompt in prompts]
        rows = [self._encode(prompt, response) for prompt, response in zip(texts, responses, strict=True)]
        scores = np.empty(len(rows))
        lengths = [len(row["input_ids"]) for row in rows]
        for batch in length_batches(lengths, max_rows=self.batch_size, longest_first=False):
            scores[batch] = self._score([rows[i] for i in batch]).double().cpu().numpy()
        return self._checked(scores, responses)

    def _score(self, rows: Sequence[dict[str, list[int]]]) -> Tensor:
        device = next(self.network.parameters()).device
        padded = self.tokenizer.pad(rows, return_tensors="pt", verbose=False) if len(rows) > 1 else _single(rows[0])
        logits: Tensor = self.network(**{name: tensor.to(device) for name, tensor in padded.items()}).logits.float()
        if self.output == "logit":
            return logits[:, self.column]
        independent = logits.shape[1] == 1 or self.network.config.problem_type == "multi_label_classification"
        return (logits.sigmoid() if independent else logits.softmax(-1))[:, self.column]

    def _encode(self, prompt: str, response: str) -> dict[str, list[int]]:
        row = self._tokenize(prompt, response)
        return row if row["input_ids"] else {name: [self._lone_value(name)] for name in row}

    def _tokenize(self, prompt: str, response: str) -> dict[str, list[int]]:
        limits = {"max_length": self.max_length}
        if self.template is None:
            return dict(self.tokenizer(prompt, response, truncation="longest_first", **limits))
        row = self.tokenizer(_fill(self.template, prompt, response), verbose=False)
        excess = len(row["input_ids"]) - self.max_length
        if excess > 0:
            shorter = self._shorten(prompt, excess)
            row = self.tokenizer(_fill(self.template, shorter, response), truncation=True, **limits)
        return dict(row)

    def _lone_value(self, name: str) -> int:
        """Return the value of input ``name`` for an empty text: networks cannot read a row of no tokens."""
        known = (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id, 0)
        fill = next(int(token) for token in known if token is not None)
        return {"input_ids": fill, "attention_mask": 1}.get(name, 0)

    def _shorten(self, prompt: str, excess: int) -> str:
        """The prompt without its last tokens, and one more in case the new end is tokenised otherwise."""
        ids = self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        return str(self.tokenizer.decode(ids[: max(0, len(ids) - excess - 1)]))

    def _prepare_padding(self, batch_size: int) -> int:
        """Batch size that can be padded: decoder classifiers find a text's last token by the pad id, and need one."""
        pad = self.tokenizer.pad_token_id
        if pad is None:
            return 1
        if self.network.config.pad_token_id is None:
            self.network.config.pad_token_id = pad
        return batch_size


def _read_tokenizer(folder: Path) -> Any:
    try:
        # Where there are no files, transformers makes up a tokenizer that knows no word.
        if not any(file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)):
            raise FileNotFoundError(f"no {' or '.join(_TOKENIZER_FILES)}")
        return AutoTokenizer.from_pretrained(
            folder, padding_side="right", truncation_side="right", trust_remote_code=False
        )
    except Exception as error:  # what is wrong in files of others comes out anywhere in transformers
        raise CheckpointError(
            f"expected the classifier's tokenizer in {folder}, got none that can be read ({error}); fetch it again"
        ) from error


def _check_settings(template: str | None, output: str, batch_size: int, max_length: int | None) -> None:
    if template is not None and "{response}" not in template:
        raise ValueError(f"expected a template with {{response}}, got {template!r}; the response is what is scored")
    if output not in ("logit", "probability"):
        raise ValueError(f"expected output 'logit' or 'probability', got {output!r}; choose one of them")
    if batch_size < 1 or (max_length is not None and max_length < 8):
        raise ValueError(f"expected batch_size >= 1 and max_length >= 8, got {batch_size} and {max_length}; raise them")


def _find_column(config: Any, label: str | int | None) -> int:
    names = [str(config.id2label[index]) for index in range(config.num_labels)]
    match label:
        case None if len(names) == 1:
            return 0
        case None:
            raise ModelError(
                f"expected a label, since the classifier has {len(names)}, got none; pass label= one of {names}"
            )
        case int() if not 0 <= label < len(names):
            raise ModelError(f"expected a label index below {len(names)}, got {label}; the labels are {names}")
        case int():
            return label
    if label not in names:
        raise ModelError(f"expected a label of the classifier, got {label!r}.{did_you_mean(label, names)}")
    return names.index(label)


def _context(config: Any, tokenizer: Any, max_length: int | None) -> int:
    """Most tokens the classifier can read, or fewer if asked."""
    positions = attribute_of(config, "max_position_embeddings") or 2**20
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer"):
        positions -= (config.pad_token_id or 0) + 1  # their positions start behind the pad id
    return min(positions, int(min(tokenizer.model_max_length, 2**20)), max_length or 2**20)


def _fill(template: str, prompt: str, response: str) -> str:
    """Replace both slots in one pass: a literal ``{response}`` in a document is text."""
    texts = {"prompt": prompt, "response": response}
    return _SLOT.sub(lambda slot: texts[slot.group(1)], template)


def _single(row: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: torch.tensor([values]) for name, values in row.items()}
