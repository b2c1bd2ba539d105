//! A model of semantic maps: does each pixel show what was asked for?

use std::path::PathBuf;

use image::{GrayImage, RgbImage};
use latent_data::Example;
use latent_pipeline::Request;
use miette::{IntoDiagnostic, Result, miette};

use crate::network::{Lesson, answers, segmenter};
use crate::{data, draw, screen};

#[derive(Debug, clap::Args)]
pub struct SemanticMap {
    /// The folder that training wrote.
    #[arg(long)]
    model: PathBuf,
    /// Scenes for the segmenter to learn from.
    #[arg(long)]
    real: String,
    /// Scenes that nothing has learnt from, whose maps are drawn.
    #[arg(long)]
    test: String,
    /// Sides of pictures.
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Maps to draw.
    #[arg(long, default_value_t = 150)]
    count: usize,
    /// Guidance.
    #[arg(long, default_value_t = 2.0)]
    guidance: f64,
    /// Steps of the segmenter.
    #[arg(long, default_value_t = 600)]
    steps: u64,
    /// Where a sheet goes: real pictures and below them what was drawn for their maps.
    #[arg(long)]
    sheet: PathBuf,
}

fn map(example: &Example) -> Result<GrayImage> {
    let mask = example.mask.clone();
    mask.ok_or_else(|| miette!("{}: no semantic map", example.id))
}

/// Measures and prints.
pub fn run(args: &SemanticMap) -> Result<()> {
    let real = data::examples(&args.real, args.size, usize::MAX)?;
    let test = data::examples(&args.test, args.size, args.count)?;
    let maps: Vec<Vec<u8>> = real
        .iter()
        .map(|e| Ok(map(e)?.into_raw()))
        .collect::<Result<_>>()?;
    let classes = maps
        .iter()
        .flatten()
        .max()
        .map_or(0, |most| usize::from(*most) + 1);
    let lesson = Lesson {
        pictures: real.into_iter().map(|e| e.picture).collect(),
        answers: maps,
    };
    let network = segmenter(&lesson, classes, args.steps)?;

    let artist = draw::Artist::open(&args.model, args.size)?;
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let bar = screen::bar("drawing", test.len() as u64);
    let (mut drawn, mut wanted) = (Vec::new(), Vec::new());
    for (i, example) in test.iter().enumerate() {
        let path = scratch.path().join(format!("{i}.png"));
        let map = map(example)?;
        map.save(&path).into_diagnostic()?;
        wanted.extend(map.into_raw());
        let request = Request {
            semantic_map: Some(path),
            cfg_scale: args.guidance,
            seed: Some(i as u64),
            ..Request::default()
        };
        drawn.extend(artist.draw(request)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut shuffled = drawn.clone();
    shuffled.rotate_left(1);
    let originals: Vec<RgbImage> = test.into_iter().map(|e| e.picture).collect();
    println!(
        "| {} maps of {classes} classes | pixels | pixels of objects |\n|---|---|---|",
        originals.len()
    );
    for (name, pictures) in [
        ("real pictures", &originals),
        ("drawn", &drawn),
        ("drawn, another's map", &shuffled),
    ] {
        let found = answers(&network, pictures);
        let percent = |counts: &dyn Fn(u8) -> bool| {
            let pairs = found
                .iter()
                .zip(&wanted)
                .filter(|(_, wanted)| counts(**wanted));
            let (right, all) = pairs.fold((0, 0), |(right, all), (f, w)| {
                (right + usize::from(f == w), all + 1)
            });
            100.0 * right as f64 / all.max(1) as f64
        };
        println!(
            "| {name} | {:.1} % | {:.1} % |",
            percent(&|_| true),
            percent(&|wanted| wanted != 0)
        );
    }
    draw::pairs(&args.sheet, &originals, &drawn)?;
    println!("sheet: {}", args.sheet.display());
    Ok(())
}
