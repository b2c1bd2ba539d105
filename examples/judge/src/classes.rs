//! A model of classes.

use latent_data::Example;
use latent_pipeline::Request;
use latent_pipeline::request::{Class, Conditions};
use miette::{IntoDiagnostic, Result, miette};

use crate::asked::Taught;
use crate::network::{Lesson, answers, classifier, share};
use crate::{data, draw};

#[derive(Debug, clap::Args)]
pub struct Classes {
    #[command(flatten)]
    taught: Taught,
    /// How many classes there are.
    #[arg(long)]
    classes: usize,
}

/// Steps of the classifier.
const STEPS: u64 = 4000;

/// Measures and prints.
pub fn run(
    Classes {
        taught: Taught { asked, real },
        classes,
    }: &Classes,
) -> Result<()> {
    let classes = *classes;
    let subject = draw::Subject::open(&asked.model, asked.size)?;
    let test = data::examples(&asked.test, asked.size, 10_000)?;
    let mut ratio = 0.0;
    let seen = &test[..test.len().min(1000)];
    for example in seen {
        let (given, made) = subject.reconstruct(&example.picture)?;
        ratio += latent_metrics::psnr(&given, &made, 2.0).into_diagnostic()?;
    }
    println!(
        "reconstruction of {} test pictures: {:.2} dB PSNR",
        seen.len(),
        ratio / seen.len() as f64
    );

    let lesson = |examples: Vec<Example>| -> Result<Lesson> {
        let answers: Option<Vec<_>> = examples
            .iter()
            .map(|e| e.class.map(|c| vec![c as u8]))
            .collect();
        Ok(Lesson {
            answers: answers.ok_or_else(|| miette!("a real picture has no class"))?,
            pictures: examples.into_iter().map(|e| e.picture).collect(),
        })
    };
    let network = classifier(
        &lesson(data::examples(real, asked.size, 60_000)?)?,
        classes,
        STEPS,
    )?;
    let test = lesson(test)?;
    let wanted: Vec<u8> = test.answers.concat();
    let right = share(&answers(&network, &test.pictures), &wanted);
    println!(
        "classifier on {} real test pictures: {:.1} %",
        wanted.len(),
        100.0 * right
    );

    let drawn = subject.draw(classes, |class| {
        Ok(Request {
            batch_size: asked.count,
            condition: Conditions {
                class: Some(Class::Number(class as u32)),
                ..Conditions::default()
            },
            ..Request::default()
        })
    })?;
    let wanted: Vec<u8> = (0..classes)
        .flat_map(|c| vec![c as u8; asked.count])
        .collect();
    let found = answers(&network, &drawn);
    println!(
        "guided samples ({}) recognised as the class asked for: {:.1} %",
        drawn.len(),
        100.0 * share(&found, &wanted)
    );
    let other: Vec<u8> = (0..classes)
        .flat_map(|c| vec![((c + 1) % classes) as u8; asked.count])
        .collect();
    println!(
        "the same samples against the next class: {:.1} %",
        100.0 * share(&found, &other)
    );
    let shown = asked.count.min(12);
    let rows = drawn
        .chunks(asked.count)
        .flat_map(|row| row[..shown].to_vec());
    draw::sheet(&asked.sheet, &rows.collect::<Vec<_>>(), shown as u32)
}
