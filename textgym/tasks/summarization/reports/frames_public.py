"""Sentence frames about places and organisations.

``{slot}`` is filled with a value, ``(a|b)`` is a free choice of words, and in summaries ``<with {key}|without>`` is a
part that a hurried writer leaves out.
"""

from __future__ import annotations

from textgym.tasks.summarization.reports.genre import Genre

COUNCIL = Genre(
    name="council",
    slots={
        "town": "town",
        "project": "thing:project",
        "money": "money",
        "date": "date",
        "town2": "town",
        "project2": "thing:project",
        "money2": "money",
        "date2": "date",
        "person2": "person",
        "weekday": "weekday",
    },
    keys=("town", "project", "money", "date"),
    lead=(
        "The council (of|in) {town} (voted|agreed|decided) on {weekday} to build a new {project}.",
        "{town} will (get|have|build) a new {project}, the (town council|local council) (said|announced) on {weekday}.",
        "Plans for a new {project} in {town} were (approved|passed|accepted) on {weekday}.",
        "After a (long|short|lively) debate, councillors in {town} (backed|approved|chose) a plan for a new {project}.",
        "A new {project} (is coming to|will be built in) {town}, the council (said|decided) this week.",
        "Councillors in {town} (met on {weekday} and|met this week and) voted for a new {project}.",
    ),
    third=(
        "The (work|project|building) will cost {money}.",
        "It will cost {money}, paid (for by the region|from local taxes|from savings).",
        "The council has set aside {money} for the (work|plan|job).",
        "A (budget|sum) of {money} was (agreed|approved) for the work.",
        "The (total|full|agreed) price is {money}, (most|half) of it from a state grant.",
    ),
    fourth=(
        "It (should|will) open on {date}.",
        "The (doors|gates) are due to open on {date}.",
        "Opening day is (set|planned) for {date}.",
        "Builders (expect|hope|plan) to finish by {date}.",
        "(Residents|Families|People) can use it from {date}.",
    ),
    background=(
        (
            "An earlier (plan|offer|design) would have cost {money2}.",
            "Last year the council spent {money2} on (roads|repairs|street lights).",
            "The first (estimate|quote) was {money2}.",
        ),
        (
            "A (rival|different|competing) plan, for a {project2}, (was turned down|was dropped|failed).",
            "Some (residents|councillors|families) had (asked for|wanted) a {project2} instead.",
            "The (idea|plan) of a {project2} was (put off|dropped) until next year.",
        ),
        (
            "(Nearby|Neighbouring) {town2} (built|opened) a similar one (last year|two years ago).",
            "The same (builders|designers) have (just finished|completed) one in {town2}.",
            "People now have to travel to {town2} for (this|that).",
        ),
        (
            "The (first|old|earlier) opening date, {date2}, was (missed|given up).",
            "The next (meeting|session) of the council is on {date2}.",
            "Talks about the (plan|site) began on {date2}.",
        ),
    ),
    summaries=(
        "<{town}|A town> will build a new <{project}|public building>< (for|at a cost of) {money}|>, (due to"
        " open|opening)"
        "< on {date}| soon>.",
        "The council <(of|in) {town}|of a town> (has approved|approved|agreed to build) <a new {project}|a"
        " new building>"
        "< costing {money}|>< that (opens|will open) on {date}|>.",
        "A new <{project}|public building> (will open|is due to open) <in {town}|in a town>< on {date}|>"
        " (after the council"
        " (agreed|voted) to spend|and will cost) <{money}|public money>.",
        "Councillors <in {town}|in a town> (voted|agreed) to spend <{money}|money> on a new <{project}|public building>"
        "<, which (opens|will open) on {date}|>.",
        "<{town}|A town> is to get a new <{project}|public building>. It will (cost|need) <{money}|a large sum> and"
        " open <on {date}|later>.",
        "(Work|Building) on a new <{project}|public building> <in {town}|in a town> will cost <{money}|a"
        " large sum>, with"
        " (an|the) opening (planned|set) <for {date}|for later>.",
        "<On {date}|Next year>, <{town}|a town> will open a new <{project}|public building>"
        "<, (built at a cost of|costing|paid for with) {money}|>.",
    ),
)

