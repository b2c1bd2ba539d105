//! The data of the model that ships.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{
    Building, EVERYDAY, Notice,
    scenes::{notice, png, row},
};
use crate::{
    Error,
    compose::{Art, Composer, Drawing, SceneOptions, Split, singles},
    random,
};

/// How the set is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultOptions {
    /// The side of the square pictures.
    pub size: u32,
    /// Pictures of each drawing.
    pub variants: u64,
    /// Scenes to learn from; there is one to test with for every twenty.
    pub scenes: u64,
    /// What everything is drawn from.
    pub seed: u64,
}

/// Styles whose things scenes are composed of.
const SCENE_STYLES: &[&str] = &[
    "flat icon",
    "glossy icon",
    "cartoon",
    "flat cartoon",
    "bright cartoon",
    "outlined cartoon",
    "glossy 3d icon",
];

/// A thing that has at least so many pictures to learn from, scenes aside, is among the common ones.
const COMMON: usize = 18;

/// How often pictures of common things are in the balanced table.
const TIMES: usize = 6;

/// Words that captions have at least so often become tokens; the others are spelt.
const FREQUENT: usize = 4;

/// Writes `train` and `test` (pictures with captions), `things.jsonl` and `things-test.jsonl` (their pictures of one common thing, no
/// scenes), `balanced.jsonl` (train, with those of common things six times), `vocabulary.txt` for a word-piece tokenizer,
/// `NOTICE.txt`. Test holds what is [held out](Split): drawings, that is pairs of a thing and a style, and scenes of pairs of
/// things. Gives how many pictures both have. `progress` gets how many are done, of how many.
///
/// # Errors
/// Scenes that cannot be composed, a folder that exists or cannot be written.
pub fn default_set(
    art: &Art,
    notices: &[Notice],
    options: &DefaultOptions,
    target: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<[usize; 2], Error> {
    let building = Building::new(target)?;
    for part in ["train", "test"] {
        building.folder(&format!("{part}/pictures"))?;
    }
    let composers = composers(art, options)?;
    let test_scenes = options.scenes / 20;
    let all = art.drawings.len() as u64 + options.scenes + test_scenes;
    let done = AtomicU64::new(0);
    let step = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    let drawings = art.drawings.par_iter().enumerate().map(|(at, drawing)| {
        let rows = of_drawing(&building, drawing, at, options);
        step();
        rows
    });
    let drawings: Vec<Vec<(bool, Value)>> = drawings.collect::<Result<_, Error>>()?;
    let numbers = (0..options.scenes)
        .map(|n| (false, n))
        .chain((0..test_scenes).map(|n| (true, n)));
    let numbers: Vec<(bool, u64)> = numbers.collect();
    let scenes = numbers.into_par_iter().map(|(held_out, number)| {
        let scene = composers[usize::from(held_out)].scene(number)?;
        let name = format!("pictures/scene-{number:06}.png");
        let row = row(&scene, &name, None);
        building.put(
            &format!("{}/{name}", part(held_out)),
            png(target, scene.picture)?,
        )?;
        step();
        Ok((held_out, row))
    });
    let scenes: Vec<(bool, Value)> = scenes.collect::<Result<_, Error>>()?;
    let mut tables = [String::new(), String::new()];
    let mut counts = [0; 2];
    let mut words = BTreeMap::new();
    for (held_out, row) in drawings.iter().flatten().chain(&scenes) {
        tables[usize::from(*held_out)] += &format!("{row}\n");
        counts[usize::from(*held_out)] += 1;
        if let (false, Some(text)) = (held_out, row["text"].as_str()) {
            count(text, &mut words);
        }
    }
    for (held_out, table) in [false, true].into_iter().zip(tables) {
        building.put(&format!("{}/metadata.jsonl", part(held_out)), table)?;
    }
    for (name, table) in more_tables(&drawings, &scenes) {
        building.put(name, table)?;
    }
    building.put("vocabulary.txt", vocabulary(&words))?;
    building.put("NOTICE.txt", notice(notices))?;
    building.finish()?;
    Ok(counts)
}

fn part(held_out: bool) -> &'static str {
    if held_out { "test" } else { "train" }
}

