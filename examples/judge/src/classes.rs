//! A model of classes.

use std::path::PathBuf;

use image::RgbImage;
use latent_data::Example;
use latent_pipeline::Request;
use miette::{IntoDiagnostic, Result, miette};

use crate::network::{Lesson, answers, classifier, share};
use crate::{data, draw, screen};

#[derive(Debug, clap::Args)]
pub struct Classes {
    /// The folder that training wrote.
    #[arg(long)]
    model: PathBuf,
    /// Pictures for the classifier to learn from.
    #[arg(long)]
    real: String,
    /// Pictures that nothing has learnt from.
    #[arg(long)]
    test: String,
    /// Sides of pictures.
    #[arg(long)]
    size: u32,
    /// How many classes there are.
    #[arg(long)]
    classes: usize,
    /// Pictures drawn of each class.
    #[arg(long, default_value_t = 50)]
    each: usize,
    /// Guidance.
    #[arg(long, default_value_t = 3.0)]
    guidance: f64,
    /// Steps of the classifier.
    #[arg(long, default_value_t = 4000)]
    steps: u64,
    /// Where a sheet of samples goes: a row for each class.
    #[arg(long)]
    sheet: PathBuf,
}

/// Measures and prints.
pub fn run(args: &Classes) -> Result<()> {
    let artist = draw::Artist::open(&args.model, args.size)?;
    let test = data::examples(&args.test, args.size, 10_000)?;
    let mut ratio = 0.0;
    let seen = &test[..test.len().min(1000)];
    for example in seen {
        let (given, made) = artist.reconstruct(&example.picture)?;
        ratio += latent_metrics::psnr(&given, &made, 2.0).into_diagnostic()?;
    }
    println!(
        "reconstruction of {} test pictures: {:.2} dB PSNR",
        seen.len(),
        ratio / seen.len() as f64
    );

    let lesson = |examples: Vec<Example>| -> Result<Lesson> {
        let classes: Option<Vec<_>> = examples
            .iter()
            .map(|e| e.class.map(|c| vec![c as u8]))
            .collect();
        Ok(Lesson {
            answers: classes.ok_or_else(|| miette!("a real picture has no class"))?,
            pictures: examples.into_iter().map(|e| e.picture).collect(),
        })
    };
    let network = classifier(
        &lesson(data::examples(&args.real, args.size, 60_000)?)?,
        args.classes,
        args.steps,
    )?;
    let test = lesson(test)?;
    let wanted: Vec<u8> = test.answers.concat();
    let right = share(&answers(&network, &test.pictures), &wanted);
    println!(
        "classifier on {} real test pictures: {:.1} %",
        wanted.len(),
        100.0 * right
    );

    let bar = screen::bar("drawing", args.classes as u64);
    let mut drawn: Vec<RgbImage> = Vec::new();
    for class in 0..args.classes {
        let request = Request {
            class: Some(class as u32),
            cfg_scale: args.guidance,
            seed: Some(1000 * class as u64),
            batch_size: args.each,
            ..Request::default()
        };
        drawn.extend(artist.draw(request)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let wanted: Vec<u8> = (0..args.classes)
        .flat_map(|c| vec![c as u8; args.each])
        .collect();
    let found = answers(&network, &drawn);
    println!(
        "guided samples ({}) recognised as the class asked for: {:.1} %",
        drawn.len(),
        100.0 * share(&found, &wanted)
    );
    let other: Vec<u8> = (0..args.classes)
        .flat_map(|c| vec![((c + 1) % args.classes) as u8; args.each])
        .collect();
    println!(
        "the same samples against the next class: {:.1} %",
        100.0 * share(&found, &other)
    );
    let shown = args.each.min(12);
    let rows = drawn
        .chunks(args.each)
        .flat_map(|row| row[..shown].to_vec());
    draw::sheet(&args.sheet, &rows.collect::<Vec<_>>(), shown as u32, 1)?;
    println!("sheet: {}", args.sheet.display());
    Ok(())
}