STORM = Genre(
    name="storm",
    slots={
        "hazard": "thing:hazard",
        "town": "town",
        "count": "count:12:480",
        "weekday": "weekday",
        "hazard2": "thing:hazard",
        "town2": "town",
        "count2": "count:12:480",
        "weekday2": "weekday",
        "person2": "person",
    },
    keys=("hazard", "town", "count", "weekday"),
    lead=(
        "A {hazard} (hit|struck) the town of {town}, (officials|the police|the authorities) said.",
        "{town} was (hit|struck) by a {hazard}, (local radio|the mayor|the police) reported.",
        "People in {town} are (cleaning up|counting the cost) after a {hazard}.",
        "A {hazard} (caused|brought) (great|serious|heavy) damage in {town}, (rescue workers|the police) said.",
        "There was (shock|fear|alarm) in {town} when a {hazard} (hit|struck) the (town|centre).",
        "The (town|people) of {town} had little warning before a {hazard} (hit|struck).",
    ),
    third=(
        "At least {count} homes were (damaged|hit|affected).",
        "(Officials|Teams) (counted|found) {count} damaged homes.",
        "In all, {count} homes (were damaged|need repairs|lost their roofs or windows).",
        "Families from {count} homes (had to leave|were moved to safety).",
        "The damage (reached|extended to) {count} homes (across the town|in a few streets).",
    ),
    fourth=(
        "It (happened|came|began) on {weekday} (morning|evening|night).",
        "The (first|emergency) calls (came in|were made) (early|late) on {weekday}.",
        "The (worst|damage) came (early|late) on {weekday}.",
        "(Help|Aid|Rescue teams) arrived (later|late) on {weekday}, (the same day|within hours).",
        "Most people were (asleep|at work|at home) when it came on {weekday}.",
    ),
    background=(
        (
            "A {hazard2} (two years ago|last year|in the past) hit {count2} homes.",
            "The town still remembers a {hazard2} that (damaged|hit) {count2} homes.",
            "It was (worse|weaker) than last year, when {count2} homes were (damaged|hit).",
        ),
        (
            "(Nearby|Neighbouring) {town2} (escaped|was not touched|was spared).",
            "(Fire crews|Helpers|Nurses) came from {town2} to (help|assist).",
            "Some (families|people) (stayed|slept) with friends in {town2}.",
        ),
        (
            "Schools will (open again on|stay shut until) {weekday2}.",
            "More (rain|wind|bad weather) is (expected|forecast) for {weekday2}.",
            "Power should be back by {weekday2}.",
        ),
        (
            '"(We were lucky|It was very loud|I have never seen this)," said {person2}, a'
            " (neighbour|teacher|shopkeeper).",
            "The (mayor|fire chief|police chief), {person2}, (thanked|praised) the (helpers|volunteers).",
            "A (neighbour|driver|nurse), {person2}, (called for help|raised the alarm).",
        ),
    ),
    summaries=(
        "A <{hazard}|disaster> (hit|struck) <{town}|a town>< on {weekday}|>(, damaging| and damaged)"
        " <{count}|many> homes.",
        "<On {weekday}, a|A> <{hazard}|disaster> (damaged|hit) <{count}|many> homes <in {town}|in a town>, (the police|"
        "officials|the authorities) said.",
        "<{count} homes were|Many homes were> damaged <in {town}|in a town> when a <{hazard}|disaster> (hit|struck)"
        "< on {weekday}|>.",
        "<{town}|A town> was (hit|struck) by a <{hazard}|disaster>< on {weekday}|>. <{count} homes|Many"
        " homes> were damaged.",
        "Damage to <{count}|many> homes <in {town}|in a town> was caused by a <{hazard}|disaster>< that"
        " (came|struck) on"
        " {weekday}|>.",
        "(People|Families) in <{count}|many> homes <in {town}|in a town> (suffered|saw damage) (when|after) a"
        " <{hazard}|disaster> (hit|struck)< on {weekday}|>.",
    ),
)

