"""The task of talking with a user until it has what it wants."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from textgym.data.draws import Draws
from textgym.data.source import BuiltIn
from textgym.metrics.rouge import rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.chat.generator import NAME, hurried_conversation, model_conversation, users
from textgym.tasks.chat.user import MOST_TURNS, Needs, User, is_courteous, reply_to, spoken_to
from textgym.tasks.options import LEVELS
from textgym.types import (
    Data,
    Episode,
    Example,
    FloatArray,
    Message,
    Metric,
    Prompt,
    are_messages,
)

_SPOKEN = re.compile(r'([^\W\d]\w*): "(.*?)"(?:\s+(?=[^\W\d]\w*: ")|\s*\Z)', re.DOTALL)
_OWN_PROMPT_TOKENS, _OWN_NEW_TOKENS = 256, 48


def spoken_turns(text: str) -> tuple[Message, ...]:
    """Return the messages of a dialogue as some data sets write it: whoever spoke last is the user.

    >>> spoken_turns('ann: "Hi." bob: "Hello, you." ann: "Any news?"')[1:]
    (Message(role='assistant', content='Hello, you.'), Message(role='user', content='Any news?'))

    Returns:
        None where not all of the text is ``NAME: "..."``, or all of it is one person's.
    """
    found = list(_SPOKEN.finditer(text.strip()))
    said = [(match[1], match[2]) for match in found]
    if len({name for name, _ in said}) < 2 or "".join(match[0] for match in found) != text.strip():
        return ()
    user = said[-1][0]
    return tuple(Message("user" if name == user else "assistant", content) for name, content in said)


def courteous_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Score ``n`` texts: 1 for a sentence with one or two words of courtesy, and not rude, else 0."""
    return np.array([is_courteous(response) for response in responses], dtype=np.float64)


