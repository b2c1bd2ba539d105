//! Real pictures.

use latent_data::{DataConfig, Example, Fit, Loader, LoaderOptions};
use miette::{IntoDiagnostic, Result};

/// The first `count` examples of a data set (all where it has fewer) in its own order, `side` pixels wide and high.
pub fn examples(path: &str, side: u32, count: usize) -> Result<Vec<Example>> {
    let text = format!("path = {path:?}\nsize = {side}\n");
    let config: DataConfig = toml::from_str(&text).into_diagnostic()?;
    let source = latent_data::open(&config, &[]).into_diagnostic()?;
    let count = count.min(source.len());
    let fit = Fit::new(&config).into_diagnostic()?;
    let options = LoaderOptions {
        shuffle: false,
        ..LoaderOptions::new(0, 64)
    };
    let loader = Loader::new(source, fit, options).into_diagnostic()?;
    let mut examples = Vec::with_capacity(count);
    for batch in loader.at(0) {
        examples.extend(batch.into_diagnostic()?.examples);
        if examples.len() >= count {
            break;
        }
    }
    examples.truncate(count);
    Ok(examples)
}
