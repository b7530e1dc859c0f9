"""Sentence frames about people (the notation is explained in ``frames_public``)."""

from __future__ import annotations

from textgym.tasks.summarization.reports.genre import Genre

RACE = Genre(
    name="race",
    slots={
        "person": "person",
        "contest": "thing:contest",
        "town": "town",
        "margin": "count:2:59",
        "person2": "person",
        "contest2": "thing:contest",
        "town2": "town",
        "margin2": "count:2:59",
        "weekday": "weekday",
    },
    keys=("person", "contest", "town", "margin"),
    lead=(
        "{person} (won|took first place in) the {contest} in {town} on {weekday}.",
        "The {contest} in {town} (ended with|brought) a win for {person}.",
        "In {town}, {person} was the (best|fastest) in the {contest}.",
        "{town} (saw|watched) {person} win the {contest} on {weekday}.",
        "{person} is the (new champion|winner) of the {contest} in {town}.",
        "(Large|Big|Loud) crowds in {town} (saw|cheered) {person}, who won the {contest}.",
    ),
    third=(
        "The (gap|lead|margin) at the end was {margin} seconds.",
        "{person_last} (won|finished) {margin} seconds (ahead|in front|clear).",
        "In the end {margin} seconds (made the difference|decided it).",
        "{person_last} (led|won) by {margin} seconds at the line.",
        "There were {margin} seconds between {person_last} and the next.",
    ),
    fourth=(
        "It was (a hard|a cold|a long) day, but {person_last} looked (fresh|calm|strong) at the finish.",
        "{person_last} had trained for (months|it for a year).",
        "{person_last} led (from the start|most of the way|after half the course).",
        "{person_last} (thanked|praised) the (crowd|helpers|trainers).",
        "{person_last} will (rest|take a break|celebrate) now.",
    ),
    background=(
        (
            "{person2} (came|finished|was) second.",
            "Last year's winner, {person2}, (was injured|gave up|stayed at home).",
            '"(It was very close|I did my best|The wind was hard)," said {person2}, who came second.',
        ),
        (
            "Last year the (gap|margin) was {margin2} seconds.",
            "A (flat tyre|fall|mistake) cost a rival {margin2} seconds.",
            "The (record|best time) was missed by {margin2} seconds.",
        ),
        (
            "{person_last} (lives|trains|grew up) in {town2}.",
            "The next race is in {town2}.",
            "Most (fans|visitors) came from {town2}.",
        ),
        (
            "A {contest2} for (children|beginners) was (called off|held too).",
            "(Earlier|Before that) there was a {contest2}.",
            "{person_last} (lost|failed to win) a {contest2} (in the past|last year).",
        ),
    ),
    summaries=(
        "<{person}|The favourite> won the <{contest}|event>< in {town}|>< by {margin} seconds|>, (to the joy"
        " of|cheered by)"
        " the crowd.",
        "<{person}|The favourite> (took first place in|is the winner of) the <{contest}|event> <in {town}|in a town>,"
        " (winning|finishing) <{margin} seconds|well> ahead.",
        "The <{contest}|event>< in {town}|> was won by <{person}|the favourite>, who (finished|was)"
        " <{margin} seconds|well>"
        " (ahead|in front).",
        "<In {town}|On the day>, <{person}|the favourite> won the <{contest}|event> (by|with a lead of)"
        " <{margin} seconds|some distance>.",
        "With a lead of <{margin}|a few> seconds, <{person}|the favourite> (won|took) the <{contest}|event>"
        " <in {town}|in a town>.",
        "<{town}|The town> saw <{person}|the favourite> win the <{contest}|event>. The (gap|margin) was"
        " <{margin} seconds|small>.",
    ),
)

