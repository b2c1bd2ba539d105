//! Vectors of pictures, and which are near to each other.

use std::collections::HashMap;

use latent_checkpoint::TensorFile;

use crate::files::FileProblem;

/// The vectors of many pictures by name, of unit length.
#[derive(Debug)]
pub struct Vectors {
    names: HashMap<String, usize>,
    /// Row by row.
    rows: Vec<f32>,
    width: usize,
    count: usize,
}

impl Vectors {
    /// From a safetensors file: `vectors`, f32 of `[pictures, width]`, and in the metadata `ids`, a JSON list of the pictures'
    /// names. `count` are asked for at once.
    ///
    /// # Errors
    /// A file that holds something else, or fewer than `count`.
    pub fn of(file: &TensorFile, width: usize, count: usize) -> Result<Self, FileProblem> {
        let wrong = |problem: String| FileProblem::wrong(file.path(), problem);
        let names: Vec<String> = file
            .metadata()
            .get("ids")
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| wrong("its metadata has no `ids`, a JSON list of names".to_owned()))?;
        let shape = file.get("vectors").map(|info| info.shape.clone());
        if shape.as_deref() != Some(&[names.len(), width][..]) || names.len() < count {
            return Err(wrong(format!(
                "`vectors` is {shape:?}; [{}, {width}] is wanted, and {count} pictures at least",
                names.len()
            )));
        }
        let bytes = file
            .bytes("vectors")
            .map_err(|error| FileProblem::Unread(error.into()))?;
        let (words, _) = bytes.as_chunks::<4>();
        let mut rows: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        if rows.len() != names.len() * width {
            return Err(wrong("`vectors` is not of f32".to_owned()));
        }
        for row in rows.chunks_mut(width) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v /= norm);
        }
        Ok(Self {
            names: names.into_iter().zip(0..).collect(),
            rows,
            width,
            count,
        })
    }

    /// The names of the pictures, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The vectors nearest to those of a picture, its own first: `count · width` numbers. `None` for a name that is not here.
    pub fn near(&self, name: &str) -> Option<Vec<f32>> {
        let row = |i: usize| &self.rows[i * self.width..(i + 1) * self.width];
        let own = row(*self.names.get(name)?);
        let likeness = |i: usize| row(i).iter().zip(own).map(|(a, b)| a * b).sum::<f32>();
        let mut order: Vec<(f32, usize)> =
            (0..self.names.len()).map(|i| (likeness(i), i)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let nearest = order.iter().take(self.count);
        Some(nearest.flat_map(|(_, i)| row(*i).iter().copied()).collect())
    }
}
