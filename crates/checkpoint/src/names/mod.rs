//! Which tensor of a file is which parameter of a network.
//!
//! A network's parameters are called as diffusers and transformers call them (`down_blocks.0.resnets.0.conv1.weight`).
//! A file may use the names of the original latent-diffusion code instead
//! (`model.diffusion_model.input_blocks.1.0.in_layers.2.weight`), or those of OpenCLIP, or names that were in use for a
//! few months of 2022. One [`Table`] holds the pairs for one network in one scheme and answers in both directions.
//!
//! A table is **enumerated from the network's layout**: how many levels, how many blocks in each, where the attention
//! sits. The index arithmetic of the original names (`input_blocks.7` is the first block of level 2 when there are two
//! blocks per level) is then a running counter in one loop, and the way back needs no arithmetic at all. Rejected:
//! regular expressions (the inverse must be written a second time) and chains of substring replacement (no inverse, and
//! every new layout breaks an old one).

pub mod averaged;
pub mod ignored;

use std::collections::HashMap;

pub use ignored::{ignored, matches};

/// What part of a stored tensor a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    Whole,
    /// One of query (0), key (1) and value (2), which the file stores stacked along the first dimension: `groups`
    /// times query, key, value. OpenCLIP stacks once; the original attention block stacks once per head.
    Third {
        /// 0 query, 1 key, 2 value.
        index: usize,
        /// How often the triple is repeated; divides the parameter's first dimension.
        groups: usize,
    },
    /// All of it, a matrix stored with its dimensions exchanged.
    Transposed,
}

impl Piece {
    /// The shape of the stored tensor of which a parameter of shape `shape` is this piece.
    pub fn stored_shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        match self {
            Self::Whole => {}
            Self::Third { .. } => {
                if let Some(first) = shape.first_mut() {
                    *first = first.saturating_mul(3);
                }
            }
            Self::Transposed => shape.reverse(),
        }
        shape
    }
}

/// Where a parameter is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tensor's name in the file, without the component's prefix.
    pub name: String,
    /// Which part of that tensor.
    pub piece: Piece,
    /// The number of dimensions with which this scheme writes a weight matrix, where that differs from the
    /// parameter's own: 4 for a matrix kept as a 1×1 convolution `[o, i, 1, 1]`, 3 for `[o, i, 1]`.
    pub dims: Option<usize>,
}

/// Both directions between one network's parameters and one scheme's names.
///
/// A rule pairs two dotted prefixes; the rest of a name carries over. The longest prefix wins.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rules: Vec<Rule>,
    by_ours: HashMap<String, Vec<usize>>,
    by_theirs: HashMap<String, Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Rule {
    ours: String,
    theirs: String,
    piece: Piece,
    dims: Option<usize>,
    /// False for a name that is only ever read.
    written: bool,
}

impl Table {
    /// The table in which every parameter has its own name.
    pub fn identity() -> Self {
        let mut table = Self::default();
        table.pair("", "");
        table
    }

    /// Adds the pair of prefixes `ours` and `theirs`. An empty prefix stands for every name.
    pub fn pair(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.add(ours.into(), theirs.into(), Piece::Whole, None, true);
    }

    /// Adds a pair whose `weight` is written with `dims` dimensions.
    pub fn pair_with_dims(
        &mut self,
        ours: impl Into<String>,
        theirs: impl Into<String>,
        dims: usize,
    ) {
        self.add(ours.into(), theirs.into(), Piece::Whole, Some(dims), true);
    }

    /// Adds the rule that `ours` is third `index` of `groups` stacked triples in `theirs`.
    pub fn third(
        &mut self,
        ours: impl Into<String>,
        theirs: impl Into<String>,
        (index, groups): (usize, usize),
        dims: Option<usize>,
    ) {
        let piece = Piece::Third { index, groups };
        self.add(ours.into(), theirs.into(), piece, dims, true);
    }

    /// Adds the rule that matrix `ours` is stored as `theirs` with its dimensions exchanged.
    pub fn transposed(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.add(ours.into(), theirs.into(), Piece::Transposed, None, true);
    }

    /// Adds another name under which `ours` is accepted; it is never written.
    pub fn also(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.add(ours.into(), theirs.into(), Piece::Whole, None, false);
    }

    fn add(
        &mut self,
        ours: String,
        theirs: String,
        piece: Piece,
        dims: Option<usize>,
        written: bool,
    ) {
        let index = self.rules.len();
        self.by_ours.entry(ours.clone()).or_default().push(index);
        self.by_theirs
            .entry(theirs.clone())
            .or_default()
            .push(index);
        self.rules.push(Rule {
            ours,
            theirs,
            piece,
            dims,
            written,
        });
    }

