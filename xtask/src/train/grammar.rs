//! A story grammar: English stories of several paragraphs from a seed, the demo model's whole world.
//!
//! A story casts two friends, an elder, a thing, a place, a tool and an obstacle once, then tells one of the plots of [`super::plots`] about
//! them. Names, pronouns, colours, tools and hiding places stay the same through a story, so predicting them needs memory, not word pairs.
//!
//! Notation: `{slot}` is what was cast (`{Slot}` with a capital), `{a slot}` puts `a` or `an` before it, `[x|y|z]` picks one and may nest.
//! Sentences are capitalised after expansion. The same seed gives the same text on every machine.

use super::lexicon::{ELDERS, FOODS, JOYS, KINDS, LOOKS, NAMES, OBSTACLES, PLACES, SORROWS, THINGS, TRAITS, WEATHERS};
use super::plots;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// An endless, seeded source of stories.
pub struct Stories {
    rng: ChaCha8Rng,
}

impl Stories {
    /// Stories of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Text of at least `bytes` bytes: whole stories with a blank line between them.
    #[must_use]
    pub fn text(&mut self, bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < bytes {
            text.push_str(&self.story());
            text.push_str("\n\n");
        }
        text
    }

    /// One story: paragraphs with a blank line between them, no newline at the end.
    #[must_use]
    pub fn story(&mut self) -> String {
        let slots = self.cast();
        let plot = plots::ALL.choose(&mut self.rng).copied().unwrap_or_default();
        let paragraphs: Vec<String> = plot.iter().map(|beats| sentence_case(&Teller { rng: &mut self.rng, slots: &slots }.expand(beats))).collect();
        paragraphs.join("\n\n")
    }

    /// Chooses everything a story keeps to.
    fn cast(&mut self) -> BTreeMap<&'static str, String> {
        let rng = &mut self.rng;
        let mut names = NAMES;
        names.shuffle(rng);
        let mut kinds = KINDS;
        kinds.shuffle(rng);
        let mut traits = TRAITS;
        traits.shuffle(rng);
        let mut things = THINGS;
        things.shuffle(rng);
        let mut places = PLACES;
        places.shuffle(rng);
        let mut looks = LOOKS;
        looks.shuffle(rng);
        let mut elders = ELDERS;
        elders.shuffle(rng);
        let (weather, sorrow, joy) = (pick(rng, &WEATHERS), pick(rng, &SORROWS), pick(rng, &JOYS));
        let (obstacle, tool, solution) = pick(rng, &OBSTACLES);
        let spot = pick(rng, &places[0].3);
        let food = pick(rng, &FOODS);

        let mut slots = BTreeMap::new();
        let mut set = |slot: &'static str, value: &str| {
            slots.insert(slot, value.to_owned());
        };
        // A person of the story: `{hero}`, `{he}`, `{him}`, `{his}`; the friend's carry an f, the elder's an e.
        let cast = [(0, ["hero", "he", "him", "his"]), (1, ["friend", "fhe", "fhim", "fhis"])];
        for (i, [name, subject, object, possessive]) in cast {
            let words = pronouns(names[i].1);
            set(name, names[i].0);
            set(subject, words[0]);
            set(object, words[1]);
            set(possessive, words[2]);
        }
        let elder_words = pronouns(elders[0].1);
        set("elder", elders[0].0);
        set("ehe", elder_words[0]);
        set("ehim", elder_words[1]);
        set("ehis", elder_words[2]);
        set("elder2", elders[1].0);
        let ([he, _, his], [fhe, _, fhis]) = (pronouns(names[0].1), pronouns(names[1].1));
        let of = |text: &str, who: &str, whose: &str| text.replace("{whose}", whose).replace("{who}", who);
        set("kind", kinds[0].0);
        set("home", kinds[0].1);
        set("fkind", kinds[1].0);
        set("fhome", kinds[1].1);
        set("fsteps", kinds[1].2);
        set("trait", traits[0].0);
        set("shows", &of(traits[0].1, he, his));
        set("ftrait", traits[1].0);
        set("fshows", &of(traits[1].1, fhe, fhis));
        set("advice", traits[1].2);
        for (slot, noun, purpose, lack, i) in
            [("thing", "noun", "purpose", "lack", 0), ("thing2", "noun2", "purpose2", "lack2", 1), ("thing3", "noun3", "purpose3", "lack3", 2)]
        {
            set(slot, &format!("{} {}", looks[i], things[i].0));
            set(noun, things[i].0);
            set(purpose, things[i].1);
            set(lack, things[i].2);
        }
        set("inplace", &format!("{} {}", places[0].0, places[0].1));
        set("place", places[0].1);
        set("view", places[0].2);
        set("spot", spot);
        set("otherspot", places[0].3.iter().find(|s| **s != spot).copied().unwrap_or_default());
        set("inplace2", &format!("{} {}", places[1].0, places[1].1));
        set("place2", places[1].1);
        set("view2", places[1].2);
        set("weather", weather.0);
        set("effect", weather.1);
        set("remark", weather.2);
        set("obstacle", obstacle);
        set("tool", tool);
        set("solves", &of(solution, names[0].0, his));
        set("sorrow", sorrow.0);
        set("sorrows", &of(sorrow.1, he, his));
        set("joy", joy.0);
        set("joys", &of(joy.1, he, his));
        set("look", looks[3]);
        set("food", food);
        set("count", ["two", "three", "four", "five", "six", "seven"][rng.random_range(0..6)]);
        set("hour", ["at dawn", "at noon", "at dusk", "before breakfast", "at midnight"][rng.random_range(0..5)]);
        slots
    }
}