COURT = Genre(
    name="court",
    slots={
        "person": "person",
        "loot": "thing:loot",
        "term": "term:sentence",
        "town": "town",
        "person2": "person",
        "loot2": "thing:loot",
        "term2": "term:sentence",
        "town2": "town",
        "weekday": "weekday",
        "weekday2": "weekday",
    },
    keys=("person", "loot", "term", "town"),
    lead=(
        "{person} (stole|took) a {loot}, a court in {town} (found|ruled) on {weekday}.",
        "A court in {town} has (found {person} guilty of|convicted {person} of) stealing a {loot}.",
        "In {town}, {person} was (found guilty of|convicted of|sentenced for) stealing a {loot}.",
        "{person} (admitted|confessed to) stealing a {loot}, a court in {town} (said|heard).",
        "The (theft|loss) of a {loot} has (brought|taken) {person} before a court in {town}.",
        "A (judge|jury) in {town} (had no doubt|was sure) that {person} stole a {loot}.",
    ),
    third=(
        "The (sentence|punishment) is {term} in prison.",
        "{person_last} must (go to|stay in) prison for {term}.",
        "{person_last} was (jailed|sent to prison|locked up) for {term}.",
        "The (judge|court) (ordered|set|fixed) a prison term of {term}.",
        "It means {term} (behind bars|in jail|in prison) for {person_last}.",
    ),
    fourth=(
        "{person_last} (looked down|said nothing|stayed calm) as the judge spoke.",
        "{person_last} can (still appeal|appeal within a month).",
        "{person_last} had (no money|large debts) (then|at the time).",
        "{person_last} (said sorry|apologised|asked for mercy) (in court|at the end).",
        "{person_last} was (caught|arrested) (soon after|the next day|at the border).",
    ),
    background=(
        (
            "The (state|prosecution) had (asked for|wanted) {term2}.",
            "In a (similar|recent) case, {term2} was the punishment.",
            "The most that the law (allows|permits) is {term2}.",
        ),
        (
            "A {loot2} was (found|left behind) at the scene.",
            "A (second|further) charge, about a {loot2}, was (dropped|not proved).",
            "The police are still (searching|looking) for a {loot2}.",
        ),
        (
            '"(Justice has been done|We will appeal|It was a hard case)," said {person2}, a lawyer.',
            "The owner, {person2}, (was relieved|was in court|thanked the police).",
            "A friend, {person2}, was (cleared|set free|not charged).",
        ),
        (
            "The police (stopped|searched) a car near {town2} on {weekday2}.",
            "A (shop|witness) in {town2} (helped|gave a hint).",
            "A (similar|second) case is (waiting|open) in {town2}.",
        ),
    ),
    summaries=(
        "<{person}|A thief> (was jailed|was sent to prison|must go to prison)< for {term}|>< by a court in {town}|> for"
        " stealing a <{loot}|valuable item>.",
        "A court <in {town}|in a town> (jailed|convicted and jailed) <{person}|a thief> <for {term}|for some time> for"
        " stealing a <{loot}|valuable item>.",
        "For stealing a <{loot}|valuable item>, <{person}|a thief> (must spend|will spend) <{term}|time> in prison"
        "<, a court in {town} (ruled|decided)|>.",
        "<{person}|A thief> (stole|took) a <{loot}|valuable item> and was (jailed|sent to prison) <for {term}|for some"
        " time>< by a court in {town}|>.",
        "<In {town}|In court>, <{person}|a thief> (was sentenced|has been sentenced) to <{term}|time> in prison (for"
        " stealing|for the theft of) a <{loot}|valuable item>.",
        "<{person}|A thief> was found guilty <in {town}|in court> of stealing a <{loot}|valuable item>. The sentence is"
        " <{term}|time> in prison.",
        "The theft of a <{loot}|valuable item> (means|brings) <{term}|time> in prison for <{person}|a thief>"
        "<, a court in {town} (ruled|decided)|>.",
    ),
)

