//! As much English as captions need.

const IRREGULAR: &[(&str, &str)] = &[
    ("child", "children"),
    ("deer", "deer"),
    ("fish", "fish"),
    ("foot", "feet"),
    ("goose", "geese"),
    ("knife", "knives"),
    ("leaf", "leaves"),
    ("loaf", "loaves"),
    ("man", "men"),
    ("mouse", "mice"),
    ("ox", "oxen"),
    ("sheep", "sheep"),
    ("shrimp", "shrimp"),
    ("squid", "squid"),
    ("tooth", "teeth"),
    ("wolf", "wolves"),
    ("woman", "women"),
];

/// Names of one drawing that are plurals already.
const PLURALS: &[&str] = &[
    "beans",
    "boots",
    "chopsticks",
    "clothes",
    "eyes",
    "glasses",
    "gloves",
    "goggles",
    "grapes",
    "jeans",
    "mittens",
    "pants",
    "scissors",
    "shoes",
    "shorts",
    "skis",
    "socks",
    "sunglasses",
];

/// Whether a name stands for several things, or a pair: it has no article and is not counted.
pub(super) fn is_plural(noun: &str) -> bool {
    let last = noun.rsplit(' ').next().unwrap_or(noun);
    PLURALS.contains(&last) || last.ends_with("ies")
}

/// The plural of a noun with what stands before it, or after it behind a preposition: `leaf fluttering in wind` is
/// beyond it, `cup with straw` is not.
pub fn plural(noun: &str) -> String {
    for preposition in [" with ", " of ", " in ", " on "] {
        if let Some(at) = noun.find(preposition) {
            return format!("{}{}", plural(&noun[..at]), &noun[at..]);
        }
    }
    let (before, last) = match noun.rfind(' ') {
        Some(at) => noun.split_at(at + 1),
        None => ("", noun),
    };
    if let Some((_, many)) = IRREGULAR.iter().find(|(one, _)| *one == last) {
        return format!("{before}{many}");
    }
    let consonant_y = last
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    if let Some(stem) = consonant_y {
        return format!("{before}{stem}ies");
    }
    let hisses = ["s", "x", "z", "ch", "sh", "ato"]
        .iter()
        .any(|end| last.ends_with(end));
    format!("{noun}{}", if hisses { "es" } else { "s" })
}

/// `a` or `an`, by the first letter and the few words that sound otherwise.
pub fn article(words: &str) -> &'static str {
    let sounds_like_y = ["uni", "one", "euro", "ute"]
        .iter()
        .any(|start| words.starts_with(start));
    let silent_h = ["hour", "honest"]
        .iter()
        .any(|start| words.starts_with(start));
    match words.starts_with(['a', 'e', 'i', 'o', 'u']) && !sounds_like_y || silent_h {
        true => "an",
        false => "a",
    }
}

/// A number from one to ten in words, beyond that in digits.
pub fn number(count: usize) -> String {
    const WORDS: &[&str] = &[
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    ];
    WORDS
        .get(count)
        .map_or_else(|| count.to_string(), |word| (*word).to_owned())
}
