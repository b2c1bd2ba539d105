//! A data set in two parts: to learn from, and to look at.

use std::sync::Arc;

use latent_data::{About, Error, Labels, Raw, Source};

/// Some of the pictures of a source.
pub struct Part {
    source: Arc<dyn Source>,
    indices: Vec<usize>,
}

/// The pictures to learn from, and a share of them, evenly spread, that is held back; at least one each.
pub fn split(source: &Arc<dyn Source>, share: f64) -> [Part; 2] {
    let held = |index: usize| {
        let count = |i: usize| (i as f64 * share).floor();
        count(index + 1) > count(index) || (index == 0 && count(source.len()) == 0.0)
    };
    let (back, learnt) = (0..source.len()).partition(|&index| held(index));
    [learnt, back].map(|indices| Part {
        source: source.clone(),
        indices,
    })
}

impl Source for Part {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn id(&self, index: usize) -> String {
        self.source.id(self.indices[index])
    }

    fn size(&self, index: usize) -> Result<[u32; 2], Error> {
        self.source.size(self.indices[index])
    }

    fn read(&self, index: usize) -> Result<Raw, Error> {
        self.source.read(self.indices[index])
    }

    fn labels(&self, index: usize, mask: bool) -> Result<Labels, Error> {
        self.source.labels(self.indices[index], mask)
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn about(&self) -> About {
        self.source.about()
    }
}