COMPANY = Genre(
    name="company",
    slots={
        "org": "org:company",
        "product": "thing:product",
        "town": "town",
        "count": "count:20:900",
        "org2": "org:company",
        "product2": "thing:product",
        "town2": "town",
        "count2": "count:20:900",
        "person2": "person",
        "person3": "person",
        "weekday": "weekday",
    },
    keys=("org", "product", "town", "count"),
    lead=(
        "{org} will (make|build|produce) a {product}, the (firm|company) (said|announced) on {weekday}.",
        "The (firm|company) {org} has (shown|presented|announced) plans to (make|build) a {product}.",
        "A {product} is the next (big step|project|bet) of {org}, the (firm|company) said.",
        "{org} (wants|plans|hopes) to (sell|make) a {product} (next year|soon|within two years).",
        "On {weekday}, {org} (told|informed) its (owners|investors) that it will (make|build) a {product}.",
        "{org} is (betting|counting) on a {product}, its (boss|owner|head) said on {weekday}.",
    ),
    third=(
        "The factory will be (built|placed) in {town}.",
        "It will be (made|produced) at a (new|large|modern) plant in {town}.",
        "{town} was (chosen|picked) as the (site|place) for the plant.",
        "(Work|Production) will (start|begin) in {town} (next spring|within a year|soon).",
        "The (firm|company) has (bought|rented) land in {town} for the plant.",
    ),
    fourth=(
        "The plan (creates|will create|brings) {count} jobs.",
        "It will (hire|employ|need) {count} workers.",
        "There will be (work|jobs) for {count} people.",
        "Some {count} new jobs are (expected|promised).",
        "The (firm|company) is (looking for|seeking) {count} (people|workers).",
    ),
    background=(
        (
            "Its rival {org2} (sells|makes) a {product2}.",
            "(Last year|In spring) {org2} (stopped making|gave up) a {product2}.",
            "Until now the firm (was known for|only made) a {product2}.",
        ),
        (
            "A plant in {town2} with {count2} (jobs|workers) (closed|was sold) last year.",
            "The (firm|company) already has {count2} (people|workers) in {town2}.",
            "The town of {town2} (was turned down|was not chosen), although {count2} people (lack|need) work there.",
        ),
        (
            '"(This is a big step for us|We are proud|We have waited long for this)," said {person2}, (the'
            " boss|the owner).",
            "{person2}, who (founded|runs|leads) the firm, was (pleased|happy).",
            "The (design|idea) (came from|is by) {person2}, (a young engineer|an engineer).",
        ),
        (
            "A (union leader|bank expert|trade expert), {person3}, called it (good news|a risk|a gamble).",
            "Sales (rose|fell) last year, (mostly|partly) because of (prices|the weather).",
            "The (market|competition) for such goods is (hard|growing).",
        ),
    ),
    summaries=(
        "<{org}|A company> will (make|build|produce) a <{product}|new product>< in {town}|>(, creating| and create)"
        " <{count}|many> jobs.",
        "A <{product}|new product> (made|built) by <{org}|a company> will bring <{count}|many> jobs to"
        " <{town}|a town>.",
        "<{org}|A company> (plans|is planning) a (factory|plant) <in {town}|in a town> to (make|build) a"
        " <{product}|new product>, with <{count}|many> (jobs|workers).",
        "<{town}|A town> will get <{count}|many> jobs (as|when) <{org}|a company> (builds|makes|starts to make) a"
        " <{product}|new product> there.",
        "<{org}|A company> is to (make|build) a <{product}|new product>. The plant <in {town}|in a town> will"
        " (employ|hire|need) <{count}|many> (people|workers).",
        "About to (make|build) a <{product}|new product>, <{org}|a company> will (hire|employ) <{count} people|people>"
        " <in {town}|in a town>.",
        "<{count} (new |)jobs|New jobs> will come to <{town}|a town>, where <{org}|a company> will (make|build) a"
        " <{product}|new product>.",
    ),
)

