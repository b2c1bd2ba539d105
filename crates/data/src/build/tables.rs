//! The tables and the vocabulary of a set of drawings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Things;

/// A file of rows, which name pictures from the root of the set.
type Table = (&'static str, String);

/// A thing that has at least so many pictures to learn from, scenes aside, is among the common ones.
pub(super) const COMMON: usize = 18;

/// How often pictures of common things are in the balanced table.
pub(super) const TIMES: usize = 6;

/// Words that captions have at least so often become tokens; the others are spelt.
const FREQUENT: usize = 4;

/// Of the rows of a table of everything, in hundredths: things of the list, others that are often drawn, the rest, scenes.
const SHARES: [usize; 4] = [70, 20, 5, 5];

/// How often things of the list are in that table.
const TURNS: usize = 4;

/// What has at least so many drawings is often drawn.
const OFTEN: usize = 4;

/// Tables of a part of the pictures, or of some more often than others. They name files from the root of the set.
pub(super) fn common(drawings: &[Vec<(bool, Value)>], scenes: &[(bool, Value)]) -> [Table; 3] {
    let noun = |row: &Value| row["groups"][0]["noun"].to_string();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, row) in drawings.iter().flatten().filter(|(held_out, _)| !held_out) {
        *counts.entry(noun(row)).or_default() += 1;
    }
    let [mut things, mut things_test, mut balanced] = [const { String::new() }; 3];
    for (held_out, row) in drawings.iter().flatten() {
        let line = line(part(*held_out), row);
        let common = counts.get(&noun(row)).is_some_and(|n| *n >= COMMON);
        match held_out {
            true if common => things_test += &line,
            true => {}
            false if common => {
                things += &line;
                balanced += &line.repeat(TIMES);
            }
            false => balanced += &line,
        }
    }
    for (held_out, row) in scenes.iter().filter(|(held_out, _)| !held_out) {
        balanced += &line(part(*held_out), row);
    }
    [
        ("things.jsonl", things),
        ("things-test.jsonl", things_test),
        ("balanced.jsonl", balanced),
    ]
}

/// Tables of the pictures of things of a list, and of everything in the shares of [`SHARES`].
pub(super) fn listed(
    things: &Things,
    drawings: &[Vec<(bool, Value)>],
    scenes: &[(bool, Value)],
) -> [Table; 3] {
    let thing = |row: &Value| row["thing"].as_str().unwrap_or_default().to_owned();
    let mut drawn: BTreeMap<String, usize> = BTreeMap::new();
    for rows in drawings {
        if let Some((_, row)) = rows.first() {
            *drawn.entry(thing(row)).or_default() += 1;
        }
    }
    let mut held_out = String::new();
    // Of the list, often drawn, seldom drawn, scenes.
    let mut parts = [const { Vec::new() }; 4];
    for (held, row) in drawings.iter().flatten() {
        let name = thing(row);
        let line = line(part(*held), row);
        match (held, things.find(&name).is_some()) {
            (true, true) => held_out += &line,
            (true, false) => {}
            (false, true) => parts[0].push(line),
            (false, false) if drawn.get(&name).is_some_and(|n| *n >= OFTEN) => parts[1].push(line),
            (false, false) => parts[2].push(line),
        }
    }
    let trained = scenes.iter().filter(|(held, _)| !held);
    parts[3] = trained
        .map(|(held, row)| line(scene_part(*held), row))
        .collect();
    [
        ("things.jsonl", parts[0].concat()),
        ("things-test.jsonl", held_out),
        ("balanced.jsonl", balanced(&parts)),
    ]
}

/// The lines of the first part so many times, of the others as many as make up the shares, evenly taken. The share of a part
/// that has none is nobody's.
fn balanced(parts: &[Vec<String>; 4]) -> String {
    let mut text = parts[0].concat().repeat(TURNS);
    for (lines, share) in parts.iter().zip(SHARES).skip(1) {
        let wanted = match parts[0].is_empty() {
            true => lines.len(),
            false => TURNS * parts[0].len() * share / SHARES[0],
        };
        let taken = (0..wanted).filter_map(|at| lines.get(at * lines.len() / wanted));
        taken.for_each(|line| text += line);
    }
    text
}

/// A row as it is named from the root of the set.
fn line(part: &str, row: &Value) -> String {
    let mut row = row.clone();
    let name = row["file_name"].as_str().unwrap_or_default();
    row["file_name"] = json!(format!("{part}/{name}"));
    format!("{row}\n")
}

/// The folder of pictures.
pub(super) fn part(held_out: bool) -> &'static str {
    if held_out { "test" } else { "train" }
}

/// The folder of scenes beside a list of things.
pub(super) fn scene_part(held_out: bool) -> &'static str {
    if held_out { "scenes-test" } else { "scenes" }
}

pub(super) fn count(text: &str, words: &mut BTreeMap<String, usize>) {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    for word in parts.filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
}

/// BERT's special tokens, letters, digits and marks by which everything can be spelt, then the frequent words, the most
/// frequent first.
pub(super) fn vocabulary(words: &BTreeMap<String, usize>) -> String {
    let signs: Vec<String> = ('a'..='z').chain('0'..='9').map(String::from).collect();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let marks = [",", ".", "-", "'", "!", "?", ":", "(", ")"].map(str::to_owned);
    let inside = signs.iter().map(|sign| format!("##{sign}"));
    let mut frequent: Vec<(&String, &usize)> = words
        .iter()
        .filter(|(word, count)| **count >= FREQUENT && word.len() > 1 && word.is_ascii())
        .collect();
    frequent.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let endings = ["##es", "##ed", "##ing", "##er", "##ly"].map(str::to_owned);
    let mut text = String::new();
    let mut put = |token: &str| text += &format!("{token}\n");
    special
        .iter()
        .chain(&marks)
        .chain(&signs)
        .for_each(|token| put(token));
    inside.for_each(|token| put(&token));
    endings.iter().for_each(|token| put(token));
    frequent.iter().for_each(|(word, _)| put(word));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_as_said() {
        let lines = |letter: &str, count: usize| -> Vec<String> {
            (0..count).map(|at| format!("{letter}{at}\n")).collect()
        };
        let parts = [lines("a", 35), lines("b", 1000), lines("c", 3), Vec::new()];
        let table = balanced(&parts);
        let count = |letter: &str| {
            table
                .lines()
                .filter(|line| line.starts_with(letter))
                .count()
        };
        assert_eq!([count("a"), count("b"), count("c")], [140, 40, 10]);
        assert_eq!(table.lines().filter(|line| *line == "a7").count(), TURNS);
        assert!(table.contains("b975\n"), "they are taken evenly");
        let alone = balanced(&[Vec::new(), lines("b", 5), Vec::new(), Vec::new()]);
        assert_eq!(alone.lines().count(), 5);
    }
}
