"""The table of shapes: the one place that says which there are."""

from __future__ import annotations

from functools import partial
from typing import Any

from textgym.feedback.records.shapes import grades, lists, pairs, trees
from textgym.feedback.records.shapes.cells import (
    ANYTHING,
    DIALOGUE,
    LABEL,
    MESSAGES,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECTS,
    RANKED,
    RATED,
    RESPONSE,
    SCORED,
    SHOWN,
    TEXT,
    TEXTS,
    TREE,
)
from textgym.feedback.records.shapes.prompts import PROMPTS
from textgym.feedback.records.shapes.shape import Shape, each, shape

_ANY = "|".join(PROMPTS)
_ANY_RESPONSE, _ANY_RATING = "|".join(grades.RESPONSES), "|".join(grades.RATINGS)
_ANY_LIST = "|".join(lists.RESPONSES)
_WINNER = ("winner", "choice", "preferred", "preference", "better", "label")
_ALL = ""  # all that a row says is kept
_NO_STRENGTH = "how strong a preference is is not kept"
_TIES = "equal scores are ties, and how far others are apart is not kept"
_SCORES = "equal scores are ties, and how far others are apart is not kept"
_ASKED, _GOOD, _BAD = "Sky?", "Blue.", "Red."
_USER, _RIGHT, _WRONG = (
    {"role": role, "content": text} for role, text in (("user", _ASKED), ("assistant", _GOOD), ("assistant", _BAD))
)
_SAID = f"\n\nHuman: {_ASKED}\n\nAssistant:"


def _said(text: str, rank: int) -> dict[str, Any]:
    return {"text": text, "role": "assistant", "rank": rank, "replies": []}


def _message_row(name: str, parent: str | None, role: str, text: str, rank: int | None) -> dict[str, Any]:
    return {"message_id": name, "parent_id": parent, "role": role, "text": text, "rank": rank}