MUSEUM = Genre(
    name="museum",
    slots={
        "org": "org:museum",
        "exhibit": "thing:exhibit",
        "count": "count:20:400",
        "date": "date",
        "org2": "org:museum",
        "exhibit2": "thing:exhibit",
        "count2": "count:20:400",
        "date2": "date",
        "person2": "person",
        "town2": "town",
    },
    keys=("org", "exhibit", "count", "date"),
    lead=(
        "The {org} will (show|present|display) {exhibit} (in its main hall|from all over the country|in a new show).",
        "A (large|new|major) show of {exhibit} is (coming to|planned at) the {org}.",
        "The {org} (has announced|is preparing|is planning) a (large|new|major) show of {exhibit}.",
        "(Visitors|Guests) of the {org} will soon (see|admire) {exhibit}.",
        "At the {org}, (everything|much) will (soon|now) be about {exhibit}.",
        "The {org} is (hoping|looking) for (crowds|many visitors) with a show of {exhibit}.",
    ),
    third=(
        "There are {count} (items|pieces|objects) (to see|on display).",
        "It (brings together|includes|holds) {count} (items|pieces|objects).",
        "(Lenders|Collectors|Families) have (lent|given) {count} (items|pieces|objects).",
        "In all, {count} (items|pieces|objects) (were chosen|will be shown).",
        "A (team|group) has (cleaned|repaired|studied) all {count} (items|pieces|objects).",
    ),
    fourth=(
        "The show (opens|starts|begins) on {date}.",
        "The (doors|rooms) open on {date}.",
        "(Opening day|The opening) is (on|set for) {date}.",
        "It can be (seen|visited) from {date}.",
        "(Tickets|Places) are (sold|on sale) for {date}, the opening day.",
    ),
    background=(
        (
            "Last year a show of {exhibit2} had {count2} (items|pieces|objects).",
            "Its (stores|rooms) also hold {count2} {exhibit2}.",
            "A (gift|loan) of {count2} {exhibit2} (was refused|came too late).",
        ),
        (
            "The {org2} in {town2} had (turned the show down|shown interest).",
            "Some of the (items|pieces) (come from|belong to) the {org2} in {town2}.",
            "After that, the show (moves|travels) to the {org2}.",
        ),
        (
            "A (concert|lecture) on {date2} is (free|sold out).",
            "A talk for (members|schools) is (planned for|held on) {date2}.",
            "It was first (planned|announced) for {date2}.",
        ),
        (
            '"(Each one tells a story|People will love it|It took us years)," said {person2}, who (leads|runs)'
            " the museum.",
            "{person2}, (a history teacher|a local writer), (wrote|prepared) the guide.",
            "The (rooms|cases) were (designed|built) by {person2}.",
        ),
    ),
    summaries=(
        "The <{org}|museum> will (show|present|display) <{count} |><{exhibit}|old objects>, (starting|beginning)"
        "< on {date}| soon>.",
        "A (show|display) of <{count} |><{exhibit}|old objects> (opens|will open|starts) at <the {org}|a museum>"
        "< on {date}|>.",
        "<From {date}, visitors|Visitors> can see <{count} |><{exhibit}|old objects> at <the {org}|a museum>.",
        "<The {org}|A museum> (opens|is opening|will open) a show of <{exhibit}|old objects>< on {date}|>< with {count}"
        " (items|pieces|objects)|>.",
        "<{count}|Many> (items|pieces|objects) will be (shown|on display) at <the {org}|a museum><, from {date}|>, in a"
        " show of <{exhibit}|old objects>.",
        "<{exhibit}|Old objects> are the (theme|subject) of a show at <the {org}|a museum>. It (opens|starts)"
        " <on {date}|soon>< and (has|includes) {count} (items|pieces|objects)|>.",
    ),
)

