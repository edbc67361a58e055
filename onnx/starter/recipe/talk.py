"""Talk that is no command: chat, questions, television, sentences near a command, and mere words.

One line a pattern, written as in `sentences.py`; a leading `!` holds it out of training.
"""

TALK = """
i (think|guess|hope|know|said|believe) (that|) {np} {vp}
{np} {vp} (today|yesterday|again|this morning|last week|all day|every day|)
{np} {vp} because {np} {vp}
(did|do) you (see|hear about|remember|know|like) {np}
(what|how) about {np}
where (is|did you put|did they buy) {np}
(we|they|you|i) (should|could|might|have to) (buy|get|bring|visit|call|clean|paint|fix|move) {np} (tomorrow|soon|later|on monday|next week|)
(have you|has she|has he) (seen|called|met|found|fed) {np}
(my|her|his|our) (mother|father|sister|brother|friend|neighbor|boss|teacher|doctor) {vp}
there (is|was) {np} in the {place}
the {place} (is|was|looks|looked|smells) (really |so |very |pretty |) {adj}
(yes|no|well|okay|right|oh) {np} {vp}
i (turned|switched) (on|off) the (lights|lamp|light) (already|yesterday|before we left)
the (light|lamp|timer) in the {place} (was|is) (broken|new|nice|expensive|old|ugly)
the {food} (was|is|tastes|tasted) {adj}
let's (eat|cook|buy|make|order) (some |the |) {food} (tonight|tomorrow|for dinner|for lunch|)
(good morning|good night|thank you|thanks a lot|see you later|hello there|how are you|goodbye|you're welcome|bless you|excuse me|congratulations)
(what time|when) (are|did) (we|they|you) (leave|leaving|eat|eating|go|arrive)
(it's|it was) {adj} (outside|today|in here|yesterday)
(she|he) (works|lives|grew up|studied|was born) in (london|paris|the city|a small village|chicago|another country)
{num} (people|dogs|dollars|children|years|miles|books) (is|are|was) (a lot|enough|too many|not much)
it (takes|took|cost|costs) {num} (minutes|dollars|hours|percent) (to get there|every day|in the end|last time)
(can|could) you (tell|give|show|help|call|pass) (me|him|her|us) {np}
{salad}
{salad}
!(honestly|actually|by the way) {np} {vp}
!(did|does) (your|the) (mother|doctor|neighbor|teacher) (like|know|want) {np}
!(he|she) told me (that|) {np} {vp}
!we (had|ate) {food} in the {place} and it was {adj}
!who (left|put|broke) {np} in the {place}
"""
# Nothing to do, second part: what is near a command, what the television says, what nobody here can do.
NEAR = """
(she|he|my wife|my husband|somebody) (turned|switched) (on|off) (the|our) {device} (again|already|yesterday|last night|)
(i|we) (opened|closed|fixed|cleaned|painted|sold|bought|broke) the {device} (yesterday|last week|this morning|already|)
the {device} (is|was|looks|sounds) (really |too |very |pretty |) {adj}
the {device} (broke down|needs a new battery|makes a funny noise|came with the house|is from my mother)
(we|you|they) (need|want|should buy|bought|got) a new {device}
(do you|does she|did they) (like|have|want|need) (the|a|that|a new) {device}
(where|how) did (you|they|he) (buy|find|fix|clean) the {device}
(i|we) (drank|had|ordered|spilled|love|hate|made) (a|an|some|too much) {drink} (this morning|at work|yesterday|again|)
(his|my|her|your|the) {drink} (is|was) (cold|too hot|too sweet|really good|on the table|all gone)
(the|my) alarm (woke me up|went off|did not go off|was so loud) (this morning|today|again|)
(set|put) the (table|plates|book|bag|box) (on the floor|over there|down|aside|for dinner)
(turn|go) (left|right) (at the corner|after the bridge|on main street|at the light)
turn (the page|around|over|to page {num}|the pancakes|your head)
(open|close) (your eyes|your mouth|the book|the box|your hand|the bottle|the letter|the store)
(stop|start) (the car|running|crying|worrying|your homework|a fire|a fight|the engine)
(call|text|write to|visit) (my mother|dad|grandma|the office|the doctor|anna|the plumber)
(remind me to|don't forget to) (call|buy|feed|clean|pay|water) (mom|milk|the dog|the car|the rent|the plants)
(add|put) (milk|eggs|bread|apples|some cheese|soap) (to|on) (the|my) (list|shopping list)
(send|write) (a message|an email|a letter) to (my sister|the boss|michael|everybody)
(what's|what is|how's) the weather (like|today|tomorrow|in london|)
(will it|is it going to) (rain|snow|be sunny) (today|tomorrow|on the weekend|)
(who|when|where) (won|was|is|lost) (the game|the election|the match|the race|the queen|the battle)
(who is|who was) (the president|the queen|the king|your mother|that man|the first man on the moon)
(what|which) is the (capital|largest city|population|language) of (france|spain|china|brazil|canada|the country)
how (tall|old|far|big|deep|heavy) is (the tower|the moon|your brother|the lake|the mountain|that tree)
how many (people|days|cups|ounces|miles|feet) (are|are there) in (a year|a mile|a gallon|the city|a pound)
how do you (spell|say|cook|make|fix|clean) (that|rice|a cake|a chair|a shirt|this word)
(why|how) (is|was|are) (the sky|the sea|the grass|blood|snow) (blue|green|so cold|red|white)
(tell me|read me|sing me) (a joke|a story|a poem|a song|the news|about yourself)
(the|our|this) (government|company|minister|team|police|court|market) (said|announced|decided|reported) {np} {vp}
(tonight|later|coming up|next) on (the show|channel {num}|the news|our program) {np} {vp}
(and|so) (now|finally|then) (back to|over to) (the studio|you john|our reporter|the weather)
(buy|get) one and (save|get) {num} percent (today|this week|on your order|)
{num} (points|goals|votes|degrees|dollars|percent) (for|to|against) (the home team|the party|everybody|them)
(ladies and gentlemen|dear friends|good evening everybody) (welcome|please sit down|thank you for coming|)
(i'm|we're|they're) (going|walking|driving|flying) (home|to the store|to work|to school|upstairs) (now|soon|tomorrow|)
(i'm|she's|he's|we're) (tired|hungry|busy|happy|sad|late|sick|ready|sorry|fine|bored)
(thank you|thanks) (so much|very much|for dinner|for coming|my friend|everybody)
(have a|it was a) (nice|great|good|lovely) (day|evening|weekend|trip|time)
(see you|talk to you|call me) (later|tomorrow|soon|next week|tonight)
(dinner|lunch|breakfast|the food|your tea) is (ready|on the table|getting cold|almost done)
(come|sit|look|wait|stay|eat|wake) (here|down|at this|for me|with us|up) (please|now|honey|buddy|)
(could|can|would) you (help|wait|come|drive|hurry|move|smile|believe it)
(i|we) (can't|don't|won't|didn't) (believe it|know|remember|think so|care|understand why|mind)
(really|seriously|wow|great|cool|hello|hi|bye|oh dear|oh no|hmm|ha ha|well well|i see|no way to know)
(what|where|who|when|why|how) (do you|did they|can we|should i) (think|go|eat|start|wait|leave)
{salad}
{salad}
{salad}
!(my|his|her) (uncle|cousin|grandmother) (repaired|sold|bought) the {device} (yesterday|on sunday)
!(isn't|wasn't) the {device} (really |very |) {adj}
!(why|when) did (he|she|they) (order|drink|make) (a|an|that) {drink}
!(turn|open|close) (your book|the notebook|to the next page)
!(what's|what is) the (name|price|color|age) of {np}
!(breaking news|in other news|this just in) {np} {vp}
!(somebody|everybody|nobody) (wants|needs|likes) {np} (today|on monday|)
!(i|we) (never|always|often) (watch|eat|see|hear) {np} (at night|in the morning|)
"""
PARTS = {
    "device": """lights|lamp|light|fan|heater|television|radio|garage door|front door|window|blinds|curtains|
vacuum cleaner|coffee machine|thermostat|air conditioner|alarm clock|timer|speaker|oven|fridge|door|lock""",
    "drink": """coffee|latte|cappuccino|espresso|mocha|iced coffee|tea|americano|glass of milk|cup of coffee""",
    "np": """the dog|the cat|my old car|this song|that movie|the weather|a new phone|the baby|the game|
the train|the bus|the neighbors|her birthday|the party|the book|some flowers|my keys|the kids|
the big meeting|the news|a good idea|the other team|this chair|their house|the red bicycle|
his computer|our vacation|the doctor|the whole story|the door|the window|the television|the phone|
the blue shirt|a cup of coffee|the church|the mountain|an old friend|the report|the letter|music|
the plane|the market|nothing|everything|somebody|the president|the garden hose|winter|the ticket|
the photos|the answer|the horse|a glass of water|breakfast|the school|the store|money|her voice""",
    "vp": """was great|is late|looks good|broke down|never works|came home|went away|is really loud|
costs too much|makes me happy|started early|fell asleep|is on the table|was very funny|needs help|
will be fine|got lost|is waiting outside|sounds wonderful|was a surprise|can wait|is over|
has to change|did not arrive|won again|tastes better|seems strange|reminds me of you|is empty|
ran down the street|was cancelled|lost the match|hurts|grows fast|is getting cold|closed at five|
was left behind|talks all the time|moved to another town|takes forever|got stopped by the police""",
    "adj": """good|great|terrible|beautiful|cold|warm|hot|nice|boring|funny|delicious|dirty|clean|
empty|crowded|noisy|quiet|dark|bright|expensive|wonderful|strange|small|huge|messy|lovely""",
    "food": """pasta|pizza|rice|soup|bread|chicken|fish|cake|steak|salad|eggs|cookies|potatoes|
curry|noodles|cheese|apples|tea|coffee|ice cream|sandwiches|chocolate""",
    "place": """kitchen|bathroom|garage|garden|office|basement|house|car|hotel|restaurant|bedroom|
living room|attic|park|school|hallway|balcony|shop|church|hospital""",
    "salad": "",
}
SALAD = """water people number first over sound only little work know place year live back give most
very after thing our just name good sentence man think say great where help through much before line
right too mean old any same tell boy follow came want show also around form three small set put end
does another well large must big even such because turn here why ask went men read need land different
home us move try kind hand picture again change off play spell air away animal house point page letter
mother answer found study still learn should america world high every near add food between own below
country plant last school father keep tree never start city earth eye light thought head under story
saw left don't few while along might close something seem next hard open example begin life always
those both paper together got group often run important until children side feet car mile night walk
white sea began grow took river four carry state once book hear stop without second later miss idea
enough eat face watch far indian really almost let above girl sometimes mountain cut young talk soon
list song being leave family body music color stand sun question fish area mark dog horse birds problem
complete room knew since ever piece told usually friends easy heard order red door sure become top ship
across today during short better best however low hours black products happened whole measure remember
early waves reached listen wind rock space covered fast several hold himself toward five step morning
passed vowel true hundred against pattern numeral table north slowly money map farm pulled draw voice
power town fine certain fly fall lead cry dark machine note wait plan figure star box noun field rest
correct able pound done beauty drive stood contain front teach week final gave green quick develop
ocean warm free minute strong special mind behind clear tail produce fact street inch multiply nothing
course stay wheel full force blue object decide surface deep moon island foot system busy test record
boat common gold possible plane instead dry wonder laugh thousand ago ran check game shape hot brought
heat snow tire bring yes distant fill east paint language among jump queen judge quiz fox zebra vision
measure usual pleasure thick thumb think father mother church chair cheese orange bridge badge young
yellow yard use view music few huge value void noise boil joy house loud crowd shout""".split()

