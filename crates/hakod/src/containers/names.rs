//! Names for containers that are given none: `quiet_harbor`.

use rand::seq::IndexedRandom;

const LEFT: &[&str] = &[
    "agile", "amber", "ample", "apt", "azure", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "clever", "cosy", "crisp", "curious", "daring", "dapper", "deft", "eager", "early", "earnest", "fair", "fleet",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy", "honest", "humble", "jolly", "keen",
    "kind", "light", "lively", "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble",
    "patient", "placid", "plucky", "proud", "quick", "quiet", "rapid", "ready", "serene", "sharp", "silver", "smooth",
    "snug", "spry", "steady", "stoic", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid", "warm", "wise", "witty",
    "zesty",
];
const RIGHT: &[&str] = &[
    "acorn", "anchor", "aspen", "badger", "basin", "beacon", "birch", "bridge", "brook", "canyon", "cedar", "cliff",
    "cloud", "comet", "coral", "cove", "crane", "creek", "delta", "dune", "falcon", "fern", "field", "finch", "fjord",
    "forest", "garden", "glade", "grove", "gull", "harbor", "hazel", "heron", "hill", "island", "ivy", "lagoon",
    "lake", "lark", "maple", "marsh", "meadow", "mesa", "moss", "oak", "orchid", "osprey", "otter", "pebble", "pine",
    "plover", "pond", "prairie", "quarry", "rapids", "raven", "reef", "ridge", "river", "robin", "sparrow", "spring",
    "stone", "summit", "swan", "thicket", "tide", "trail", "valley", "willow", "wren",
];

/// A name; from the third try on with a digit, as the plain ones may be taken.
#[must_use]
pub fn random(attempt: u32) -> String {
    let mut rng = rand::rng();
    let pick = |words: &[&'static str], rng: &mut _| words.choose(rng).copied().unwrap_or("container");
    let name = format!("{}_{}", pick(LEFT, &mut rng), pick(RIGHT, &mut rng));
    if attempt < 2 { name } else { format!("{name}{}", attempt) }
}
