//! The words of the demo stories, in tables whose rows hold what belongs together.
//!
//! A row is a small fact about the stories' world (a lantern lights the path, a rope crosses a stream), so that a model has
//! something to learn beyond which word follows which. Text may use the notation of [`super::grammar`].

/// Name, pronoun (`he` or `she`).
pub const NAMES: [(&str, &str); 24] = [
    ("Mara", "she"),
    ("Tomas", "he"),
    ("Ivy", "she"),
    ("Felix", "he"),
    ("Nell", "she"),
    ("Oren", "he"),
    ("Greta", "she"),
    ("Hugo", "he"),
    ("Wren", "she"),
    ("Jonas", "he"),
    ("Lotte", "she"),
    ("Pip", "he"),
    ("Rosa", "she"),
    ("Silas", "he"),
    ("Tilda", "she"),
    ("Emil", "he"),
    ("Ada", "she"),
    ("Bram", "he"),
    ("Clara", "she"),
    ("Dov", "he"),
    ("Edda", "she"),
    ("Milo", "he"),
    ("Yara", "she"),
    ("Kasper", "he"),
];

/// Kind of creature, where it lives, the sound of its steps.
pub const KINDS: [(&str, &str, &str); 12] = [
    ("fox", "under the roots of a beech", "soft"),
    ("badger", "in a warm burrow", "heavy"),
    ("girl", "above the bakery", "quick"),
    ("boy", "next to the smithy", "quick"),
    ("hare", "in the tall grass", "light"),
    ("heron", "among the reeds", "slow"),
    ("mouse", "behind the clock in the tower", "tiny"),
    ("otter", "beside the weir", "wet"),
    ("bear", "in a cave on the hill", "heavy"),
    ("crow", "in the crooked pine", "hopping"),
    ("goat", "on the stony slope", "clicking"),
    ("hedgehog", "below the garden wall", "tiny"),
];

/// Trait, how it shows, the advice such a friend gives.
pub const TRAITS: [(&str, &str, &str); 12] = [
    ("brave", "{who} never turned back halfway", "fear grows small when you walk up to it"),
    ("shy", "{who} spoke so softly that people leaned in to hear", "you need not shout to be heard"),
    ("curious", "{who} asked about everything twice", "look closely, and then look again"),
    ("patient", "{who} could wait a whole day for a fish", "slow work is good work"),
    ("stubborn", "{who} would not take no for an answer", "try once more before you stop"),
    ("clever", "{who} solved riddles for fun", "think first and run later"),
    ("careless", "{who} forgot where {whose} things were", "tie a knot so that you remember"),
    ("kind", "{who} shared every meal", "a thing shared is never lost"),
    ("proud", "{who} did not like to ask for help", "even the tall oak leans on the wind"),
    ("cheerful", "{who} hummed even in the rain", "a song makes the road shorter"),
    ("sleepy", "{who} yawned at every corner", "rest before the hard part"),
    ("honest", "{who} always said what was true", "the truth is the shortest road"),
];

/// A thing, what it is for, what is missing without it.
pub const THINGS: [(&str, &str, &str); 16] = [
    ("lantern", "to light the path at night", "the path was black as ink"),
    ("flute", "to play for the dancers", "nobody felt like dancing"),
    ("kettle", "to make tea for guests", "the guests sat with empty cups"),
    ("compass", "to find the way through fog", "every road looked the same"),
    ("blanket", "to keep the little ones warm", "the little ones shivered"),
    ("bell", "to call the boats home", "the boats did not know where to turn"),
    ("spoon", "to stir the soup", "the soup burned at the bottom"),
    ("kite", "to send letters to the clouds", "the sky looked empty"),
    ("book", "to read aloud in the evening", "the evenings were long and quiet"),
    ("hammer", "to mend the roof", "the rain came in through the roof"),
    ("boat", "to carry apples across the lake", "the apples stayed on the wrong side"),
    ("clock", "to wake the baker", "the bread came late every day"),
    ("drum", "to scare the wolves away", "the wolves came closer each night"),
    ("mirror", "to send signals to the hill", "the hill did not answer"),
    ("basket", "to gather mushrooms", "the mushrooms stayed in the wood"),
    ("broom", "to sweep the steps", "leaves covered the steps"),
];

/// What things are made of or look like.
pub const LOOKS: [&str; 14] = ["copper", "red", "blue", "wooden", "silver", "old", "tiny", "green", "painted", "golden", "heavy", "white", "striped", "yellow"];