    /// The name under which this scheme writes parameter `ours`; `None` when the scheme has no word for it.
    pub fn place(&self, ours: &str) -> Option<Place> {
        self.places(ours).next()
    }

    /// Every name under which `ours` may be found: the written one first, then the historical ones.
    pub fn places<'a>(&'a self, ours: &'a str) -> impl Iterator<Item = Place> + 'a {
        let found = |written: bool| {
            let mut hits = self.hits(&self.by_ours, ours, move |rule| rule.written == written);
            if written {
                hits.truncate(1);
            }
            hits
        };
        let (first, rest) = (found(true), found(false));
        first.into_iter().chain(rest).map(|(index, tail)| {
            let rule = &self.rules[index];
            Place {
                name: join(&rule.theirs, tail),
                piece: rule.piece,
                dims: rule.dims.filter(|_| ours.ends_with("weight")),
            }
        })
    }

    /// The parameters that the file's tensor `theirs` (without prefix) feeds: none, one, or three.
    pub fn parameters(&self, theirs: &str) -> Vec<String> {
        let hits = self.hits(&self.by_theirs, theirs, |_| true);
        let Some(&(_, longest)) = hits.first() else {
            return Vec::new();
        };
        let same_length = hits
            .iter()
            .take_while(|(_, tail)| tail.len() == longest.len());
        same_length
            .map(|&(index, tail)| join(&self.rules[index].ours, tail))
            .collect()
    }

    /// The rules whose prefix `index` finds in `name`, longest prefix first, each with the rest of the name.
    fn hits<'n>(
        &self,
        index: &HashMap<String, Vec<usize>>,
        name: &'n str,
        keep: impl Fn(&Rule) -> bool,
    ) -> Vec<(usize, &'n str)> {
        let mut hits = Vec::new();
        let mut end = name.len();
        loop {
            let tail = name[end..].strip_prefix('.').unwrap_or(&name[end..]);
            let rules = index.get(&name[..end]).into_iter().flatten();
            hits.extend(rules.filter(|&&i| keep(&self.rules[i])).map(|&i| (i, tail)));
            match name[..end].rfind('.') {
                Some(dot) => end = dot,
                None if end > 0 => end = 0,
                None => return hits,
            }
        }
    }
}

fn join(prefix: &str, tail: &str) -> String {
    match (prefix.is_empty(), tail.is_empty()) {
        (true, _) => tail.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}.{tail}"),
    }
}

/// The name that the training code's moving average gives to U-Net tensor `theirs` (an original name without prefix):
/// the dots are taken out, because the averages were registered as module buffers.
/// Source: `LitEma` in CompVis/latent-diffusion `ldm/modules/ema.py`.
pub fn ema_name(theirs: &str) -> String {
    let flat = theirs.replace('.', "");
    format!("{EMA_PREFIX}diffusion_model{flat}")
}

/// What the names of moving averages begin with.
pub const EMA_PREFIX: &str = "model_ema.";

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.pair("", "");
        table.pair_with_dims("mid.to_q", "middle.q", 4);
        table.also("mid.to_q", "middle.query");
        table.third("x.a.weight", "y.fused_weight", (0, 2), None);
        table.third("x.b.weight", "y.fused_weight", (1, 2), None);
        table
    }

    #[test]
    fn the_longest_prefix_wins_and_the_written_name_comes_first() {
        let table = table();
        let names: Vec<_> = table.places("mid.to_q.weight").collect();
        assert_eq!(names[0].name, "middle.q.weight");
        assert_eq!(names[0].dims, Some(4));
        assert_eq!(names[1].name, "middle.query.weight");
        assert_eq!(names.len(), 2);
        assert_eq!(table.place("mid.to_q.bias").unwrap().dims, None);
        assert_eq!(table.place("other.bias").unwrap().name, "other.bias");
    }

    #[test]
    fn both_names_lead_back() {
        let table = table();
        assert_eq!(table.parameters("middle.q.bias"), ["mid.to_q.bias"]);
        assert_eq!(table.parameters("middle.query.bias"), ["mid.to_q.bias"]);
        assert_eq!(
            table.parameters("y.fused_weight"),
            ["x.a.weight", "x.b.weight"]
        );
        assert!(Table::default().parameters("anything").is_empty());
    }

    #[test]
    fn a_prefix_ends_at_a_dot() {
        let mut table = Table::default();
        table.pair("mid", "middle");
        assert!(table.place("middle_block.weight").is_none());
        assert_eq!(table.place("mid").unwrap().name, "middle");
    }

    #[test]
    fn moving_averages_lose_their_dots() {
        assert_eq!(
            ema_name("input_blocks.0.0.weight"),
            "model_ema.diffusion_modelinput_blocks00weight"
        );
    }
}
