//! A model of captions: colour, kind and count of what is drawn.

use std::collections::BTreeSet;
use std::path::PathBuf;

use image::RgbImage;
use latent_pipeline::Request;
use miette::{IntoDiagnostic, Result, miette};
use serde_json::Value;

use crate::network::{Classifier, Lesson, answers, classifier};
use crate::{data, draw, screen};

#[derive(Debug, clap::Args)]
pub struct Text {
    /// The folder that training wrote.
    #[arg(long)]
    model: PathBuf,
    /// Scenes for the classifiers to learn from.
    #[arg(long)]
    real: String,
    /// Scenes that nothing has learnt from, whose captions are drawn.
    #[arg(long)]
    test: String,
    /// Sides of pictures.
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Captions to draw.
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Guidance.
    #[arg(long, default_value_t = 4.0)]
    guidance: f64,
    /// Steps of each classifier.
    #[arg(long, default_value_t = 600)]
    steps: u64,
    /// Where a sheet of samples goes.
    #[arg(long)]
    sheet: PathBuf,
}

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
pub fn run(args: &Text) -> Result<()> {
    let real = scenes(&args.real, args.size)?;
    let mut test = scenes(&args.test, args.size)?;
    let known: [Vec<String>; 3] = std::array::from_fn(|fact| {
        let all: BTreeSet<_> = real.iter().map(|scene| scene.facts[fact].clone()).collect();
        all.into_iter().collect()
    });
    let number = |scene: &Scene, fact: usize| {
        let place = known[fact].iter().position(|k| *k == scene.facts[fact]);
        place.map(|place| place as u8)
    };
    test.retain(|scene| (0..3).all(|fact| number(scene, fact).is_some()));
    test.truncate(args.count);
    if test.len() < 2 {
        return Err(miette!(
            "{}: too few scenes of one kind of thing",
            args.test
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
            classifier(&lesson, known[fact].len(), args.steps)
        })
        .collect::<Result<_>>()?;

    let artist = draw::Artist::open(&args.model, args.size)?;
    let bar = screen::bar("drawing", test.len() as u64);
    let mut drawn = Vec::new();
    for (i, scene) in test.iter().enumerate() {
        let request = Request {
            prompt: scene.caption.clone(),
            cfg_scale: args.guidance,
            seed: Some(i as u64),
            ..Request::default()
        };
        drawn.extend(artist.draw(request)?);
        bar.inc(1);
    }
    bar.finish_and_clear();

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
    draw::sheet(&args.sheet, &drawn[..drawn.len().min(40)], 10, 1)?;
    for (i, scene) in test.iter().take(10).enumerate() {
        println!("sheet, first row, {}: {}", i + 1, scene.caption);
    }
    println!("sheet: {}", args.sheet.display());
    Ok(())
}