SHAPES: tuple[Shape, ...] = (
    shape(
        "HelpSteer preference",
        each(partial(pairs.signed_preference, two=(("response1", "response_1"), ("response2", "response_2")))),
        _NO_STRENGTH,
        {"context": [_USER], "response1": _GOOD, "response2": _BAD, "overall_preference": -2},
        {
            _ANY: SHOWN,
            "response1|response_1": TEXT,
            "response2|response_2": TEXT,
            "overall_preference|preference_strength": NUMBER,
        },
    ),
    shape(
        "PKU-SafeRLHF",
        each(pairs.winner_of("response_0", "response_1", "better_response_id")),
        "by better_response_id; to learn safety instead, name safer_response_id so",
        {"prompt": _ASKED, "response_0": _GOOD, "response_1": _BAD, "better_response_id": 0, "safer_response_id": 1},
        {_ANY: SHOWN, "response_0": TEXT, "response_1": TEXT, "better_response_id": NUMBER},
    ),
    shape(
        "SHP (Stanford Human Preferences)",
        each(pairs.upvoted),
        _NO_STRENGTH,
        {"history": _ASKED, "human_ref_A": _GOOD, "human_ref_B": _BAD, "labels": 1, "score_A": 40, "score_B": 2},
        {"history": SHOWN, "human_ref_A": TEXT, "human_ref_B": TEXT, "labels": LABEL},
    ),
    shape(
        "WebGPT comparisons",
        each(pairs.two_scores),
        _TIES,
        {"question": {"full_text": _ASKED}, "answer_0": _GOOD, "score_0": 1.0, "answer_1": _BAD, "score_1": -1.0},
        {"question": ANYTHING, "answer_0": TEXT, "answer_1": TEXT, "score_0": NUMBER, "score_1": NUMBER},
    ),
    shape(
        "summarize-from-feedback",
        each(pairs.summaries),
        _ALL,
        {
            "info": {"title": "Sky", "post": "I looked up ..."},
            "summaries": [{"text": "Blue.", "policy": "a"}, {"text": "Red.", "policy": "b"}],
            "choice": 0,
            "worker": "w1",
        },
        {"info": OBJECT, "summaries": OBJECTS, "choice": NUMBER},
    ),
    shape(
        "Chatbot Arena",
        each(pairs.battle),
        "battles of several turns are kept if only the last answers differ",
        {
            "model_a": "m1",
            "model_b": "m2",
            "winner": "model_a",
            "judge": "ann",
            "conversation_a": [_USER, _RIGHT],
            "conversation_b": [_USER, _WRONG],
        },
        {"conversation_a": MESSAGES, "conversation_b": MESSAGES, "winner": TEXT},
    ),
    shape(
        "Chatbot Arena table",
        each(pairs.battle_table),
        "battles of several turns are kept if only the last answers differ",
        {
            "prompt": f'["{_ASKED}"]',
            "response_a": f'["{_GOOD}"]',
            "response_b": f'["{_BAD}"]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        {
            "prompt": ANYTHING,
            "response_a": ANYTHING,
            "response_b": ANYTHING,
            "winner_model_a": LABEL,
            "winner_model_b": LABEL,
        },
    ),
    *(
        shape(
            f"two responses and a choice ({first}, {second})",
            each(pairs.winner_of(first, second, *_WINNER)),
            _ALL,
            {"prompt": _ASKED, first: _GOOD, second: _BAD, "winner": first.rsplit("_", 1)[1], "annotator": "ann"},
            {_ANY: SHOWN, first: TEXT, second: TEXT, "|".join(_WINNER): ANYTHING},
        )
        for first, second in (("response_a", "response_b"), ("response_1", "response_2"), ("answer_a", "answer_b"))
    ),
    shape(
        "Nectar",
        each(lists.ranked_list),
        _ALL,
        {
            "prompt": f"{_SAID} ",
            "answers": [{"answer": _GOOD, "model": "m1", "rank": 1}, {"answer": _BAD, "model": "m2", "rank": 2}],
        },
        {_ANY: SHOWN, _ANY_LIST: RANKED},
    ),
    shape(
        "UltraFeedback",
        each(lists.annotated_list),
        f"{_SCORES}; without overall_score, the mean of the ratings counts",
        {
            "instruction": _ASKED,
            "completions": [
                {"model": "m1", "response": _GOOD, "overall_score": 8.5},
                {"model": "m2", "response": _BAD, "overall_score": 2},
            ],
        },
        {"instruction": SHOWN, "completions": RATED},
    ),
    shape(
        "responses with scores (StackExchange preferences)",
        each(lists.scored_list),
        _SCORES,
        {"question": _ASKED, "answers": [{"text": _GOOD, "pm_score": 12}, {"text": _BAD, "pm_score": 0}]},
        {_ANY: SHOWN, f"{_ANY_LIST}|responses_and_scores": SCORED},
    ),
    shape(
        "responses and scores in two lists",
        each(lists.parallel_scores),
        _SCORES,
        {"prompt": _ASKED, "responses": [_GOOD, _BAD], "scores": [9, 3.5]},
        {_ANY: SHOWN, _ANY_LIST: TEXTS, "scores|ratings": NUMBERS},
    ),
    shape(
        "ranking",
        each(lists.parallel_ranks),
        "the lowest rank is the best",
        {"prompt": _ASKED, "responses": [_BAD, _GOOD], "ranks": [2, 1], "annotator": "ann"},
        {_ANY: SHOWN, _ANY_LIST: TEXTS, "ranks|rank": NUMBERS},
    ),
    shape(
        "ranking as an order",
        each(lists.parallel_order),
        _ALL,
        {"prompt": _ASKED, "responses": [_BAD, _GOOD], "order": [2, 1]},
        {_ANY: SHOWN, _ANY_LIST: TEXTS, "order": NUMBERS},
    ),
    shape(
        "ranking in columns",
        each(lists.numbered_ranks),
        "the lowest rank is the best",
        {"prompt": _ASKED, "response_1": _GOOD, "rank_1": 1, "response_2": _BAD, "rank_2": 2},
        {_ANY: SHOWN, "response_1": TEXT, "rank_1": NUMBER, "response_2": TEXT, "rank_2": NUMBER},
    ),
    shape(
        "ranking, a row for each response",
        lists.ranks_by_row,
        "the lowest rank is the best",
        {"prompt": _ASKED, "response": _GOOD, "rank": 1, "annotator": "ann"},
        {_ANY: SHOWN, "response|answer|completion": TEXT, "rank": NUMBER},
    ),
    shape(
        "StackExchange pairs",
        each(partial(pairs.better_worse, better="response_j", worse="response_k")),
        _ALL,
        {"question": _ASKED, "response_j": _GOOD, "response_k": _BAD},
        {_ANY: SHOWN, "response_j": TEXT, "response_k": TEXT},
    ),
    shape(
        "OpenAssistant trees",
        trees.whole_trees,
        "replies of the assistant are ranked; ranks of the user's messages are not kept",
        {"prompt": {"role": "prompter", "text": _ASKED, "replies": [_said(_GOOD, 0), _said(_BAD, 1)]}},
        {"prompt": TREE},
    ),
    shape(
        "OpenAssistant messages",
        trees.message_rows,
        "replies of the assistant are ranked; ranks of the user's messages are not kept",
        _message_row("m2", "m1", "assistant", _GOOD, 0),
        {"message_id": TEXT, "parent_id": ANYTHING, "text": TEXT, "role": TEXT, "rank": ANYTHING},
    ),
    shape(
        "OpenAI preference",
        each(pairs.preferred_output),
        _ALL,
        {"input": {"messages": [_USER]}, "preferred_output": [_RIGHT], "non_preferred_output": [_WRONG]},
        {"input": OBJECT, "preferred_output": MESSAGES, "non_preferred_output": MESSAGES},
    ),
    shape(
        "UltraFeedback binarized",
        each(pairs.chosen_rejected),
        _TIES,
        {
            "prompt": _ASKED,
            "chosen": [_USER, _RIGHT],
            "rejected": [_USER, _WRONG],
            "score_chosen": 8.5,
            "score_rejected": 2.0,
        },
        {"chosen": MESSAGES, "rejected": MESSAGES, pairs.BETTER_SCORE: NUMBER, pairs.WORSE_SCORE: NUMBER},
    ),
    shape(
        "RewardBench",
        each(pairs.chosen_rejected),
        "several texts on a side are a ranking with two places",
        {"prompt": _ASKED, "chosen": _GOOD, "chosen_model": "m1", "rejected": _BAD, "rejected_model": "m2"},
        {_ANY: SHOWN, "chosen": RESPONSE, "rejected": RESPONSE, "chosen_model|subset": TEXT},
    ),
    shape(
        "TRL messages",
        each(pairs.chosen_rejected),
        _ALL,
        {"prompt": [_USER], "chosen": [_RIGHT], "rejected": [_WRONG]},
        {"chosen": MESSAGES, "rejected": MESSAGES},
    ),
    shape(
        "TRL explicit prompt",
        each(pairs.chosen_rejected),
        _ALL,
        {"prompt": _ASKED, "chosen": _GOOD, "rejected": _BAD},
        {_ANY: SHOWN, "chosen": ANYTHING, "rejected": ANYTHING},
    ),
    shape(
        "hh-rlhf",
        each(pairs.chosen_rejected),
        "what both dialogues share is the prompt",
        {"chosen": f"{_SAID} {_GOOD}", "rejected": f"{_SAID} {_BAD}"},
        {"chosen": DIALOGUE, "rejected": DIALOGUE},
    ),
    shape(
        "TRL implicit prompt",
        each(pairs.chosen_rejected),
        "what both texts begin with is the prompt",
        {"chosen": f"{_ASKED} {_GOOD}", "rejected": f"{_ASKED} {_BAD}"},
        {"chosen": ANYTHING, "rejected": ANYTHING},
    ),
    shape(
        "HelpSteer",
        each(grades.rated_aspects),
        "0 to 4 become 1 to 5, helpfulness the overall one; learn another with --criterion",
        {"prompt": _ASKED, "response": _GOOD, "helpfulness": 4, "correctness": 3, "verbosity": 1},
        {_ANY: SHOWN, _ANY_RESPONSE: TEXT, "helpfulness": NUMBER, "correctness|coherence": NUMBER},
    ),
    shape(
        "TRL unpaired (KTO)",
        grades.labelled,
        "true becomes 4, false becomes 2",
        {"prompt": _ASKED, "completion": _GOOD, "label": True},
        {_ANY: SHOWN, _ANY_RESPONSE: SHOWN, "label": LABEL},
    ),
    shape(
        "ratings from 1 to 5",
        each(grades.rated),
        _ALL,
        {"prompt": _ASKED, "response": _GOOD, "rating": 5, "annotator": "ann"},
        {_ANY: SHOWN, _ANY_RESPONSE: SHOWN, _ANY_RATING: NUMBER},
    ),
)
"""All shapes, the more special ones first: the first that fits counts."""