PRIZE = Genre(
    name="prize",
    slots={
        "person": "person",
        "work": "thing:work",
        "org": "org:foundation",
        "money": "prize",
        "person2": "person",
        "work2": "thing:work",
        "org2": "org:foundation",
        "money2": "prize",
        "town": "town",
        "weekday": "weekday",
        "person3": "person",
        "town2": "town",
        "weekday2": "weekday",
    },
    keys=("person", "work", "org", "money"),
    lead=(
        "{person} has (won|received|been given) a prize for a {work}.",
        "A {work} by {person} has won a (large|big|major) prize.",
        "(A|This year's) big prize goes to {person} for a {work}.",
        "{person} (wept|smiled|laughed) on {weekday} when a {work} won a prize.",
        "With a {work}, {person} (beat many others|came out ahead of many) to win a prize.",
        "A {work} (made|has made) {person} the winner of a prize in {town}.",
    ),
    third=(
        "It is (given|awarded|paid) by the {org}.",
        "The {org} (gives|awards) it (each year|every year|every two years).",
        "The {org} (praised|liked) its (humour|courage|warmth).",
        "The prize of the {org} is (well known|old|new).",
        "The (jury|judges) of the {org} (chose|made the choice) (quickly|after a long talk).",
    ),
    fourth=(
        "The prize (is worth|brings|comes with) {money}.",
        "The (sum|prize money) is {money}.",
        "It (comes with|brings) {money}.",
        "A (cheque|sum) of {money} (was handed over|goes with it).",
        "The winner (gets|takes home) {money}.",
    ),
    background=(
        (
            "{person2} (came second|won last year|was the favourite) with a {work2}.",
            "A {work2} by {person2} (was praised|won nothing|came second).",
            "Many had (hoped|thought) that {person2} would win.",
        ),
        (
            "Last year the (sum|prize money) was {money2}.",
            "Another prize of {money2} went to a (school|student).",
            "The (jury|judges) had (asked for|wanted) {money2}.",
        ),
        (
            "The {org2} (helped|paid for the party|had offered a grant).",
            "In the past the {org2} (gave a grant|said no).",
            "A prize of the {org2} will be (given|awarded) on {weekday2}.",
        ),
        (
            '"(It made us laugh|It moved us|It is a great story)," said {person3}, (one of the judges|who led'
            " the jury).",
            "The party was held in {town2}.",
            "It was (begun|made|finished) during a (long|quiet) stay in {town2}.",
        ),
    ),
    summaries=(
        "<{person}|An artist> (won|received|was given) <{money}|a prize> <from the {org}|from the judges> for a"
        " <{work}|piece of art>.",
        "<The {org}|A jury> (gave|awarded) <{person}|an artist> <a prize of {money}|a prize> for a"
        " <{work}|piece of art>.",
        "A <{work}|piece of art> (won|has won|earned) <{person}|an artist> a prize< of {money}|>< from the {org}|>.",
        "<{person}|An artist> has won <the {org} prize|a prize><, worth {money},|> (for|with) a <{work}|piece of art>.",
        "For a <{work}|piece of art>, <{person}|an artist> (gets|receives|was awarded) <{money}|a sum of money>"
        " <from the {org}|from the jury>.",
        "The prize <of the {org}|of the year> goes to <{person}|an artist> for a <{work}|piece of art>. It is worth"
        " <{money}|a lot>.",
        "<{money} goes|Prize money goes> to <{person}|an artist> <from the {org}|from the jury> (for|as a prize for) a"
        " <{work}|piece of art>.",
    ),
)

