//! The data of the model that ships.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{
    Building, EVERYDAY, Notice, Things,
    scenes::{notice, png, row},
    tables::{self, part},
};
use crate::{
    Error,
    compose::{Art, Composer, Drawing, Manner, SceneOptions, Split, singles},
    random,
};

/// How the set is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultOptions {
    /// The side of the square pictures.
    pub size: u32,
    /// Pictures of each drawing.
    pub variants: u64,
    /// Scenes to learn from; there is one to test with for every twenty.
    pub scenes: u64,
    /// What everything is drawn from.
    pub seed: u64,
    /// How drawings become pictures.
    pub manner: Manner,
    /// What things are called. Without a list they are called as the drawings are.
    pub things: Option<Things>,
}

/// What a set holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Drawings.
    pub drawings: usize,
    /// Pictures to learn from.
    pub train: usize,
    /// Pictures to test with.
    pub test: usize,
    /// Scenes that lie in folders of their own, to learn from and to test with.
    pub scenes: usize,
    /// Names and styles of drawings of which there is no picture: they show nothing, or stand out before no background.
    pub unseen: Vec<String>,
    /// Things of the list that no drawing shows.
    pub missing: Vec<String>,
}

/// The styles of that set which captions may leave unsaid where they say all others: both are flat.
pub const HOUSE: [&str; 2] = ["flat icon", "flat cartoon"];

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

/// Writes `train` and `test` (pictures with captions), `things.jsonl` and `things-test.jsonl` (their pictures of one common thing, no
/// scenes), `balanced.jsonl` (train, with those of common things six times), `vocabulary.txt` for a word-piece tokenizer,
/// `NOTICE.txt`. Test holds what is [held out](Split): drawings, that is pairs of a thing and a style, and scenes of pairs of
/// things. `progress` gets how many pictures are done, of how many.
///
/// With a list of things, whose names the drawings [have](Things::name), every row has the name of what it shows as `thing` and how it is drawn as `style`; the common things are those of the list;
/// `balanced.jsonl` holds them and the rest by fixed shares; `things.tsv` is the list without things that no drawing shows; and
/// scenes are in `scenes` and `scenes-test`.
///
/// # Errors
/// Scenes that cannot be composed, a folder that exists or cannot be written.
pub fn default_set(
    mut art: Art,
    notices: &[Notice],
    options: &DefaultOptions,
    target: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Made, Error> {
    let building = Building::new(target)?;
    options.manner.prepare(&mut art.drawings);
    let things = options.things.as_ref();
    let scene_part: fn(bool) -> &'static str = match things {
        Some(_) => tables::scene_part,
        None => part,
    };
    let mut folders = vec![part(false), part(true)];
    if things.is_some() && options.scenes > 0 {
        folders.extend([scene_part(false), scene_part(true)]);
    }
    for folder in &folders {
        building.folder(&format!("{folder}/pictures"))?;
    }
    let all = art.drawings.len() as u64 + options.scenes + options.scenes / 20;
    let done = AtomicU64::new(0);
    let step = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    let scenes = match options.scenes {
        0 => Vec::new(),
        _ => scenes(&building, &art, options, scene_part, &step)?,
    };
    let drawings = art.drawings.par_iter().enumerate().map(|(at, drawing)| {
        let rows = of_drawing(&building, drawing, at, options);
        step();
        rows
    });
    let drawings: Vec<Vec<(bool, Value)>> = drawings.collect::<Result<_, Error>>()?;
    let mut written: BTreeMap<&str, String> = BTreeMap::new();
    let mut counts = [0; 2];
    let mut words = BTreeMap::new();
    let rows = drawings.iter().flatten().map(|row| (part(row.0), row));
    let rows = rows.chain(scenes.iter().map(|row| (scene_part(row.0), row)));
    for (folder, (held_out, row)) in rows {
        *written.entry(folder).or_default() += &format!("{row}\n");
        if folder == part(*held_out) {
            counts[usize::from(*held_out)] += 1;
        }
        if let (false, Some(text)) = (held_out, row["text"].as_str()) {
            tables::count(text, &mut words);
        }
    }
    for folder in folders {
        let table = written.remove(folder).unwrap_or_default();
        building.put(&format!("{folder}/metadata.jsonl"), table)?;
    }
    let tables = match things {
        Some(things) => tables::listed(things, &drawings, &scenes),
        None => tables::common(&drawings, &scenes),
    };
    for (name, table) in tables {
        building.put(name, table)?;
    }
    let missing = things.map_or_else(Vec::new, |things| things.missing(&art.drawings));
    if let Some(things) = things {
        building.put("things.tsv", things.table(&missing))?;
    }
    building.put("vocabulary.txt", tables::vocabulary(&words))?;
    building.put("NOTICE.txt", notice(notices))?;
    building.finish()?;
    let nothing = art
        .drawings
        .iter()
        .zip(&drawings)
        .filter(|(_, rows)| rows.is_empty());
    let unseen: Vec<String> = nothing
        .map(|(d, _)| format!("{}, {}", d.concept, d.style))
        .collect();
    Ok(Made {
        drawings: art.drawings.len(),
        train: counts[0],
        test: counts[1],
        scenes: things.map_or(0, |_| scenes.len()),
        unseen,
        missing,
    })
}

/// Composes and writes scenes: whether they are held out, and their rows.
fn scenes(
    building: &Building,
    art: &Art,
    options: &DefaultOptions,
    part: fn(bool) -> &'static str,
    step: &(dyn Fn() + Sync),
) -> Result<Vec<(bool, Value)>, Error> {
    let composers = composers(art, options)?;
    let numbers = (0..options.scenes)
        .map(|n| (false, n))
        .chain((0..options.scenes / 20).map(|n| (true, n)));
    let numbers: Vec<(bool, u64)> = numbers.collect();
    let scenes = numbers.into_par_iter().map(|(held_out, number)| {
        let scene = composers[usize::from(held_out)].scene(number)?;
        let name = format!("pictures/scene-{number:06}.png");
        let row = row(&scene, &name, None);
        let path = format!("{}/{name}", part(held_out));
        building.put(&path, png(Path::new(&path), scene.picture)?)?;
        step();
        Ok((held_out, row))
    });
    scenes.collect()
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
    let made = singles(drawing, options.size, &seeds, &options.manner)
        .into_iter()
        .enumerate();
    let write = |(n, single): (usize, crate::compose::Single)| {
        let name = format!("pictures/{at:06}-{n}.png");
        let path = format!("{}/{name}", part(held_out));
        building.put(&path, png(Path::new(&path), single.picture)?)?;
        let mut row = json!({
            "file_name": name,
            "text": single.caption,
            "concept": drawing.concept,
            "groups": [single.group],
            "background": single.background,
        });
        if options.things.is_some() {
            row["thing"] = drawing.noun().into();
            row["style"] = single.group.style.into();
        }
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
    let called = |name: &&str| {
        let named = options
            .things
            .as_ref()
            .and_then(|things| things.named(name));
        named.map_or_else(|| (*name).to_owned(), |(_, name)| name)
    };
    let names: Vec<String> = EVERYDAY.iter().map(called).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    everyday.keep(&names);
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
            variants: tables::COMMON as u64,
            scenes: 20,
            seed: 3,
            manner: Manner::default(),
            things: None,
        };
        let make = |name: &str| {
            let target = folder.path().join(name);
            let made = default_set(art.clone(), &[Notice::Own], &options, &target, &|_, _| {});
            let made = made.unwrap();
            let counts = [made.train, made.test];
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
            assert_eq!(lines[2], counts[0] + (tables::TIMES - 1) * lines[0]);
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
