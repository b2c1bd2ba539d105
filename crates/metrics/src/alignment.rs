//! Whether a picture shows its caption (Xu et al. 2018, "AttnGAN"), or its class.

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
    if choices < 2 {
        return Err(Error::Few {
            measure: "a choice of captions",
            found: choices,
            least: 2,
        });
    }
    let pictures = (likeness.len() / choices).max(1);
    top_k(likeness, choices, &vec![0; pictures], 1)
}

/// Top-k accuracy: how often a picture's own class is among the `k` likeliest, 0..=1.
///
/// `scores` holds for each picture how likely each of `classes` is, `own` the number of its own. Of classes that are as likely
/// as the own one, each order counts the same.
///
/// # Shapes
/// `scores` `[pictures, classes]`, `own` `[pictures]`
///
/// # Errors
/// Numbers that do not fill the shape or are not finite, no picture, an own class that is none of them.
pub fn top_k(scores: &[f32], classes: usize, own: &[usize], k: usize) -> Result<f64, Error> {
    let expected = own.len().max(1) * classes;
    if scores.is_empty() || scores.len() != expected {
        return Err(Error::Length {
            what: "the likeness of pictures and what they may show",
            found: scores.len(),
            expected,
        });
    }
    if let Some(none) = own.iter().find(|own| **own >= classes) {
        return Err(Error::Length {
            what: "the classes up to a picture's own",
            found: classes,
            expected: none + 1,
        });
    }
    if !scores.iter().all(|v| v.is_finite()) {
        return Err(Error::NotFinite {
            what: "a likeness of a picture and what it may show",
        });
    }
    let found = scores.chunks_exact(classes).zip(own).map(|(row, own)| {
        let own = row[*own];
        let above = row.iter().filter(|other| **other > own).count();
        let equal = row.iter().filter(|other| **other == own).count();
        (k.saturating_sub(above) as f64 / equal as f64).min(1.0)
    });
    Ok(found.sum::<f64>() / own.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_are_counted() {
        let scores = [0.1, 0.5, 0.3, 0.2, 0.2, 0.2, 0.9, 0.0, 0.9];
        let share = |k| top_k(&scores, 3, &[2, 1, 1], k).unwrap();
        // The own is second, one of three equals, and last.
        assert!((share(1) - (0.0 + 1.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((share(2) - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert_eq!(share(3), 1.0);
        assert_eq!(share(9), 1.0);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(top_k(&[], 3, &[], 1).is_err());
        assert!(top_k(&[1.0, 2.0], 3, &[0], 1).is_err());
        assert!(top_k(&[1.0, 2.0], 2, &[2], 1).is_err());
        assert!(top_k(&[1.0, f32::NAN], 2, &[0], 1).is_err());
        assert!(top_k(&[], 0, &[], 1).is_err());
    }
}