/// Writes the pictures of a drawing: whether they are held out, and their rows.
fn of_drawing(
    building: &Building,
    drawing: &Drawing,
    at: usize,
    options: &DefaultOptions,
) -> Result<Vec<(bool, Value)>, Error> {
    let held_out = Split::holds_out(&drawing.concept, &drawing.style);
    let seeds = (0..options.variants).map(|n| random::draw(options.seed, &[at as u64, n]));
    let seeds: Vec<u64> = seeds.collect();
    let made = singles(drawing, options.size, &seeds)
        .into_iter()
        .enumerate();
    let write = |(n, single): (usize, crate::compose::Single)| {
        let name = format!("pictures/{at:06}-{n}.png");
        let path = format!("{}/{name}", part(held_out));
        building.put(&path, png(Path::new(&path), single.picture)?)?;
        let row = json!({
            "file_name": name,
            "text": single.caption,
            "concept": drawing.concept,
            "groups": [single.group],
            "background": single.background,
        });
        Ok((held_out, row))
    };
    made.map(write).collect()
}

/// Of scenes to learn from and of held-out ones.
fn composers(art: &Art, options: &DefaultOptions) -> Result<[Composer; 2], Error> {
    let mut everyday = Art {
        drawings: art
            .drawings
            .iter()
            .filter(|drawing| SCENE_STYLES.contains(&drawing.style.as_str()))
            .cloned()
            .collect(),
    };
    everyday.keep(EVERYDAY);
    let composer = |split, most| {
        let options = SceneOptions {
            seed: options.seed,
            size: options.size,
            objects: 1..=most,
            paint: true,
            split,
        };
        Composer::new(everyday.clone(), options)
    };
    Ok([composer(Split::Train, 4)?, composer(Split::Test, 3)?])
}

/// Tables of a part of the pictures, or of some more often than others. They name files from the root of the set.
fn more_tables(
    drawings: &[Vec<(bool, Value)>],
    scenes: &[(bool, Value)],
) -> [(&'static str, String); 3] {
    let noun = |row: &Value| row["groups"][0]["noun"].to_string();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, row) in drawings.iter().flatten().filter(|(held_out, _)| !held_out) {
        *counts.entry(noun(row)).or_default() += 1;
    }
    let line = |held_out: bool, row: &Value| {
        let mut row = row.clone();
        let name = row["file_name"].as_str().unwrap_or_default();
        row["file_name"] = json!(format!("{}/{name}", part(held_out)));
        format!("{row}\n")
    };
    let [mut things, mut things_test, mut balanced] = [const { String::new() }; 3];
    for (held_out, row) in drawings.iter().flatten() {
        let line = line(*held_out, row);
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
        balanced += &line(*held_out, row);
    }
    [
        ("things.jsonl", things),
        ("things-test.jsonl", things_test),
        ("balanced.jsonl", balanced),
    ]
}

fn count(text: &str, words: &mut BTreeMap<String, usize>) {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    for word in parts.filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
}

/// BERT's special tokens, letters, digits and marks by which everything can be spelt, then the frequent words, the most
/// frequent first.
fn vocabulary(words: &BTreeMap<String, usize>) -> String {
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
    fn a_small_set_is_whole_and_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut art = Art::shapes();
        for drawing in &mut art.drawings {
            drawing.style = "flat icon".to_owned();
        }
        // Scenes are of everyday things.
        let named = art
            .drawings
            .clone()
            .into_iter()
            .zip(EVERYDAY.iter().cycle());
        art.drawings.extend(named.map(|(mut drawing, name)| {
            drawing.concept = (*name).to_owned();
            drawing
        }));
        let options = DefaultOptions {
            size: 32,
            variants: COMMON as u64,
            scenes: 20,
            seed: 3,
        };
        let make = |name: &str| {
            let target = folder.path().join(name);
            let counts = default_set(&art, &[Notice::Own], &options, &target, &|_, _| {}).unwrap();
            let table = std::fs::read_to_string(target.join("train/metadata.jsonl")).unwrap();
            assert_eq!(table.lines().count(), counts[0]);
            // Every thing is common here, and the tables name files that exist.
            let lines = ["things", "things-test", "balanced"].map(|name| {
                let path = target.join(format!("{name}.jsonl"));
                let text = std::fs::read_to_string(path).unwrap();
                for line in text.lines() {
                    let row: Value = serde_json::from_str(line).unwrap();
                    assert!(target.join(row["file_name"].as_str().unwrap()).is_file());
                }
                text.lines().count()
            });
            assert!(lines[0] > 100, "{lines:?}");
            assert_eq!(lines[2], counts[0] + (TIMES - 1) * lines[0]);
            let words = std::fs::read_to_string(target.join("vocabulary.txt")).unwrap();
            assert!(words.starts_with("[PAD]\n[UNK]\n"));
            assert!(words.lines().any(|word| word == "red"));
            (counts, table, words)
        };
        let made = make("one");
        assert!(made.0[0] > 100 && made.0[1] > 5, "{:?}", made.0);
        assert_eq!(made, make("two"));
    }
}
