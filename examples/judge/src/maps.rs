//! A model of semantic maps: does each pixel show what was asked for?

use image::{GrayImage, RgbImage};
use latent_data::Example;
use latent_pipeline::Request;
use latent_pipeline::request::Conditions;
use miette::{IntoDiagnostic, Result, miette};

use crate::asked::Taught;
use crate::network::{Lesson, answers, segmenter};
use crate::{data, draw};

/// Steps of the segmenter.
const STEPS: u64 = 600;

fn map(example: &Example) -> Result<GrayImage> {
    let mask = example.mask.clone();
    mask.ok_or_else(|| miette!("{}: no semantic map", example.id))
}

/// Measures and prints.
pub fn run(Taught { asked, real }: &Taught) -> Result<()> {
    let real = data::examples(real, asked.size, usize::MAX)?;
    let test = data::examples(&asked.test, asked.size, asked.count)?;
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
    let network = segmenter(&lesson, classes, STEPS)?;

    let subject = draw::Subject::open(&asked.model, asked.size)?;
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let drawn = subject.draw(test.len(), |i| {
        let path = scratch.path().join(format!("{i}.png"));
        map(&test[i])?.save(&path).into_diagnostic()?;
        Ok(Request {
            condition: Conditions {
                semantic_map: Some(path.into()),
                ..Conditions::default()
            },
            ..Request::default()
        })
    })?;
    let wanted: Vec<Vec<u8>> = test
        .iter()
        .map(|e| Ok(map(e)?.into_raw()))
        .collect::<Result<_>>()?;
    let wanted = wanted.concat();
    let shuffled = draw::shuffled(&drawn);
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
    draw::pairs(&asked.sheet, &originals, &drawn)
}
