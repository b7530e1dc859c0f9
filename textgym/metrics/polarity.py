"""The polarity of a text by counting words that praise and words that blame, in English."""

from __future__ import annotations

from textgym.metrics.words import words_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PRAISE = _words(
    """
    able accurate admirable adorable affordable agreeable amazing amazed appealing appetizing attentive attractive
    authentic awesome balanced beautiful beautifully believable beloved beneficial best better bliss bonus bravo
    bright brilliant calm capable careful charming cheap cheerful clean clear clever comfortable comfy committed
    compassionate competent complete convenient cool correct courteous cozy cosy creamy creative crisp crispy cute
    decent dedicated delicious delight delighted delightful dependable diligent dream durable easy easily
    efficient effective effortless elegant enjoy enjoyed enjoyable enjoys enthusiastic excellent exceptional
    exciting expert exquisite extraordinary fabulous fair faithful fantastic fascinating fast favorite favourite
    fine flawless flexible fluffy fresh friendly fruity fun funny generous gem genius gentle genuine glad glossy
    good gorgeous graceful gracious grateful great gripping handy happy happily harmonious hearty helpful helped
    helps honest hospitable humane ideal immaculate impeccable impressed impressive incredible informative
    ingenious innovative inspiring intelligent interesting inventive inviting joy kind kindly knowledgeable
    lasting laugh light like liked lively logical lovable love loved lovely loves loyal luckily lucky luxurious
    magical magnificent marvelous marvellous masterpiece memorable modern moving neat nice nicely original
    outstanding painless passionate patient peaceful perfect perfectly pleasant pleasantly pleased pleasure plus
    polite positive powerful praise precise precious pretty professional professionally profit prompt proud
    punctual pure quality quick quickly quiet rare reasonable recommend recommended recommending relaxed relaxing
    reliable remarkable respectful responsible rich romantic safe satisfied satisfying scenic sensational sensible
    sensitive sharp silent simple sincere skilled smart smile smiling smooth smoothly soft solid sophisticated
    spacious spectacular splendid spotless stable stunning strong sturdy stylish succeeded success successful
    super superb superior support supportive sweet sympathetic tasteful tasty terrific thank thankful thanks
    thorough thoughtful tidy top tough trust trustworthy truthful unforgettable unique useful valuable varied
    versatile vivid warm welcoming wholesome wide wise witty won wonderful wonderfully worth worthwhile worthy wow
    yummy
    """
)
BLAME = _words(
    """
    abrupt absurd abysmal afraid aggressive alas angry annoyed annoying appalling arrogant ashamed avoid awful
    awkward bad badly bankrupt beware bitter bland blame blurry bored boring bother break broke broken brittle bug
    buggy bugs burnt careless chaos chaotic cheat cheated clumsy cold complain complained complaint complaints
    condescending confused confusing corrupt cramped crash crashes creaky crooked crowded crumbling damaged damage
    dangerous dark deceived defect defective delay delayed delays depressing desperate dim dirt dirty disappoint
    disappointed disappointing disappointment disaster disastrous discomfort disgrace disgusting dishonest dislike
    disliked disorder disrespectful dreadful dreary dry dull dusty embarrassing empty endless error errors evil
    exhausted exhausting expensive fail failed fails failure fake false faulty feeble filthy flat flaw flaws
    flimsy fool forgot fraud freezing frustrated frustrating garbage ghastly gloomy greasy greedy grey grim grumpy
    harsh hasty hate hated hates hard harm heavy hell hideous horrible horror hurt hurts hysterical ignorance
    ignorant ignored impatient impolite impossible inadequate incompetence incompetent incomprehensible
    inconvenient incorrect indifferent inedible inferior infection insult insulting insufficient irresponsible
    irritating junk lack lacking lacks lame lazy leak leaking leaky lie lied lies lifeless loose lose losing loss
    lost loud lousy lumpy mean meagre mediocre mess messy misery miserable misleading missing mistake mistakes
    mold moldy mould muffled narrow nasty neglect negative negligent nervous nightmare noise noisy nonsense
    obnoxious odor offensive outrageous outdated overpriced overrated pain painful pathetic patchy pointless
    pompous poor poorly predictable problem problems rage regret regretted repulsive ridiculous rip rotten rough
    rude ruin ruined rush rushed rust rusty sad sadly salty scam scandal scared scratch scratched scratchy scream
    screamed severe shabby shame shameful shameless shit shock shocked shocking short sick silly slow slowly
    sloppy smell smells smelly smoke sour sorry spoiled stale steep sticky stiff stink stinks stolen stress
    stressful stupid suffer suffered suffering sweaty tacky tasteless tedious terrible terribly thin threw tight
    tinny tiny tired tiring tragedy tragic trash trouble ugly unable unacceptable unbearable uncomfortable
    uncooked unfair unfortunately unfriendly unhappy unhelpful unkind unnecessary unpleasant unprofessional
    unreliable unsatisfied unsuitable upset useless vague violent vomit vulgar waste wasted watery weak weird
    wobbly wooden worn worried worse worst worthless wrong
    """
)
_DENIALS = _words(
    """
    anything cannot cant don doesn didn dont isn wasn aren weren wouldn couldn shouldn hasn haven hadn hardly
    lacked neither never no nobody none nor not nothing nowhere without
    """
)
_REACH = 3


def polarity(text: str) -> float:
    """Return how much of what a text says in words of its own praises: from -1, all of it blames, to 1, all praises.

    Each word counts once, however often it stands there; a denial up to three words before it turns it round. 0 for
    a text without such words.

    Example:
        >>> polarity("A clean, quiet room."), polarity("Good, good, good, but loud."), polarity("It was not good.")
        (1.0, 0.0, -1.0)
    """
    words, signs = words_of(text), dict[str, int]()
    for place, word in enumerate(words):
        sign = (word in PRAISE) - (word in BLAME)
        if sign and word not in signs:
            denied = not _DENIALS.isdisjoint(words[max(0, place - _REACH) : place])
            signs[word] = -sign if denied else sign
    return sum(signs.values()) / len(signs) if signs else 0.0