TRANSPORT = Genre(
    name="transport",
    slots={
        "structure": "thing:structure",
        "town": "town",
        "term": "term:closure",
        "weekday": "weekday",
        "structure2": "thing:structure",
        "town2": "town",
        "term2": "term:closure",
        "weekday2": "weekday",
        "person2": "person",
        "money2": "money",
    },
    keys=("structure", "town", "term", "weekday"),
    lead=(
        "The {structure} in {town} will be (closed|shut) for repairs.",
        "(Travellers|People|Visitors) in {town} will have to do without the {structure}.",
        "Repairs to the {structure} in {town} are (about to begin|urgent|overdue), (engineers|officials) said.",
        "(Engineers|Officials|Inspectors) are to close the {structure} in {town} (for repairs|for safety reasons).",
        "(Cracks|Faults|Holes) were found in the {structure} in {town}, which must (close|be closed).",
        "The {structure}, (used by many people|busy every day) in {town}, must be (repaired|renewed).",
    ),
    third=(
        "The (work|closure) will (last|take) {term}.",
        "It will stay (shut|closed) for {term}.",
        "The (builders|workers|engineers) need {term}.",
        "(Traffic|Passengers) will be (sent|led) another way for {term}.",
        "(Detours|Delays) are expected for {term}.",
    ),
    fourth=(
        "The closure (starts|begins) on {weekday}.",
        "(Barriers|Signs) will (go up|be put up) on {weekday}, when it (closes|shuts).",
        "From {weekday}, nobody will be let through.",
        "It (shuts|closes) on {weekday} (morning|evening|night).",
        "The last day to use it is the one before {weekday}.",
    ),
    background=(
        (
            "Two years ago a similar (job|closure) took {term2}.",
            "At first {term2} had been (planned|announced).",
            "Shops had asked for (no more than|at most) {term2}.",
        ),
        (
            "The {structure2} in {town2} (stays open|is not affected|was repaired last year).",
            "Most people will use the {structure2} (instead|for now).",
            "(Extra|Free) buses will run from {town2} (every hour|all day).",
        ),
        (
            "The repairs will cost {money2}.",
            "The (state|region) (pays|will pay) {money2}.",
            "A (new one|full renewal) would cost {money2}.",
        ),
        (
            "A public meeting is (set|planned) for {weekday2}.",
            '"(This is bad for business|Safety comes first|It had to happen)," said {person2} on {weekday2}.',
            "{person2}, (a taxi driver|a shopkeeper|a nurse), (complained|was not surprised).",
        ),
    ),
    summaries=(
        "The <{structure}|route> <in {town}|in a town> will (close|be closed|be shut) <for {term}|for a while>"
        "< from {weekday}|> (for|because of) repairs.",
        "<From {weekday}, the|The> <{structure}|route> <in {town}|in a town> will (be closed|be shut|stay closed)"
        "< for {term}|>, (officials|engineers) said.",
        "Repairs will (close|shut) the <{structure}|route> <in {town}|in a town>< for {term}|><, starting on"
        " {weekday}|>.",
        "<{town}|A town> (loses|will lose) its <{structure}|main route>< for {term}|>< from {weekday}|> (while|as) it"
        " (is repaired|is under repair).",
        "(Engineers|Officials) will (close|shut) the <{structure}|route> <in {town}|in a town>< on {weekday}|>. The"
        " (repairs|work) will (take|last) <{term}|some time>.",
        "<For {term}|For some time>, people <in {town}|in a town> must do without the <{structure}|main route>, which"
        " (closes|shuts)< on {weekday}| for repairs>.",
    ),
)

