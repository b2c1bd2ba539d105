//! Whether a picture shows its caption (Xu et al. 2018, "AttnGAN").

use crate::Error;

/// R-precision: how often a picture finds its own caption among others, 0..=1.
///
/// `likeness` holds for each picture how alike it is to each of `choices` captions, its own first. A picture whose own
/// caption is as alike as n − 1 others, and none is more, counts 1/n: who cannot tell captions apart gets what guessing
/// gets, 1/`choices`.
///
/// # Shapes
/// `[pictures, choices]`
///
/// # Errors
/// Fewer than two choices, numbers that do not fill the shape or are not finite, no picture.
pub fn r_precision(likeness: &[f32], choices: usize) -> Result<f64, Error> {
    const NAME: &str = "R-precision";
    if choices < 2 {
        return Err(Error::Few {
            measure: "a choice of captions",
            found: choices,
            least: 2,
        });
    }
    let pictures = likeness.len() / choices;
    if pictures == 0 || likeness.len() != pictures * choices {
        return Err(Error::Length {
            what: NAME,
            found: likeness.len(),
            expected: pictures.max(1) * choices,
        });
    }
    if !likeness.iter().all(|v| v.is_finite()) {
        return Err(Error::NotFinite {
            what: "a likeness of picture and caption",
        });
    }
    let found = likeness.chunks_exact(choices).map(|row| {
        let own = row[0];
        match row.iter().any(|other| *other > own) {
            true => 0.0,
            false => 1.0 / row.iter().filter(|other| **other == own).count() as f64,
        }
    });
    Ok(found.sum::<f64>() / pictures as f64)
}
