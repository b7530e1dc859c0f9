"""Reward models, loaded when they first score."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.rewards.arguments import shown
from textgym.rewards.protocol import ScoredConversations, Scores, score
from textgym.security.consent import load_attribute
from textgym.types import Example, RewardFn, Shown, Task
from textgym.values import as_text, attribute_of

_LEARNED = "textgym.reward_models:load_reward"
_CLASSIFIER = "textgym.reward_models.classifier:SequenceClassifierReward"
_SIMILARITY = "textgym.reward_models.similarity:SimilarityReward"
_PESSIMISTIC = "textgym.reward_models.pessimistic:PessimisticReward"


class LazyReward(ScoredConversations):
    """A reward that is loaded when it first scores, so that making an environment stays fast and imports no torch.

    Args:
        name: Its name, for messages.
        source: Name or folder of the model.
        loader: Function or class that takes the source and the options, as ``"module:attribute"``.
        options: Further arguments of the loader.
    """

    def __init__(self, name: str, source: str, loader: str = _LEARNED, **options: object) -> None:
        if not as_text(source):
            raise TypeError(f"expected the name or folder of a reward model, got {shown(source)}; give it as a str")
        self.name = name
        self.source = source
        self._loader, self._options = loader, options
        self._loaded: RewardFn | None = None

    def bind(self, task: Task | None) -> LazyReward:
        """Return itself: a reward model needs no task."""
        return self

    def load(self) -> RewardFn:
        """Load the reward model, which may draw from torch's global generator; later calls return the same one."""
        if self._loaded is None:
            self._loaded = load_attribute(self._loader)(self.source, **self._options)
        return self._loaded

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses to texts or conversations."""
        return score(self.load(), prompts, responses, examples, name=self.name)


class ShippedReward(LazyReward):
    """The reward model that ships with the package."""

    def __init__(self) -> None:
        super().__init__("learned", "tiny-reward")


class Classifier(LazyReward):
    """An output of a Hugging Face sequence classifier: sentiment, toxicity, a published reward model.

    Args:
        model: Folder or Hub id.
        label: Name or index of the output; may be left out where there is one only.
        output: ``"probability"`` or ``"logit"``.
        template: How prompt and response become one text.
    """

    def __init__(
        self, model: str, label: str | None = None, output: str = "probability", template: str = "{prompt} {response}"
    ) -> None:
        column = int(label) if label is not None and label.isdecimal() else label
        super().__init__("classifier", model, _CLASSIFIER, label=column, output=output, template=template)


class Pessimistic(LazyReward):
    """The score of a reward ensemble less the disagreement of its members.

    Args:
        model: Folder or run with an ensemble.
        beta: Standard deviations over the members that are subtracted.
    """

    def __init__(self, model: str, beta: float = 1.0) -> None:
        super().__init__("pessimistic", model, _PESSIMISTIC, beta=beta)


class Similarity(LazyReward):
    """The cosine between the embeddings of a text and of its nearest reference, by a sentence-transformers model.

    Args:
        model: Folder or Hub id.
    """

    def __init__(self, model: str = "sentence-transformers/all-MiniLM-L6-v2") -> None:
        super().__init__("similarity", model, _SIMILARITY)


def load_reward_models(reward: object) -> None:
    """Load now what a reward, or a part of it, would load when it first scores.

    Code that restores random generators calls this before, because loading may draw from them.
    """
    if isinstance(reward, LazyReward):
        reward.load()
    for part in attribute_of(reward, "parts") or ():
        load_reward_models(part)