/// Subject, object and possessive.
fn pronouns(subject: &str) -> [&'static str; 3] {
    if subject == "she" { ["she", "her", "her"] } else { ["he", "him", "his"] }
}

fn pick<T: Copy, const N: usize>(rng: &mut ChaCha8Rng, from: &[T; N]) -> T {
    from[rng.random_range(0..N)]
}

/// Expands one template with a cast.
struct Teller<'a> {
    rng: &'a mut ChaCha8Rng,
    slots: &'a BTreeMap<&'static str, String>,
}

impl Teller<'_> {
    fn expand(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '[']) {
            out.push_str(&rest[..at]);
            let body = &rest[at + 1..];
            if rest[at..].starts_with('{') {
                let end = body.find('}').unwrap_or(body.len());
                match body[..end].strip_prefix('@').and_then(plots::part) {
                    Some(part) => out.push_str(&self.expand(part)),
                    None => out.push_str(&self.slot(&body[..end])),
                }
                rest = body.get(end + 1..).unwrap_or_default();
            } else {
                let (choices, end) = alternatives(body);
                let chosen = choices[self.rng.random_range(0..choices.len())];
                out.push_str(&self.expand(chosen));
                rest = body.get(end + 1..).unwrap_or_default();
            }
        }
        out.push_str(rest);
        out
    }

    /// The cast value of `slot`, `Slot` or `a slot`. An unknown slot stays visible, and a test looks for it.
    fn slot(&self, name: &str) -> String {
        if let Some(noun) = name.strip_prefix("a ") {
            let value = self.slot(noun);
            return format!("{} {value}", if value.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" });
        }
        match self.slots.get(name) {
            Some(value) => value.clone(),
            None => match self.slots.get(name.to_lowercase().as_str()) {
                Some(value) => capitalised(value),
                None => format!("{{{name}}}"),
            },
        }
    }
}

/// The alternatives of a bracket whose opening `[` is before `body`, and the offset of its `]`.
fn alternatives(body: &str) -> (Vec<&str>, usize) {
    let (mut depth, mut start, mut choices) = (0, 0, Vec::new());
    for (i, c) in body.char_indices() {
        match c {
            '[' => depth += 1,
            ']' if depth == 0 => {
                choices.push(&body[start..i]);
                return (choices, i);
            }
            ']' => depth -= 1,
            '|' if depth == 0 => {
                choices.push(&body[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    choices.push(&body[start..]);
    (choices, body.len())
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Capitals at the start, after a full stop, and inside opening quotes. Not after `?"` or `!"`, where the sentence may go on (`"Who?" she asked`),
/// nor in quotes that go on after a comma (`she said, "and so do I"`).
fn sentence_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut upper, mut ended, mut quoted, mut asked, mut comma) = (true, false, false, false, false);
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '.' => (ended, asked) = (true, false),
            '!' | '?' => (ended, asked) = (true, true),
            '"' => {
                quoted = !quoted;
                upper |= quoted && !comma;
                ended &= quoted || !asked;
            }
            ' ' => {
                upper |= ended;
                ended = false;
            }
            _ => {}
        }
        if c.is_alphabetic() && upper {
            out.extend(c.to_uppercase());
            upper = false;
        } else {
            upper &= !c.is_alphanumeric();
            out.push(c);
        }
        if c.is_alphanumeric() || c == ',' {
            ended = false;
        }
        comma = c == ',' || comma && c == ' ';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_and_bracket_is_resolved() {
        let mut stories = Stories::new(5);
        for _ in 0..500 {
            let story = stories.story();
            assert!(!story.contains(['{', '}', '[', ']', '|']), "{story}");
            assert!(story.matches('"').count().is_multiple_of(2), "{story}");
        }
    }

    #[test]
    fn a_seed_tells_the_same_stories() {
        assert_eq!(Stories::new(9).text(5000), Stories::new(9).text(5000));
        assert_ne!(Stories::new(9).text(5000), Stories::new(10).text(5000));
    }

    #[test]
    fn sentences_start_with_capitals_and_questions_go_on() {
        assert_eq!(sentence_case("it rained. \"who is there?\" asked Ivy. \"me.\" she left."), "It rained. \"Who is there?\" asked Ivy. \"Me.\" She left.");
    }
}
