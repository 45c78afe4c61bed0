//! What happens in the demo stories: plots as lists of paragraphs, in the notation of [`super::grammar`].
//!
//! `{@name}` is a part that several plots share, found by [`part`].

/// Every plot. A plot is its paragraphs.
pub const ALL: &[&[&str]] = &[LOST, GIFT, STRANGER, RACE, BUILD, NOISE, TRADES, ERRAND];

/// The shared part called `name`.
#[must_use]
pub fn part(name: &str) -> Option<&'static str> {
    PARTS.iter().find(|(part, _)| *part == name).map(|(_, text)| *text)
}

const PARTS: &[(&str, &str)] = &[
    (
        "opening",
        "[Once there was|There once lived|In a small town there was|Not long ago there was|Far beyond the hills there was] {a trait} {kind} \
         [called|named|whose name was] {hero}, who lived {home}. \
         [{shows}, and everybody knew it.|Everybody knew that {shows}.|{shows}.|People said that {shows}.]",
    ),
    (
        "friend",
        "[{his} best friend was|the friend {he} liked best was|next door lived] {friend}, {a ftrait} {fkind}[| who lived {fhome}]. \
         [{fshows}.|{hero} liked {friend} because {fshows}.|{friend} was {ftrait}, and {fshows}.]",
    ),
    (
        "weather",
        "[one morning|one evening|that day|on the first day of spring|late in the autumn|on a Sunday] {weather}, and {effect}.[| \"{remark},\" \
         [said|sighed|grumbled|laughed] [{hero}|{friend}].]",
    ),
    ("sorrow", "[{hero} was {sorrow}, and {sorrows}.|{hero} felt {sorrow}. {sorrows}.|{sorrows}, because {hero} was {sorrow}.]"),
    ("joy", "[{hero} was so {joy} that {joys}.|{hero} felt {joy}, and {joys}.|{joys}. {hero} had never been so {joy}.]"),
    (
        "tool",
        "[before they left, {elder} gave {hero} {a tool}. \"Who goes far needs {a tool},\" said {elder}.|on the way they met {elder}, who had {a tool}. \"Take my \
         {tool},\" said {elder}. \"You may need it.\"|{elder} looked at {hero} and fetched {a tool}. \"Bring it back one day,\" {ehe} said.] [{hero} put the \
         {tool} into {his} bag.|{hero} thanked {elder} and took the {tool}.|{friend} carried the {tool} first, and then {hero} did.]",
    ),
    (
        "obstacle",
        "[but halfway|soon, however,|after an hour,|then,] {obstacle}. [\"What now?\" asked {friend}.|\"We must turn back,\" said {friend}.|{friend} stopped and looked \
         at {hero}.|\"I did not think of that,\" said {hero}.] [then {hero} remembered the {tool}.|\"The {tool}!\" cried {hero}.|{hero} opened {his} bag and took \
         out the {tool} that {elder} had given {him}.] {solves}. [\"Thank {elder} for that,\" said {friend}.|{friend} followed.|it was easy after all.|\"{elder} \
         was right,\" said {hero}.]",
    ),
    (
        "evening",
        "[in the evening|when the stars came out|back home|at the end of the day] they [ate|shared|had] {food} [{inplace}|by the fire|with {elder}]. \
         [\"{advice},\" said {friend}.|\"What did you learn?\" asked {elder}. \"That {advice},\" said {hero}.|\"Remember,\" said {friend}, \"{advice}.\"] \
         [and {hero} never forgot it.|{hero} nodded, for {he} was {trait} but not foolish.|{hero} thought about that until {he} fell asleep.|and that is \
         how {hero} and {friend} [spent the day|became closer than before].]",
    ),
    (
        "return",
        "[on the way home {hero} gave the {tool} back to {elder}.|the next day {hero} returned the {tool} to {elder} with a bow.|{elder} got the {tool} back, \
         and {a look} apple as well.|{hero} did not forget to bring the {tool} back to {elder}.]",
    ),
];