SCIENCE = Genre(
    name="science",
    slots={
        "org": "org:institute",
        "habit": "thing:habit",
        "benefit": "thing:benefit",
        "count": "count:40:990",
        "org2": "org:institute",
        "habit2": "thing:habit",
        "benefit2": "thing:benefit",
        "count2": "count:40:990",
        "person2": "person",
        "town2": "town",
    },
    keys=("org", "habit", "benefit", "count"),
    lead=(
        "{habit} may (improve|help|support) {benefit}, a (new|recent|large) study (shows|suggests|says).",
        "A (new|recent|large) study (links|ties) {habit} to better {benefit}.",
        "There is (new|fresh|good) evidence that {habit} is good for {benefit}.",
        "(Scientists|Researchers) have found that {habit} (can|may) (improve|help) {benefit}.",
        "Those who want better {benefit} could try {habit}, (scientists|researchers) say.",
        "Can {habit} (help|improve) {benefit}? A (new|recent) study says it can.",
    ),
    third=(
        "The (work|study) was (done|carried out) at the {org}.",
        "The (team|authors|scientists) (work at|come from) the {org}.",
        "The (results|findings) were (published|presented) by the {org}.",
        "It (comes from|was led by) the {org}.",
        "A team at the {org} (planned|ran) the (tests|study).",
    ),
    fourth=(
        "It (followed|tested|tracked) {count} (people|adults).",
        "In all, {count} (people|adults|volunteers) took part.",
        "They (followed|tested|tracked) {count} (people|adults) (for a year|over a year|for two years).",
        "The (results|data) come from {count} (people|adults|volunteers).",
        "Some {count} (people|adults|volunteers) (joined|completed) the study.",
    ),
    background=(
        (
            "An (older|earlier) study with {count2} people (found no effect|was less clear).",
            "The {org2} had (tested|asked) {count2} people (before|last year).",
            "Only {count2} people (had joined|took part in) an earlier test.",
        ),
        (
            "For {benefit2}, there was no (change|effect).",
            "{habit2} made no (difference|change).",
            "{habit2} was (linked|tied) to {benefit2} (in the past|long ago).",
        ),
        (
            '"(We were surprised|More work is needed|The effect is clear)," said {person2} of the {org2}.',
            "{person2}, who was not involved, (asked for|wants) (longer|larger) tests.",
            "The head of the team, {person2}, (was careful|urged caution).",
        ),
        (
            "The next (study|test) will be (run|held) in {town2}.",
            "Most of them (live|lived) (in or near|near) {town2}.",
            "The (effect|change) was (small|strongest) in older people.",
        ),
    ),
    summaries=(
        "A study <of {count} people|of many people> <at the {org}|by researchers> (found|shows|suggests)"
        " that <{habit}|a"
        " hobby> may improve <{benefit}|health>.",
        "<{habit}|A hobby> may (improve|help) <{benefit}|health>, (according to|says) a study <of {count}"
        " people|of many"
        " people> <by the {org}|by researchers>.",
        "(Researchers|Scientists) <at the {org}|in a new study> (found|say) that <{habit}|a hobby> can (help|improve)"
        " <{benefit}|health><, after testing {count} people|>.",
        "<The {org}|A new study> (has linked|links) <{habit}|a hobby> to better <{benefit}|health>"
        "< in a study of {count} (people|adults)|>.",
        "<The {org}|A team> (tested|studied) <{count}|many> (people|adults) and found that <{habit}|a hobby>"
        " is good for"
        " <{benefit}|health>.",
        "Better <{benefit}|health> may come from <{habit}|a hobby>, (a test|a study) with <{count}|many> people"
        " <at the {org}|by researchers> (shows|suggests).",
    ),
)

PUBLIC_GENRES = (COUNCIL, STORM, COMPANY, MUSEUM, TRANSPORT, SCIENCE)
