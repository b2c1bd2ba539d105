//! A model of captions: colour, kind and count of what is drawn.

use std::collections::BTreeSet;

use image::RgbImage;
use latent_pipeline::Request;
use miette::{IntoDiagnostic, Result, miette};
use serde_json::Value;

use crate::asked::Taught;
use crate::network::{Classifier, Lesson, answers, classifier};
use crate::{data, draw};

/// Steps of each classifier.
const STEPS: u64 = 600;

/// A scene of one kind of thing.
struct Scene {
    picture: RgbImage,
    caption: String,
    /// Colour, kind, count.
    facts: [String; 3],
}

const FACTS: [&str; 3] = ["colour", "kind", "count"];

/// The scenes of a data set that show one kind of thing.
fn scenes(path: &str, side: u32) -> Result<Vec<Scene>> {
    let table = std::fs::read_to_string(format!("{path}/metadata.jsonl")).into_diagnostic()?;
    let examples = data::examples(path, side, usize::MAX)?;
    let mut scenes = Vec::new();
    for (example, line) in examples.into_iter().zip(table.lines()) {
        let row: Value = serde_json::from_str(line).into_diagnostic()?;
        let Some([group]) = row["groups"].as_array().map(Vec::as_slice) else {
            continue;
        };
        let fact = |name: &str| group[name].to_string();
        scenes.push(Scene {
            picture: example.picture,
            caption: example.caption.unwrap_or_default(),
            facts: [fact("colour"), fact("class"), fact("count")],
        });
    }
    Ok(scenes)
}

/// Measures and prints.
pub fn run(Taught { asked, real }: &Taught) -> Result<()> {
    let real = scenes(real, asked.size)?;
    let mut test = scenes(&asked.test, asked.size)?;
    let known: [Vec<String>; 3] = std::array::from_fn(|fact| {
        let all: BTreeSet<_> = real.iter().map(|scene| scene.facts[fact].clone()).collect();
        all.into_iter().collect()
    });
    let number = |scene: &Scene, fact: usize| {
        let place = known[fact].iter().position(|k| *k == scene.facts[fact]);
        place.map(|place| place as u8)
    };
    test.retain(|scene| (0..3).all(|fact| number(scene, fact).is_some()));
    test.truncate(asked.count);
    if test.len() < 2 {
        return Err(miette!(
            "{}: too few scenes of one kind of thing",
            asked.test
        ));
    }
    let numbers = |scenes: &[Scene], fact| -> Vec<u8> {
        scenes.iter().filter_map(|s| number(s, fact)).collect()
    };
    let networks: Vec<Classifier> = (0..3)
        .map(|fact| {
            let lesson = Lesson {
                pictures: real.iter().map(|scene| scene.picture.clone()).collect(),
                answers: numbers(&real, fact).into_iter().map(|n| vec![n]).collect(),
            };
            classifier(&lesson, known[fact].len(), STEPS)
        })
        .collect::<Result<_>>()?;

    let subject = draw::Subject::open(&asked.model, asked.size)?;
    let drawn = subject.draw(test.len(), |i| {
        Ok(Request {
            prompt: test[i].caption.clone(),
            ..Request::default()
        })
    })?;

    let pictures: Vec<RgbImage> = test.iter().map(|scene| scene.picture.clone()).collect();
    let wanted: [Vec<u8>; 3] = std::array::from_fn(|fact| numbers(&test, fact));
    let mut shuffled = wanted.clone();
    shuffled.iter_mut().for_each(|facts| facts.rotate_left(1));
    println!(
        "| {} captions | {} | all three |\n|---|---|---|---|---|",
        test.len(),
        FACTS.join(" | ")
    );
    for (name, pictures, wanted) in [
        ("real pictures", &pictures, &wanted),
        ("drawn", &drawn, &wanted),
        ("drawn, another's caption", &drawn, &shuffled),
    ] {
        let found: Vec<Vec<u8>> = networks
            .iter()
            .map(|network| answers(network, pictures))
            .collect();
        let right = |fact: usize, i: usize| found[fact][i] == wanted[fact][i];
        let percent = |right: &dyn Fn(usize) -> bool| {
            let count = (0..pictures.len()).filter(|&i| right(i)).count();
            format!("{:.0} %", 100.0 * count as f64 / pictures.len() as f64)
        };
        let each: Vec<String> = (0..3).map(|fact| percent(&|i| right(fact, i))).collect();
        let all = percent(&|i| (0..3).all(|fact| right(fact, i)));
        println!("| {name} | {} | {all} |", each.join(" | "));
    }
    for (i, scene) in test.iter().take(10).enumerate() {
        println!("sheet, first row, {}: {}", i + 1, scene.caption);
    }
    draw::sheet(&asked.sheet, &drawn[..drawn.len().min(40)], 10)
}