const LOST: &[&str] = &[
    "{@opening} {hero} had {a thing}, and {he} used it {purpose}. [{@friend}|{he} loved the {thing} more than anything.]",
    "{@weather} [{hero} reached for the {thing}, but it was gone.|when {hero} looked for the {thing}, the shelf was empty.|somebody had moved the \
     {thing}, or so {hero} thought.] without the {noun}, {lack}. {@sorrow}",
    "[\"Have you seen my {thing}?\" {hero} asked {friend}.|{hero} ran to {friend}. \"My {thing} is lost!\" {he} cried.|\"I have lost my {thing},\" {hero} told {friend}.] \
     [\"When did you last have it?\" asked {friend}. \"When I was {inplace},\" said {hero}.|\"You had it {inplace}, {count} days ago,\" said {friend}.] \
     [\"Then we will go there,\" said {friend}.|\"Then let us look there,\" said {friend}, and they set out for {place}.] {@tool}",
    "{@obstacle}",
    "[at last they were {inplace}, where {view}.|when they came to {place}, {view}.] [{friend} looked {otherspot}, but there was nothing. {hero} looked {spot}, and there \
     was the {thing}!|they searched {otherspot} and found only dust. then {friend} called, \"Come here!\" {spot} lay the {thing}.|the {thing} lay {spot}, just where \
     {hero} had left it.] {@joy}",
    "[{@return} |]{@evening}",
];

const GIFT: &[&str] = &[
    "{@opening} {@friend}",
    "[in {count} days it would be {friend}'s birthday|the birthday of {friend} was near], and {hero} wanted to give {fhim} {a thing} {purpose}. \
     [for {friend} had none, and {lack}.|\"{friend} needs one,\" thought {hero}, \"because {lack}.\"] [but {a noun} costs money, and {hero} had none.|but \
     nobody in town sold {a thing}.] {@sorrow}",
    "[{hero} asked {elder}.|so {he} went to {elder}.] [\"{elder2} has {a thing}, {inplace},\" said {elder}.|\"Go to {elder2}, who works {inplace},\" said {elder}. \"Who \
     asks politely gets an answer.\"] {@tool}",
    "{@weather} [but {hero} set out {hour}.|still, {hero} left {hour}.] then {obstacle}. [{hero} thought of {elder} and took out the {tool}.|\"How good that I have \
     the {tool},\" {he} said.] {solves}.",
    "{inplace} {view}. [{elder2} was sweeping the floor.|{elder2} sat {spot}.|{elder2} was asleep {spot}.] \"[I need|I am looking for] {a thing} for my friend \
     {friend},\" said {hero}. \"[What can you do for it|What will you give me]?\" asked {elder2}. [{hero} mended {elder2}'s {noun2}, {count} hours long.|{hero} carried \
     {count} sacks up the stairs.|{hero} gave {his} own {thing2} for it.] [\"Well done,\" said {elder2}, \"take the {noun}.\"|then the {thing} was {his}.]",
    "[on the birthday {friend} opened the parcel.|{friend} pulled at the string.] \"{a thing}!\" [{fhe} cried|said {friend}]. \"[Now I can use it|Just what I need] \
     {purpose}.\" {@joy} {@evening}",
];

const STRANGER: &[&str] = &[
    "{@opening} {he} [owned little, only {a thing} and {a thing2}|had {a thing}, which {he} used {purpose}].",
    "{@weather} {hour} {hero} heard {fsteps} steps {inplace}. [a stranger stood there|there stood a stranger], {a ftrait} {fkind}, [wet and hungry|with a torn \
     coat|with {count} bags]. \"[I am called|My name is] {friend},\" said the stranger. \"I have lost [my way|the road to {place2}], and I have no {noun}.\"",
    "[{hero} was {trait}, but {he} opened the door.|{hero} thought for a moment. then {he} smiled.] \"Come in, {friend},\" {he} said. \"[There is|We have] {food}.\" \
     {friend} ate [{count} bowls|everything] and told {him} about {place2}, where {view2}. [in the morning {hero} gave {fhim} the {thing} {purpose}.|\"Take my \
     {thing},\" said {hero}, \"you need it more than I do.\"] [\"I will not forget it,\" said {friend}.|\"One day I will pay you back,\" said {friend}.]",
    "[{count} months|a year|a long winter] went by. {hero} missed the {noun}, for {lack}. {@sorrow} [so {hero} set out for {place2}.|one day {he} had to go to {place2}.] \
     on the road {obstacle}. [{hero} had no {tool}.|\"If only I had {a tool},\" said {hero}.]",
    "[then {fsteps} steps came closer.|\"Is that you, {hero}?\" called a voice.] it was {friend}, [and {fhe} had {a tool}|with {a tool} on {fhis} back]! {solves}. \"[And \
     here is|I have also brought back] your {thing},\" said {friend}. {@joy}",
    "[they walked on together to {place2}|from then on they were friends]. {@evening}",
];

