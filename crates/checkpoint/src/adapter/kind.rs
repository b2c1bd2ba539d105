//! The kinds of changes, told by which parts a module has, and whether the shapes of the parts go together and with the
//! weight that they change.

use serde::Serialize;

use super::file::Module;
use super::keys::{BIAS, Part};
use crate::error::shown;
use crate::load::fits;
use crate::patch::Target;
use crate::report::{Mismatch, Misshapen, ModelError};

/// How a change of a weight W `[o, i, …]` is kept. `r` is the rank, s the strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// up `[o, r]` · down `[r, i, …]`: LoRA (Hu et al. 2021), and of convolutions LoCon.
    LowRank,
    /// The same with a core `[r, r, …]` between them (CP decomposition).
    LowRankCore,
    /// LoHa: the product, element by element, of two low-rank matrices (FedPara, Hyeon-Woo et al. 2021).
    Hadamard,
    /// The same of two low-rank tensors with cores.
    HadamardCore,
    /// LoKr: the Kronecker product of two matrices, each whole or of low rank.
    Kronecker,
    /// The difference itself.
    Full,
    /// The difference of a normalisation.
    Norm,
    /// IA³ (Liu et al. 2022): a factor for each output, or for each input.
    Scaling,
    /// GLoRA (Chavan et al. 2023): W·A + B.
    Generalised,
    /// OFT (Qiu et al. 2023): outputs rotated in blocks.
    Rotation,
    /// BOFT (Liu et al. 2024): the same in butterfly factors.
    Butterfly,
    /// An early form of OFT that keeps the rotations themselves.
    Rotated,
    /// Of the bias alone.
    Bias,
}

impl Kind {
    /// What it is called.
    pub fn words(self) -> &'static str {
        match self {
            Self::LowRank => "LoRA",
            Self::LowRankCore => "LoRA with a core (CP)",
            Self::Hadamard => "LoHa",
            Self::HadamardCore => "LoHa with cores",
            Self::Kronecker => "LoKr",
            Self::Full => "full difference",
            Self::Norm => "difference of norms",
            Self::Scaling => "IA³",
            Self::Generalised => "GLoRA",
            Self::Rotation => "OFT",
            Self::Butterfly => "BOFT",
            Self::Rotated => "OFT of before the Cayley form",
            Self::Bias => "difference of biases",
        }
    }
}

/// Parts that say how strong a change is.
const SCALED: &[Part] = &["alpha", "scale", "dora_scale", "magnitude"];
/// Written by some trainers and read by nobody: a whole difference has no scale of its own.
const IDLE: &[Part] = &["alpha"];
const OFT: &[Part] = &["alpha", "rescale"];

/// Kinds by the parts that they need, those that need more first, and the parts that they may have.
static FORMS: [(Kind, &[Part], &[Part]); 17] = {
    use Kind::*;
    const HADA: [Part; 4] = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"];
    const CORES: [Part; 6] = ["hada_t1", "hada_t2", HADA[0], HADA[1], HADA[2], HADA[3]];
    [
        (LowRankCore, &["lora_mid", "lora_down", "lora_up"], SCALED),
        (LowRank, &["lora_down", "lora_up"], SCALED),
        (HadamardCore, &CORES, SCALED),
        (Hadamard, &HADA, SCALED),
        (Kronecker, &["lokr_w1", "lokr_w2"], SCALED),
        (
            Kronecker,
            &["lokr_w1", "lokr_t2", "lokr_w2_a", "lokr_w2_b"],
            SCALED,
        ),
        (Kronecker, &["lokr_w1", "lokr_w2_a", "lokr_w2_b"], SCALED),
        (Kronecker, &["lokr_w1_a", "lokr_w1_b", "lokr_w2"], SCALED),
        (
            Kronecker,
            &[
                "lokr_w1_a",
                "lokr_w1_b",
                "lokr_t2",
                "lokr_w2_a",
                "lokr_w2_b",
            ],
            SCALED,
        ),
        (
            Kronecker,
            &["lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"],
            SCALED,
        ),
        (Generalised, &["a1", "a2", "b1", "b2"], &["alpha", "scale"]),
        (Rotation, &["oft_blocks"], OFT),
        (Rotated, &["oft_diag"], OFT),
        (Scaling, &["weight", "on_input"], IDLE),
        (Full, &["diff"], IDLE),
        (Norm, &["w_norm"], IDLE),
        (Bias, &[], IDLE),
    ]
};