APPOINTMENT = Genre(
    name="appointment",
    slots={
        "org": "org:employer",
        "person": "person",
        "post": "thing:post",
        "date": "date",
        "org2": "org:employer",
        "person2": "person",
        "post2": "thing:post",
        "date2": "date",
        "town": "town",
        "weekday": "weekday",
        "post3": "thing:post",
    },
    keys=("org", "person", "post", "date"),
    lead=(
        "{person} will be the new {post} of {org}.",
        "{org} has (named|chosen|picked) {person} as its new {post}.",
        "{person} is to (become|be) {post} (at|of) {org}, it was (said|announced) on {weekday}.",
        "The new {post} of {org} is {person}.",
        "{org} (said|announced) on {weekday} that {person} will be its {post}.",
        "After a (long|short) search, {org} has (found|chosen) a new {post}: {person}.",
    ),
    third=(
        "The (job|new role) (starts|begins) on {date}.",
        "The first day (in the job|at work) is {date}.",
        "{person_last} (takes over|starts|begins) on {date}.",
        "The change (happens|takes place|is planned) on {date}.",
        "From {date}, {person_last} will (be in charge|hold the job|do the job).",
    ),
    fourth=(
        "{person_last} has (worked|been) there for years.",
        "{person_last} (studied|grew up) in {town}.",
        "{person_last} (was the first choice|has many plans|is new to the trade).",
        "{person_last} (thanked|praised) the (staff|team).",
        "{person_last} (knows|likes) the work well.",
    ),
    background=(
        (
            "{person2} (left|gave up|lost) the job (last month|last year).",
            '"(We are very happy|It was a clear choice|We need new ideas)," said {person2}, who led the search.',
            "{person2} had (wanted|hoped for) the job too.",
        ),
        (
            "Before that, {person_last} was {post2} (at|of) {org2}.",
            "Years ago, {person_last} (worked|was) at {org2} as {post2}.",
            "{org2} (had|once) offered {person_last} the job of {post2}.",
        ),
        (
            "The (search|talks) began on {date2}.",
            "At first {date2} had been (planned|named).",
            "The staff will (meet|vote) on {date2}.",
        ),
        (
            "The {post3} will (stay|leave|help).",
            "(There is|It is) still no news about the {post3}.",
            "The post of {post3} is (still open|gone).",
        ),
    ),
    summaries=(
        "<{org}|An employer> has (named|chosen|picked) <{person}|a new person> as its new <{post}|manager>"
        "<, (starting|from) {date}|>.",
        "<{person}|Somebody new> will be the new <{post}|manager> of <{org}|an employer>< from {date}|>, it"
        " was announced.",
        "<From {date}|Soon>, <{person}|somebody new> will be <{post}|manager> (of|at) <{org}|an employer>.",
        "<{person}|Somebody new> (joins|will join) <{org}|an employer> as <{post}|manager>< on {date}|>,"
        " after a search.",
        "The new <{post}|manager> (of|at) <{org}|an employer> is <{person}|somebody new>, who"
        " (starts|begins|takes over)"
        " <on {date}|soon>.",
        "<{org}|An employer> has a new <{post}|manager>. <{person} will|The person will> (start|take over)"
        " <on {date}|soon>.",
        "The post of <{post}|manager> (at|of) <{org}|an employer> goes to <{person}|somebody new>"
        "<, (starting|beginning) on {date}|>.",
    ),
)