const RACE: &[&str] = &[
    "{@opening} {@friend}",
    "[every year there was a race from {place} to {place2}|{elder} called everyone together. \"Tomorrow there is a race from {place} to {place2},\" {ehe} said], \
     and the prize was {a thing}. [\"I will win it {purpose},\" said {hero}.|\"I need that {noun},\" said {friend}, \"because {lack}.\"] [\"We shall see,\" said \
     [{friend}|{hero}].|they shook hands.]",
    "{@weather} [the race began {hour}.|{elder} rang a bell, and they ran.] {hero} was [in front|behind], and {friend} was [close behind|in front|last]. [they passed \
     {count} hedges|they ran {count} miles]. {inplace} {view}.",
    "[suddenly {hero} heard a cry. {friend} had fallen, {spot}.|then {friend} slipped and fell {spot}.] \"[My foot|My leg]!\" cried {friend}. {hero} [could see|saw] \
     {place2}, where {view2}. the {thing} was so near! [{he} stopped, and {sorrows}.|{hero} was {sorrow}.] but a friend is worth more than {a noun}, so \
     {hero} turned [around|back].",
    "{hero} [helped {friend} up|put {friend}'s arm over {his} shoulder]. together they walked to {place2}, [and they were the last|where everybody was waiting]. \
     [{elder} had seen it all.|\"I saw what you did,\" said {elder}.] {ehe} gave the {thing} to [both of them|{hero} and {friend}]. [\"You keep it today, and I keep it \
     tomorrow,\" said {hero}.|\"Let us use it together {purpose},\" said {friend}.] {@joy}",
    "{@evening}",
];

const BUILD: &[&str] = &[
    "{@opening} [what {he} wanted most was {a thing}|{he} dreamed of {a thing}], {purpose}. [\"Then make one,\" said {elder}.|nobody would lend {him} one, so {he} \
     decided to make it.]",
    "{@weather} {hero} [gathered|collected] {count} boards {inplace}, where {view}, and [{count} nails {spot}|some string {spot}]. [{he} worked until it was dark.|{he} \
     cut and tied and hammered.] [but the {noun} broke {hour}.|but when {he} tried the {noun}, it fell apart.] {@sorrow}",
    "[{friend} came by|then {friend} passed], {a ftrait} {fkind}. {fshows}. \"[What is that|What are you making]?\" [{fhe} asked|asked {friend}]. \"[It was to be|It is] \
     {a thing},\" said {hero}, \"but it [will not hold|always breaks].\" {friend} [looked at it|turned it over {count} times]. \"[I know what is missing|You \
     need better wood],\" {fhe} said. \"Let us go to {place2}. but [first|before that] we need {a tool}.\" {elder} lent them {a tool}.",
    "{@obstacle}",
    "{inplace2} {view2}. [they found strong wood there.|there they found what they needed.] [\"You hold it, and I will tie it,\" said {friend}.|{friend} held the wood, and \
     {hero} tied the knots.] [this time the {noun} held.|{hour} the {thing} was ready, and it did not break.] [they painted it.|it was the finest {thing} in the \
     land.] {@joy}",
    "[now they could use it {purpose}.|before, {lack}. now all was well.] {@return} {@evening}",
];

