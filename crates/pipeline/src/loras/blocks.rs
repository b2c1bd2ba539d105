//! Block weights as people write them: a list, or the name of one.

use latent_checkpoint::adapter::BlockWeights;

use super::tag::number;

/// The lists that hako-mikan's extension comes with, of 17 weights.
const NAMED: [(&str, [f64; 17]); 10] = {
    const fn list(ones: &[usize]) -> [f64; 17] {
        let mut weights = [0.0; 17];
        let mut at = 0;
        while at < ones.len() {
            weights[ones[at]] = 1.0;
            at += 1;
        }
        weights
    }
    [
        ("NONE", [0.0; 17]),
        ("ALL", [1.0; 17]),
        ("INS", list(&[0, 1, 2])),
        ("IND", list(&[0, 4, 5, 6])),
        ("INALL", list(&[0, 1, 2, 3, 4, 5, 6])),
        ("MIDD", list(&[0, 4, 5, 6, 7, 8, 9, 10, 11])),
        ("OUTD", list(&[0, 8, 9, 10, 11])),
        ("OUTS", list(&[0, 12, 13, 14, 15, 16])),
        ("OUTALL", list(&[0, 8, 9, 10, 11, 12, 13, 14, 15, 16])),
        ("ALL0.5", [0.5; 17]),
    ]
};

/// Whether a text is a list of block weights or the name of one, and so no strength.
pub fn is_list(text: &str) -> bool {
    text.contains(',') || NAMED.iter().any(|(name, _)| *name == text.trim())
}

/// The weights. `x` is what `X` in a list stands for.
///
/// # Errors
/// What would be right, as a noun phrase.
pub fn read(text: &str, x: Option<&str>) -> Result<Vec<f64>, String> {
    let text = text.trim();
    if let Some((_, weights)) = NAMED.iter().find(|(name, _)| *name == text) {
        return Ok(weights.to_vec());
    }
    if !text.contains(',') {
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "a list of block weights, or one of {}, in the place of `{text}`",
            names.join(", ")
        ));
    }
    let each = text.split(',').map(|weight| match (weight.trim(), x) {
        ("X", Some(x)) => number(x),
        ("X", None) => Err("`x=` beside block weights that have an X".to_owned()),
        ("R" | "U", _) => {
            Err("block weights that are numbers: random ones cannot be repeated".to_owned())
        }
        (weight, _) => number(weight),
    });
    let weights: Vec<f64> = each.collect::<Result<_, _>>()?;
    BlockWeights::new(weights.clone()).map_err(|reason| format!("another list: {reason}"))?;
    Ok(weights)
}