# Third part: plain sentences put together from many words, so that a sentence's frame tells little.
WIDE = """
{who} {past} {thing} {tail}
{who} {past} {thing} {tail}
{who} {modal} {verb} {thing} {tail}
{who} {modal} {verb} {thing} {tail}
{who} {be} {adj} {tail}
{who} {be} {adj} and {who} {past} {thing}
{wh} (do|did|can|should|would|will) {people} {verb} {thing} {tail}
{wh} (is|was) {thing} {tail}
{wh} (is|was) {thing} so {adj}
(do|did|can|should|would|will|could|don't|didn't|won't) {people} {verb} {thing} {tail}
(is|was|are|were|aren't|weren't) {people} {adj} {tail}
(is|was) {thing} {adj} (or|and) {adj}
who (took|saw|found|made|wants|lost|needs) {thing} (at|near|behind|from|for) the {place}
(what's|what is|what was) the (size|weight|reason|end|story|smell|taste|number|owner) of {thing}
(this|that|it) (is|was|could be|must be|looks|feels) {adj} {tail}
(this|that|it) (is|was) {thing}
if {people} {verb} {thing} {who} will {verb} {thing}
when {who} {past} {thing} it was {adj}
{thing} and {thing}
{thing} {tail}
{num} {things} {tail}
(no|yes|well|okay|so|but|and|because) {who} {past} {thing}
(i'll|we'll|you'll|he'll|she'll|they'll) {verb} {thing} {tail}
(i've|we've|you've|they've) {past} {thing} {tail}
(i'm|he's|she's|we're|they're|you're) {doing} {thing} {tail}
(please|just|never|always) {verb} {thing} {tail}
{verb} {thing} {tail}
{salad}
{salad}
{salad}
{salad}
!{who} {past} {thing} but {who} {past} {thing}
!why not {verb} {thing} {tail}
"""
PARTS |= {
    "who": """i|you|he|she|we|they|nobody|somebody|everyone|my brother|her sister|the boss|our neighbor|
the teacher|a man|a woman|the children|his wife|our friend|the driver|the girl|the boy|those people|the dog|
the whole family|my aunt|the guests|mister brown|anna|peter|the woman next door""",
    "people": """i|you|he|she|we|they|the kids|your parents|people|the students|your friends|the others""",
    "past": """saw|liked|bought|lost|found|made|took|broke|wanted|needed|forgot|remembered|heard|painted|carried|
sold|cooked|washed|moved|opened|closed|turned|called|drove|visited|wrote|read|met|hated|loved|watched|cleaned|
fixed|brought|gave away|looked for|talked about|waited for|asked about|thought about|paid for|stood behind""",
    "verb": """see|like|buy|lose|find|make|take|break|want|need|forget|remember|hear|paint|carry|sell|cook|wash|
move|call|drive|visit|write|read|meet|hate|love|watch|bring|look for|talk about|wait for|ask about|think about|
pay for|eat|drink|wear|build|draw|feed|borrow|believe|follow|win|show me|tell us about|walk to|sit on""",
    "doing": """buying|making|looking for|washing|painting|talking about|waiting for|thinking about|eating|
reading|watching|fixing|selling|carrying|driving|moving|cleaning|cooking|using|wearing""",
    "modal": """can|could|should|would|might|will|must|wants to|has to|used to|tried to|can't|didn't|won't|
never|always|really|sometimes""",
    "be": "is|was|looks|seems|feels|sounds|became|isn't|wasn't|will be|must be|used to be",
    "wh": "what|where|when|why|how|how often|since when|how long|with whom|in which year",
    "thing": """the picture|a blue car|the old house|my shoes|the shopping|her umbrella|that question|the bill|
the newspaper|a big box|the soup|some bread|the chocolate cake|a bottle of milk|the coffee|a cup of tea|the lamp|
the light|the lights|a new fan|the window|the curtains|the radio|the television|the heater|the alarm clock|
the timer|the kitchen|the bedroom|the garden|the garage|the door|the key|the music|the volume|the temperature|
the movie|the party|his jacket|the ticket|the meeting|the homework|the baby|the cat|your hand|the table|the chair|
the mountain|the river|the beach|the forest|the city|the airport|the bus stop|the hospital|their wedding|
the concert|a good restaurant|the number|the address|the blanket|the mirror|a funny story|the war|the price|
the color|the hotel room|those flowers|the apples|a sandwich|the salad|ten dollars|the bank|the weather|
a letter from home|the last train|the first page|the wrong answer|the other side|a piece of paper|sugar|milk""",
    "things": """apples|letters|cars|trees|pages|songs|houses|questions|birds|bottles|chairs|brothers|weeks|hours|
percent|degrees|minutes|cups|ounces|shots|lights|windows|rooms|steps""",
    "tail": """||||today|yesterday|last week|in the morning|at night|on monday|in the kitchen|in the city|at work|
at school|again|too|very much|with him|with my family|for dinner|for the party|before lunch|after the game|
in summer|by mistake|on the way home|at home|in the evening|a long time ago|next year|for an hour""",
}