RESCUE = Genre(
    name="rescue",
    slots={
        "person": "person",
        "animal": "thing:animal",
        "town": "town",
        "weekday": "weekday",
        "person2": "person",
        "animal2": "thing:animal",
        "town2": "town",
        "weekday2": "weekday",
        "count2": "count:5:90",
    },
    keys=("person", "animal", "town", "weekday"),
    lead=(
        "{person} (saved|rescued) a {animal} from (a river|a burning barn|a deep hole|the ice).",
        "A {animal} is (alive|safe|well) thanks to {person}.",
        "When a {animal} was (trapped|in danger|stuck), {person} (acted fast|did not wait|came to help).",
        "A {animal} (was saved|was rescued) by {person}, who (works as a nurse|drives a bus|is still at school).",
        "{person} is a hero after (saving|rescuing) a {animal}.",
        "A {animal} (owes its life to|was pulled to safety by) {person}.",
    ),
    third=(
        "It (happened|took place) in {town}.",
        "The rescue (happened|took place) in the (middle|centre) of {town}.",
        "People in {town} (cheered|clapped|took pictures).",
        "The fire crew of {town} (came|arrived) (later|too late).",
        "All of {town} is (talking|happy) about it.",
    ),
    fourth=(
        "It was (early|late) on {weekday}.",
        "(Rain|Snow|Fog) made it hard on {weekday}, the day it happened.",
        "It (happened|was seen) on {weekday}, at (lunch time|sunrise|sunset).",
        "The (alarm|call) came on {weekday} (morning|evening|night).",
        "(Traffic|Trains) had to stop on {weekday}, (during|because of) the rescue.",
    ),
    background=(
        (
            "Last year a {animal2} (died|drowned) there.",
            "A {animal2} (ran away|could not be found).",
            "The (same people|neighbours) had helped a {animal2} before.",
        ),
        (
            "It was (taken|brought) to a (shelter|doctor|farm) in {town2}.",
            "It had (run away|come) from {town2}.",
            "A (farmer|vet) from {town2} (is looking after|looks after) it.",
        ),
        (
            '"(It was very weak|That was brave|It is eating again)," said {person2}, (a vet|a doctor).',
            "A (neighbour|farmer), {person2}, (held a rope|brought a ladder|called for help).",
            "{person2}, the owner, (wept|was very glad|said thanks).",
        ),
        (
            "It can (go home|leave) on {weekday2}.",
            "It took {count2} minutes.",
            "A (party|thank-you) is planned for {weekday2}.",
            "Each year {count2} (animals|others) are (saved|helped) this way.",
        ),
    ),
    summaries=(
        "<{person}|A brave person> (saved|rescued) a <{animal}|helpless animal> <in {town}|in a town>< on {weekday}|>,"
        " and (it is now safe|it is doing well|people cheered).",
        "<On {weekday}|This week>, <{person}|a brave person> (saved|rescued) a <{animal}|helpless animal>"
        " (that was in danger|that needed help) <in {town}|in a town>.",
        "A <{animal}|helpless animal> was (saved|rescued) by <{person}|a brave person>< in {town}|>< on"
        " {weekday}|>, and"
        " it is (now safe|doing well).",
        "<In {town}|In a town>, <{person}|a brave person> came to help and (saved|rescued) a <{animal}|helpless animal>"
        "< on {weekday}|>.",
        "Thanks to <{person}|a brave person>, a <{animal}|helpless animal> (in danger|in trouble)"
        " <in {town}|in a town> was (saved|rescued)< on {weekday}|>.",
        "A <{animal}|helpless animal> is safe. <{person}|Somebody> (rescued|saved) it <in {town}|in a town><"
        " on {weekday}|>"
        " (before it was too late|after an alarm).",
    ),
)

PEOPLE_GENRES = (RACE, COURT, PRIZE, APPOINTMENT, RESCUE)

FILLERS = (
    "(Many people|People|Neighbours) (are|were) talking about (it|this).",
    "It is (hard|too early) to say what will (happen|come) next.",
    "That is (certainly|of course|indeed) (interesting|important) (news|to know).",
    "(We|Readers) will (surely|no doubt) hear more (about this|of it) (soon|later).",
    "(Time|The future) will (show|tell) what it (means|changes).",
    "(As always|As usual), there are (different|many) (views|opinions) (on this|about it).",
    "There is (much|a lot) more that (could|might) be said (here|about this).",
    "(Some|Many) people (like|welcome) it, and (some|others) do not.",
    "(So|Well), this is (really|quite) a story for the (local|evening) paper.",
    "All in all, it (was|has been) a (busy|strange|normal) week.",
    "(The weather|The mood) was (good|mixed|fine) that day.",
    "(Everybody|Nobody) (knows|can say) how (these things|such stories) (go|end).",
)