const NOISE: &[&str] = &[
    "{@opening} {@friend}",
    "{@weather} [that night {hero} woke up.|{hero} could not sleep.] there was a noise {inplace}, [like a saw|like someone crying|like {count} drums]. \
     [\"It is a ghost,\" thought {hero}.|\"Did you hear that?\" {hero} asked {friend}. \"I did,\" said {friend}.] {@sorrow}",
    "[\"We must see what it is,\" said {friend}, \"for {advice}.\"|\"Stay here,\" said {friend}. \"No,\" said {hero}, \"we go together.\"] {hero} took the {thing}, which \
     {he} used {purpose}, and {friend} took {a tool}. they went out {hour}, [hand in hand|without a word].",
    "[halfway|behind the last house] {obstacle}. [\"Good that you have the {tool},\" said {hero}.|{friend} held out the {tool}.] {solves}. now the noise was \
     [very near|louder]. {inplace} {view}.",
    "[and there, {spot}, sat {elder}!|it came from {spot}. {hero} looked, and there sat {elder}.] \"[Forgive me|I am sorry],\" said {elder}. \"I have lost my {noun2}, \
     and without it {lack2}.\" [so it was not a ghost.|\"So that was the noise,\" said {friend}.] {hero} [searched|looked] {otherspot}, and there was {a thing2}. \
     \"Is this yours?\" [{he} asked|asked {hero}]. \"My {thing2}!\" cried {elder}. {@joy}",
    "[{elder} thanked them and cooked {food}.|{elder} told the story for years.] {@evening}",
];

const TRADES: &[&str] = &[
    "{@opening} {he} had {a thing} {purpose}, but what {he} needed was {a thing3}, because {lack3}. {@friend}",
    "{@weather} {hero} went to {place}, where {view}. there {he} met {elder}. \"[What a fine|That is a nice] {thing},\" said {elder}. \"I have {a thing2}. shall we \
     trade?\" [{hero} thought of it twice.|\"Why not,\" said {hero}.] so {hero} gave the {thing} to {elder} and got the {thing2}.",
    "[next {he} walked|then {he} went] to {place2}, where {view2}. {elder2} was there, [in tears|with an empty bag]. \"Without {a noun2}, {lack2},\" said {elder2}. \
     [\"I have one,\" said {hero}. \"do you have {a noun3}?\"|{hero} showed {elder2} the {thing2}.] [\"I have {a thing3},\" said {elder2}. \"It is yours.\"|{elder2} gave \
     {a thing3} for it.] now {elder2} had the {thing2}, and {hero} had the {thing3}.",
    "{@sorrow} [for {friend} was waiting, and the way home was long.|it was late, and {friend} was alone at home.] {friend} came to meet {him} with {a tool}. [on the way \
     home|just before the town] {obstacle}. {solves}.",
    "[\"Show me what you got,\" said {friend}.|\"What is in your bag?\" asked {friend}.] \"{a thing3},\" said {hero}, \"{purpose3}.\" \"And where is your {thing}?\" [asked \
     {friend}|{fhe} asked]. \"{elder} has it now, and {elder2} has the {thing2},\" said {hero}. [\"So everyone has what they need,\" said {friend}.|{friend} laughed.] \
     {@joy}",
    "{@evening}",
];

const ERRAND: &[&str] = &[
    "{@opening} {he} worked for {elder}, [who was strict but fair|who had {count} cats]. {@friend}",
    "{@weather} \"[Bring|Take] this {thing} to {elder2}, {inplace},\" said {elder} to {hero}. \"{elder2} needs it {purpose}. [do not lose it|be back before dark]!\" \
     [{hero} asked {friend} to come along.|\"I will come with you,\" said {friend}.] {@tool}",
    "they [passed|came by] {place2}, where {view2}, [and rested for a while|and {hero} put the {thing} down to rest]. {@obstacle}",
    "[{count} miles later|then] {hero} stopped. \"The {thing}!\" {he} cried. [\"I have left it behind.\"|\"It is not in my bag.\"] {@sorrow} [\"It must be where we \
     rested,\" said {friend}.|\"Where did we rest?\" asked {friend}. \"{inplace2},\" said {hero}.] they ran back to {place2}, and there [was|lay] the {thing}.",
    "[they reached {place} {hour}.|at last they stood {inplace}.] {view}, and {elder2} was waiting {spot}. \"[You are late|There you are],\" said {elder2}, \"[and \
     without the {noun}, {lack}|but the {thing} is safe].\" [{hero} told {elder2} the truth.|\"I forgot it {inplace2}, but we ran back,\" said {hero}.] {elder2} \
     [smiled|laughed] and gave them {food}. {@joy}",
    "{@return} [{elder} asked, \"Did {elder2} get the {thing}?\" \"Yes,\" said {hero}.|{elder} was content.] {@evening}",
];