# Fourth part: devices, rooms, drinks and hours spoken about, commands that break off, orders to somebody else.
HARD = """
the {device} in the {place} (is|was|are|were) (really |so |very |) {adj}
the {device} in the {place} {vp}
(we|they|i|she) (had|left|kept|found|saw) the {device} (on|open|off|closed) (all night|the whole day|for hours|last week|yesterday)
(he|she|my son|the neighbor|somebody|nobody) (switched|turned|shut) (on|off) the {device} in the {place}
(he|she|my son|the neighbor|nobody) (switched|turned) the {device} in the {place} (on|off) and (left|went to bed|came back)
(he|she|they|we) (set|started|cancelled|forgot) (the|a) {thing2} (yesterday|last night|before dinner|on monday|this morning)
(he|she|they|we) set (the|an) alarm for {num} and {vp}
(i|we|they) (used to|never|always|often|sometimes) (turn|switch) (on|off) the {device} (at night|in summer|before bed|too late)
(why|when|how often|where) (did|do|does) (he|she|they|we|you) (turn|switch) (on|off) the {device}
(why|since when) (is|was|are|were) the {device} in the {place} (so |) {adj}
(who|what) (turned|switched|opened|closed|broke) the {device} (on|off|again|last night|)
(should|could|do|did) (we|they|he|she) (open|close|buy|sell|move|paint) the {device} (in the {place}|)
(i|she|he) (think|thinks|said|hopes|knows|heard) the {device} (is|was) (on|off|open|closed|broken) 
(if|when|because|after|before) (he|she|the boy|my father) (turns|turned|switched) (on|off) the {device}
(my|her|our|your) {device} (is|was) (better|older|newer|bigger|brighter|louder) than (yours|mine|the other one)
(do|did|would) (you|they|the guests|your parents) (like|want|take|drink) (milk|sugar|cream) (in|with) (your|their|the) (coffee|tea)
(she|he|they|my friend|the woman) (ordered|drinks|had|likes|wants|makes|made) a {size2} {drink} with (milk|sugar|cream|soy milk)
(a|the) {size2} {drink} (costs|is|was) {num} (dollars|cents)
(they|we|you) (sell|have|had|ran out of) (milk|sugar|coffee|whole milk|almond milk|brown sugar) (there|at the shop|today|in the morning)
(i|we) (don't|never|can't) (drink|like|have) {drink} (with milk|with sugar|at night|after lunch|)
(the|this) music (was|is) {adj} (in the {place}|last night|at the party|)
(they|he|she|the band) (played|plays|will play) (music|a song|the next song|the last song) in the {place}
the (volume|temperature|time|date|color|price|light) (of|on|for) {np} (is|was) {adj}
(it|the water|the air|the soup|the night) (was|got|became|will be) (warm|cold|hot|dark|bright|loud) (in the {place}|last night|in london|there|yesterday)
(the|our|this) {place} (has|had|needs|needed) (a new|an old|two|a red|a blue) {device}
(paint|painted|we painted) the {place} (blue|green|white|yellow|red) (last year|in spring|together|)
(the|my) (train|meeting|movie|game|show|class) (starts|ends|was|is) at {num} (thirty|o'clock|fifteen|)
(he|she|it|the man) is {num} (years old|percent sure|minutes late|degrees|feet tall)
{num} (percent|minutes|degrees|dollars|people) (of the|in the|for the) (people|time|game|country|year)
(turn on|turn off|switch on|set|open|close|make|start|put|give me|can you|could you|play|stop the|cancel the|dim|is the) (the|a|my|)
(please|hey|okay|um|so|and|could you please|can you|i want you to|would you|i'd like) (turn|set|make|open|the|put|)
(can i get|can i have|i want|i'd like|give me|make me|may i have) (a|an|some|the|)
(and then|but then|so then) (we|he|she|they) (turned|went|opened|closed|set|made|played|stopped) {np}
(yes|no|okay|sure|right|well) (but|and|because|so) {who} {past} {thing}
(stop|open|play|repeat|next|start|cancel|set) (sign|source|ground|offender|door|line|up company|culture|point)
(don't|didn't|won't) (you|he|she|they|we) (think|know|believe|see) the {device} (is|was) {adj}
(did|have) you (ever |) (buy|bought|seen|see|lose|lost) (a|the|my) {device}
(tell|ask) (him|her|them|your father|the kids) to (turn|switch) (on|off) the {device}
(tell|ask) (him|her|them|your brother) (about|for) {thing}
(i|we|you) (should|would|could|might) have (turned|switched|closed|opened|locked) the {device}
(locked|unlocked|open|closed|broken) (doors|windows|garages|books|bottles) (are|were) {adj}
(the|your|that) vacuum (cleaner|) (was|is) (expensive|loud|new|in the closet|from my sister)
(what|which) (song|alarm|timer|movie|coffee|lamp|color) (was|did they play|did you like|is your favorite|do they have)
(we|they) (watched|saw|liked) (a|the) (movie|game|party|show) in the {place} (yesterday|on friday|together|)
(good|bad|great|no|any) (news|music|movies|coffee|light|weather) (today|in here yesterday|on the radio|for you|everywhere)
"""
PARTS |= {
    "size2": "small|large|medium|double|big|cold|fresh|dark roast|light roast",
    "thing2": "timer|alarm|pasta timer|thermostat|coffee machine|music|vacuum|table|meeting|date",
}