/// Place with its preposition, what it looks like, two spots where something may lie.
pub const PLACES: [(&str, &str, &str, [&str; 2]); 14] = [
    ("in", "the forest", "the pines stood close together", ["under a mossy log", "inside a hollow oak"]),
    ("at", "the harbour", "boats rocked against the stones", ["beneath a torn net", "inside an empty barrel"]),
    ("at", "the market", "the stalls smelled of pepper and plums", ["behind the cheese stall", "below the fiddler's cart"]),
    ("at", "the mill", "the great wheel turned and groaned", ["behind the flour sacks", "beside the mill wheel"]),
    ("in", "the orchard", "wasps buzzed over the fallen pears", ["under the oldest pear tree", "in the tall ladder's shadow"]),
    ("on", "the mountain", "the wind pulled at every stone", ["behind a grey boulder", "at the edge of the snow"]),
    ("by", "the river", "the water ran brown and fast", ["among the willow roots", "on the flat white stones"]),
    ("in", "the library", "dust danced in the light", ["between two maps", "on the highest shelf"]),
    ("in", "the tower", "the stairs went round and round", ["on the thirteenth step", "under the broken window"]),
    ("in", "the meadow", "clover grew up to the knee", ["inside a ring of poppies", "near the sleeping cow"]),
    ("at", "the lighthouse", "gulls screamed over the rocks", ["behind the iron door", "below the great lamp"]),
    ("in", "the cave", "drops of water fell in the dark", ["at the end of the tunnel", "beside a still black pool"]),
    ("at", "the station", "a small train sighed and smoked", ["under the wooden bench", "behind the ticket window"]),
    ("in", "the garden", "beans climbed up their poles", ["between the cabbages", "under the stone frog"]),
];

/// What stands in the way, the tool that helps, how the tool is used (the user is `{who}`), and how it fails without it.
pub const OBSTACLES: [(&str, &str, &str); 12] = [
    ("a wide stream ran across the path", "rope", "{who} tied the rope to a willow and swung across"),
    ("a tall gate was shut and locked", "key", "{who} turned the key, and the gate swung open"),
    ("it was too dark to see a thing", "candle", "{who} lit the candle and held it high"),
    ("a growling dog lay in the way", "bone", "{who} threw the bone, and the dog ran after it with joy"),
    ("a wall of thorns had grown over the road", "pair of shears", "{who} cut a door in the thorns with the shears"),
    ("the old bridge had lost three planks", "bundle of boards", "{who} laid the boards over the gap and stepped across"),
    ("a steep cliff rose before them", "ladder", "{who} leaned the ladder on the rock and climbed"),
    ("a deep snowdrift filled the valley", "shovel", "{who} dug a tunnel with the shovel"),
    ("a giant slept across the doorway", "feather", "{who} tickled the giant's nose with the feather until he rolled over"),
    ("a guard asked for a toll", "coin", "{who} paid with the coin, and the guard bowed"),
    ("the road split in three", "map", "{who} unfolded the map and took the left road"),
    ("a swarm of bees hung over the lane", "jar of honey", "{who} opened the jar of honey far from the lane, and the bees went there"),
];

/// Weather as it begins, what it does, what is said about it.
pub const WEATHERS: [(&str, &str, &str); 8] = [
    ("rain fell on the roofs", "the lanes turned to mud", "my boots are full of water"),
    ("snow lay on the fields", "every sound was soft", "my ears are cold"),
    ("the sun burned in a clear sky", "the dust was hot under foot", "I could drink a whole well"),
    ("fog hid the houses", "nobody could see beyond the fence", "I cannot see my own feet"),
    ("a strong wind blew from the sea", "hats flew over the hedges", "hold on to your hat"),
    ("frost shone on the grass", "the puddles cracked like glass", "mind the ice"),
    ("thunder rolled behind the hills", "the cows ran to the barn", "count after the flash"),
    ("a warm breeze came up the valley", "the laundry danced on the lines", "what a day to be out"),
];

/// A feeling and what the body does with it.
pub const SORROWS: [(&str, &str); 8] = [
    ("sad", "a tear ran down {whose} nose"),
    ("worried", "{who} walked in small circles"),
    ("angry", "{who} kicked a stone into the ditch"),
    ("ashamed", "{whose} cheeks grew warm"),
    ("afraid", "{whose} knees began to shake"),
    ("lonely", "{who} counted the windows with a light in them"),
    ("tired", "{who} sat down on the nearest step"),
    ("puzzled", "{who} scratched {whose} head"),
];

/// A glad feeling and what the body does with it.
pub const JOYS: [(&str, &str); 7] = [
    ("glad", "{who} laughed out loud"),
    ("proud", "{who} stood a little taller"),
    ("relieved", "{who} let out a long breath"),
    ("thankful", "{who} pressed {whose} friend's hand"),
    ("happy", "{who} danced in a circle"),
    ("calm", "{who} closed {whose} eyes and smiled"),
    ("surprised", "{whose} mouth stayed open"),
];

/// Older people who give tools and advice: who, pronoun.
pub const ELDERS: [(&str, &str); 10] = [
    ("the miller", "he"),
    ("the old teacher", "she"),
    ("the ferryman", "he"),
    ("the baker", "she"),
    ("the blacksmith", "he"),
    ("the night watchman", "he"),
    ("the beekeeper", "she"),
    ("the captain", "she"),
    ("the shepherd", "he"),
    ("the clockmaker", "she"),
];

/// Food to share at the end.
pub const FOODS: [&str; 10] =
    ["plum cake", "onion soup", "fresh bread", "roasted chestnuts", "pancakes", "apple pie", "hot milk", "barley stew", "honey biscuits", "cold melon"];