impl Module<'_> {
    /// What it is.
    ///
    /// # Errors
    /// Parts of which one is missing, or that do not go together.
    pub fn kind(&self) -> Result<Kind, ModelError> {
        let whole = |needs: &[Part]| needs.iter().all(|part| self.has(part));
        let found = FORMS.iter().find(|(_, needs, _)| whole(needs));
        let (kind, needs, may) = found.unwrap_or(&FORMS[FORMS.len() - 1]);
        let belongs =
            |part: &&Part| needs.contains(part) || may.contains(part) || BIAS.contains(part);
        if let Some(stray) = self.parts.keys().find(|part| !belongs(part)) {
            let lacking = |needs: &[Part]| needs.iter().filter(|part| !self.has(part)).count();
            let meant = FORMS.iter().filter(|(_, needs, _)| needs.contains(stray));
            let meant = meant.min_by_key(|(_, needs, _)| lacking(needs));
            let (lacks, words) = match meant {
                Some((kind, needs, _)) => {
                    let lacks = needs.iter().filter(|part| !self.has(part)).copied();
                    (lacks.collect::<Vec<_>>(), kind.words())
                }
                None => (Vec::new(), kind.words()),
            };
            let tensor = self.parts.get(stray).map_or("", String::as_str);
            return Err(self.file.wrong(match lacks.is_empty() {
                true => format!(
                    "`{}` does not go with the other parts of its module, a {}",
                    shown(tensor),
                    kind.words()
                ),
                false => format!(
                    "`{}` is part of a {words} whose `{}` is missing",
                    shown(tensor),
                    lacks.join("` and `")
                ),
            }));
        }
        Ok(match kind {
            Kind::Rotation if self.shape("oft_blocks").len() == 4 => Kind::Butterfly,
            kind => *kind,
        })
    }

    /// The rank of its change of a weight, which alpha is divided by; `None` of kinds that have none, and where a LoKr's two
    /// matrices are whole, whose alpha says nothing.
    pub fn rank(&self, kind: Kind) -> Option<usize> {
        let first = |part| self.shape(part).first().copied();
        match kind {
            Kind::LowRank | Kind::LowRankCore => first("lora_down"),
            Kind::Hadamard | Kind::HadamardCore => first("hada_w1_b"),
            Kind::Kronecker => first("lokr_w2_b").or_else(|| first("lokr_w1_b")),
            Kind::Generalised if self.is_old_glora() => first("a1"),
            Kind::Generalised => first("a2"),
            _ => None,
        }
    }

    /// Whether the four matrices of a GLoRA are of the older form, in which each is transposed in meaning: told by the rank,
    /// which its parts share along other sides.
    pub fn is_old_glora(&self) -> bool {
        let side = |part, axis: usize| self.shape(part).get(axis).copied().unwrap_or(0);
        let new = side("a1", 1) == side("a2", 0) && side("b1", 1) == side("b2", 0);
        let new = new && side("a2", 0) == side("b2", 0);
        let old = side("a1", 0) == side("a2", 1) && side("b1", 0) == side("b2", 1);
        !new && old && side("a1", 0) == side("b1", 0)
    }

    /// The inputs that its change is made for, where that is fewer than the weight has: a model whose first convolution takes
    /// more channels than that of the adapter. Source: A1111's reading of LoRAs for inpainting models.
    pub fn narrower(&self, kind: Kind, target: &Target<'_>) -> Option<usize> {
        let part = match kind {
            Kind::LowRank | Kind::LowRankCore => "lora_down",
            Kind::Full => "diff",
            _ => return None,
        };
        let magnitudes = self.has("dora_scale") || self.has("magnitude");
        let (own, theirs) = (*target.shape.get(1)?, *self.shape(part).get(1)?);
        (target.name == "conv_in.weight" && theirs < own && !magnitudes).then_some(theirs)
    }

    /// Whether the shapes of its parts fit the weight (or bias) of this shape.
    ///
    /// # Errors
    /// Those that do not.
    pub fn check(
        &self,
        kind: Kind,
        target: &Target<'_>,
        shape: &[usize],
    ) -> Result<(), ModelError> {
        let mut misshapen = Vec::new();
        for (part, expected) in self.expected(kind, shape) {
            let found = self.shape(part);
            let same = expected
                .iter()
                .any(|expected| fits(found, expected) || found == &expected[..]);
            if (!same || found.contains(&0))
                && let Some(first) = expected.into_iter().next()
            {
                misshapen.push(Misshapen {
                    tensor: self.parts.get(part).cloned().unwrap_or_default(),
                    expected: first,
                    found: found.to_vec(),
                });
            }
        }
        Mismatch::of_shapes(self.file.path(), target.role(), misshapen)
    }

    /// The shapes that each part may have, the usual one first.
    fn expected(&self, kind: Kind, shape: &[usize]) -> Vec<(Part, Vec<Vec<usize>>)> {
        let o = shape.first().copied().unwrap_or(1);
        let i = shape.get(1).copied().unwrap_or(1);
        let k = shape.get(2..).unwrap_or(&[]);
        let area: usize = k.iter().product();
        let r = self.rank(kind).unwrap_or(0);
        let with = |start: [usize; 2]| [&start[..], k].concat();
        let one = |shape: Vec<usize>| vec![shape];
        let ones = vec![1; k.len()];
        let mut parts = match kind {
            Kind::LowRank => vec![
                ("lora_down", one(with([r, i]))),
                ("lora_up", one(vec![o, r])),
            ],
            Kind::LowRankCore => {
                // The core's two sides are the ranks of either factor.
                let up = self.shape("lora_mid").first().copied().unwrap_or(0);
                vec![
                    ("lora_down", one(vec![r, i])),
                    ("lora_mid", one(with([up, r]))),
                    ("lora_up", one(vec![o, up])),
                ]
            }
            Kind::Hadamard => vec![
                ("hada_w1_a", one(vec![o, r])),
                ("hada_w1_b", one(vec![r, i * area])),
                ("hada_w2_a", one(vec![o, r])),
                ("hada_w2_b", one(vec![r, i * area])),
            ],
            Kind::HadamardCore => vec![
                ("hada_t1", one(with([r, r]))),
                ("hada_w1_a", one(vec![r, o])),
                ("hada_w1_b", one(vec![r, i])),
                ("hada_t2", one(with([r, r]))),
                ("hada_w2_a", one(vec![r, o])),
                ("hada_w2_b", one(vec![r, i])),
            ],
            Kind::Kronecker => self.of_kronecker([o, i], k, r),
            Kind::Full => vec![("diff", one(shape.to_vec()))],
            Kind::Norm => vec![("w_norm", one(shape.to_vec()))],
            Kind::Generalised if self.is_old_glora() => vec![
                ("a1", one(vec![r, i])),
                ("a2", one(vec![i, r])),
                ("b1", one(with([r, i]))),
                ("b2", one(vec![o, r])),
            ],
            Kind::Generalised => vec![
                ("a1", one(vec![i, r])),
                ("a2", one(vec![r, i])),
                ("b1", one(vec![o, r])),
                ("b2", one(with([r, i]))),
            ],
            Kind::Rotation | Kind::Rotated => {
                let part = if kind == Kind::Rotation {
                    "oft_blocks"
                } else {
                    "oft_diag"
                };
                let side = self.shape(part).get(1).copied().unwrap_or(0);
                vec![(part, one(vec![divided(o, side), side, side]))]
            }
            Kind::Butterfly => {
                let found = self.shape("oft_blocks");
                let (factors, side) = (found[0], found[2]);
                // The last factor exchanges halves of so many rows.
                let span = u32::try_from(factors.saturating_sub(1)).ok();
                let span = span.and_then(|n| 2usize.checked_pow(n)?.checked_mul(side));
                let whole = span.is_some_and(|span| divided(o, span) > 0) && side.is_multiple_of(2);
                let blocks = if whole { o / side } else { 0 };
                vec![("oft_blocks", one(vec![factors, blocks, side, side]))]
            }
            // Which of the two is in its `on_input`, which is read with the values.
            Kind::Scaling => {
                let forms =
                    [o, i].map(|n| [vec![n], [&[1, n][..], &ones[..]].concat(), vec![n, 1]]);
                vec![("weight", forms.concat())]
            }
            Kind::Bias => Vec::new(),
        };
        let outputs = [&[o, 1][..], &ones[..]].concat();
        let inputs = [&[1, i][..], &ones[..]].concat();
        if self.has("rescale") {
            parts.push(("rescale", vec![outputs.clone(), vec![o]]));
        }
        if self.has("dora_scale") {
            parts.push(("dora_scale", vec![outputs, inputs, vec![o]]));
        }
        if self.has("magnitude") {
            let turned = [&[1, o][..], &ones[..]].concat();
            parts.push(("magnitude", vec![vec![o], turned, vec![o, 1]]));
        }
        parts
    }

    /// Shapes of the parts of a LoKr: a·b = o, c·d = i for the factors `[a, c]` and `[b, d, …]`.
    fn of_kronecker(
        &self,
        [o, i]: [usize; 2],
        k: &[usize],
        r: usize,
    ) -> Vec<(Part, Vec<Vec<usize>>)> {
        let side = |part, axis: usize| self.shape(part).get(axis).copied().unwrap_or(0);
        let area: usize = k.iter().product();
        let low = self.has("lokr_w1_a");
        let [a, c] = match low {
            true => [side("lokr_w1_a", 0), side("lokr_w1_b", 1)],
            false => [side("lokr_w1", 0), side("lokr_w1", 1)],
        };
        let (b, d) = (divided(o, a), divided(i, c));
        let mut parts = match low {
            true => {
                let r = side("lokr_w1_b", 0);
                vec![
                    ("lokr_w1_a", vec![vec![a, r]]),
                    ("lokr_w1_b", vec![vec![r, c]]),
                ]
            }
            false => vec![("lokr_w1", vec![vec![a, c]])],
        };
        parts.extend(match (self.has("lokr_t2"), self.has("lokr_w2")) {
            (true, _) => vec![
                ("lokr_t2", vec![[&[r, r][..], k].concat()]),
                ("lokr_w2_a", vec![vec![r, b]]),
                ("lokr_w2_b", vec![vec![r, d]]),
            ],
            (_, true) => vec![(
                "lokr_w2",
                vec![[&[b, d][..], k].concat(), vec![b, d * area]],
            )],
            _ => vec![
                ("lokr_w2_a", vec![vec![b, r]]),
                ("lokr_w2_b", vec![vec![r, d * area]]),
            ],
        });
        parts
    }
}

/// 0 where it does not divide evenly: that fits nothing.
fn divided(whole: usize, by: usize) -> usize {
    match by > 0 && whole.is_multiple_of(by) {
        true => whole / by,
        false => 0,
    }
}