def courteous(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of the agent's turns that are courteous."""
    own = [[turn.content for turn in episode.turns if turn.role == "assistant"] for episode in episodes]
    return np.array([sum(map(is_courteous, turns)) / max(len(turns), 1) for turns in own], dtype=np.float64)


def goal_reached(episodes: Sequence[Episode]) -> FloatArray:
    """Measure whether the user got what it wants: 1 or 0."""
    return np.array([_user_of(episode).reached for episode in episodes], dtype=np.float64)


def turns_taken(episodes: Sequence[Episode]) -> FloatArray:
    """Measure how many turns the agent took."""
    counts = [sum(turn.role == "assistant" for turn in episode.turns) for episode in episodes]
    return np.array(counts, dtype=np.float64)


def _user_of(episode: Episode) -> User:
    return spoken_to(Needs.of(episode.example.extra), episode.turns)


class Chat(TextTask):
    r"""Talk with a user, who has a goal and little patience, until it has what it wants.

    ## Description
    A user opens a conversation: it wants a table, a repair, or to be listened to. Four facts matter, of which the
    opening tells some. Ask for the others, one at a time, and settle the matter in a sentence that states all four,
    and nothing else. An utterance is a turn; an episode has up to six.

    ## Data
    Built in: ``"users"``, invented users of three kinds:

    | kind | facts | it is settled by words such as |
    |---|---|---|
    | booking | day, time, number of guests, seats | booked, reserved, confirmed |
    | support | device, fault, day, time of day | arranged, noted, scheduled |
    | small talk, about a holiday | place, company, what was done, weather | how lovely, that sounds good |

    100,000 training, 2,000 validation and 2,000 test users, of which no two splits share one with the same facts.
    ``example.extra`` has ``kind``, ``facts``, ``told`` (what the opening tells), ``vague``, ``patience`` and ``voice``,
    and ``example.references`` two last words that satisfy the user.

    | difficulty | facts to ask for | told by half first ("This week.") | patience, in wasted turns | fewest turns |
    |---|---|---|---|---|
    | ``"easy"`` | 1 | 0 | 3 | 2 |
    | ``"medium"`` | 2 | 0 | 2 | 3 |
    | ``"hard"`` | 3 | 1 | 2 | 5 |
    | ``"mixed"`` | as of one of these, each for a third of the users | | | |

    Supervised training imitates a hurried assistant, turn by turn: while something is hidden, it asks in 40 % of turns
    only, idles in 12 %, and else settles the matter too early, guessing 20 % of what it does not know. It leaves the
    last fact out of 60 % of its last words, and is courteous in 40 % of its turns.

    Your own: any file, folder or Hub data set with a column of conversations and, if you have them, one of next turns:
    lists of messages (``role``, ``content``), texts such as ``ann: "Hello." bob: "Hi."`` (whoever speaks last is the
    user), or any text. There, an episode is one turn, and nobody answers.

    ## User
    It answers the first fact that an utterance asks for and that it has not told: by what is asked ("Which day",
    "When") or by a value that is proposed ("On Monday?"). All else is a wasted turn: an utterance that asks nothing, or
    nothing that matters, or what was told; more than two questions; more than 40 words; a sentence said before; a wrong
    or incomplete last word. Rude words cost two. When its patience is used up, it leaves; when it is content, too. What
    it says follows from the example and the assistant's turns alone, without chance, so that rollouts can be
    repeated, and branched from any turn.

    ## Prompt
    ``"{prompt}\nAssistant:"``, and lines ``"User: ..."`` and ``"Assistant:"`` later. Models with a chat template read
    their own messages instead; the first one begins with what an assistant has to find out. ``prompt_template=`` is
    another one, for all models. Budgets: 128 tokens for the prompt, 32 for an utterance, 32 for what is said in
    between; on your own data 256, and 48 for the turn.

    ## Rewards
    ``"gold"``, at the end of the conversation; ``"success"``, 1 or 0, is the sparse one. On your own data ``"rouge"``,
    ROUGE-L F1 against the best reference, where there are references; else 1 for a courteous turn.

    Gold is goal x pace x manners. Goal: 1 if it is reached; else half the facts that the latest last word stated, minus
    the values it stated that are none, divided by four (0 without a last word). Pace: 1, less 0.1 for every turn beyond
    the fewest possible, and at least 0.5. Manners: 0.7 plus 0.3 times the share of courteous turns; 0 for a rude
    one. A turn is courteous that has one or two expressions of courtesy (please, thank you, certainly, ...), begins
    with a capital letter and ends as a sentence. So thanking without end, asking everything at once, copying what was
    said, and stating all values are worth little or nothing. What is understood is found by words, in any English that
    has them; grammar beyond that is not scored.

    ## Scores
    On 200 test users with 95 % intervals: ``textgym evaluate TextChat-v0 --prompts 200 --seed 0``.

    | writer | gold | goal reached | turns | courteous |
    |---|---|---|---|---|
    | random tokens (``--agent random``) | 0.000 | 0.000 | 2.0 | 0.000 |
    | ``tiny-chat`` | 0.242 (0.216 to 0.272) | 0.085 | 3.1 | 0.400 |
    | ``tiny-chat``, ``--temperature 0`` | 0.252 (0.241 to 0.268) | 0.015 | 3.4 | 0.382 |
    | after PPO | 0.476 (0.435 to 0.517) | 0.495 | 3.2 | 0.377 |
    | after PPO, ``--temperature 0`` | 0.580 (0.545 to 0.613) | 0.680 | 3.1 | 0.227 |
    | perfect conversation | 1.000 | 1.000 | 3.0 | 1.000 |

    PPO is ``textgym train TextChat-v0 --steps 60000 --lr 3e-4 --gae-lambda 1``, about 4 minutes of one core, one seed:
    it learns to state all facts and to guess less, and not yet courtesy. The perfect conversation is that of
    ``textgym train TextChat-v0 --agent scripted --script reference --eval-prompts 200``, which trains nothing.

    ## Success
    Built in: the goal is reached: a last word with all four facts and nothing else. Own data: the turn is one of the
    references.

    ## Metrics
    Built in: ``goal_reached``; ``turns``, the number of the agent's turns; ``courteous``, the share of them that are
    courteous. Own data: ``rougeL`` with references, ``courteous``. ``words``, ``distinct_2`` and ``repetition_4``, of
    the last turn, as in every task.

    ## Arguments
    * ``data="users"``: the built-in users, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every opening instead of the one above.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"``, ``"hard"`` or ``"mixed"``, see above; built-in data only.

    ## Version History
    * v0: first version.
    """

    name = "chat"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": (*LEVELS, "mixed")}
    difficulty: str
    model = "tiny-chat"
    built_in: ClassVar[BuiltIn] = {NAME: users}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\nAssistant:"
    chat_prompt_template = (
        "You take orders and listen. Ask for what you do not know: of a table the day, the time, the number of people "
        "and the seats; of a repair the device, the fault, the day and the time of day; of a holiday the place, the "
        "company, what was done and the weather. One short, polite question at a time. Then say all four in one "
        "sentence: that it is booked or arranged, or how lovely it sounds.\n\n{prompt}"
    )
    gold_meaning = "goal reached, times pace and manners"
    max_prompt_tokens = 128
    max_new_tokens = 32
    max_reply_tokens = 32
    max_turns = MOST_TURNS
    scored_by_turns = True

    def adapt_to_data(self) -> None:
        """Choose metrics, reward and budgets; where nobody answers, an episode is one turn."""
        if self.data == NAME:
            self.reward, self.reward_reason = "gold", "The default reward of TextChat is gold: goal, pace and manners."
            self.metrics = {"goal_reached": goal_reached, "turns": turns_taken, "courteous": courteous, **TEXT_METRICS}
            self.main_metric = "goal_reached"
            return
        rouge: Mapping[str, Metric] = {"rougeL": ReferenceMetric(rougeL)} if self.has_references else {}
        self.max_turns, self.max_prompt_tokens, self.max_new_tokens = 1, _OWN_PROMPT_TOKENS, _OWN_NEW_TOKENS
        if "prompt_template" not in vars(self):
            self.chat_prompt_template = "{prompt}"
        self.metrics = {**rouge, "courteous": courteous, **TEXT_METRICS}
        self.main_metric = next(iter(self.metrics))
        self.reward = "rouge" if self.has_references else courteous_reward
        self.reward_reason = (
            "The default reward of TextChat is ROUGE-L against the references."
            if self.has_references
            else "Without references, the default reward of TextChat is 1 for a courteous turn."
        )

    def prompt(self, example: Example) -> Prompt | Sequence[Message] | str:
        """Return what the user has said so far: of a dialogue written as ``NAME: "..."``, its turns."""
        asked = super().prompt(example)
        turns = () if self.data == NAME or are_messages(example.prompt) else spoken_turns(example.text)
        if not turns or not isinstance(asked, Prompt):
            return asked
        return asked._replace(body=turns[-1].content, earlier=turns[:-1])

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        """Return what the user says: a function of the example and of the agent's turns, without chance."""
        said = reply_to(Needs.of(episode.example.extra), episode.turns) if self.data == NAME else None
        return None if said is None else [Message("user", said)]

    def is_success(self, episode: Episode) -> bool:
        """Return whether the goal is reached; on other data, whether the turn is one of the references."""
        return _user_of(episode).reached if self.data == NAME else super().is_success(episode)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality in [0, 1], shape ``(n,)``, on the built-in users; ``None`` on other data."""
        if self.data != NAME:
            return None
        return np.array([_user_of(episode).gold for episode in episodes], dtype=np.float64)

    def demonstrated(self, example: Example) -> Sequence[Sequence[Message]]:
        """Return a hurried assistant's conversation with the user of an example; on other data, its references."""
        if self.data != NAME:
            return super().demonstrated(example)
        draws = Draws(np.random.default_rng(zlib.crc32(example.key.encode())))
        return [hurried_conversation(Needs.of(example.extra), draws)]

    def exemplary(self, example: Example) -> Sequence[Message]:
        """Return a perfect conversation with the user of an example; on other data, its first reference."""
        return model_conversation(Needs.of(example.extra)) if self.data == NAME else super().exemplary(example)
