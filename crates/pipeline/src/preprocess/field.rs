//! Numbers that lie in rows and columns, several at each place.

use crate::picture::Picture;

/// `height` rows of `width` places of `channels` numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<T> {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub values: Vec<T>,
}

impl<T: Copy> Field<T> {
    /// The numbers at a place.
    pub fn at(&self, x: usize, y: usize) -> &[T] {
        let start = (y * self.width + x) * self.channels;
        &self.values[start..start + self.channels]
    }

    /// Each number changed.
    pub fn map<U>(&self, change: impl Fn(T) -> U) -> Field<U> {
        Field {
            width: self.width,
            height: self.height,
            channels: self.channels,
            values: self.values.iter().map(|v| change(*v)).collect(),
        }
    }

    /// One number made of those of each place.
    pub fn fold<U>(&self, change: impl Fn(&[T]) -> U) -> Field<U> {
        Field {
            width: self.width,
            height: self.height,
            channels: 1,
            values: self
                .values
                .chunks_exact(self.channels)
                .map(change)
                .collect(),
        }
    }

    /// The same with its last column and its last row repeated up to this size.
    pub fn extended(&self, width: usize, height: usize) -> Self {
        let place = |y: usize, x: usize| self.at(x.min(self.width - 1), y.min(self.height - 1));
        let rows = (0..height).flat_map(|y| (0..width).flat_map(move |x| place(y, x)));
        Self {
            width,
            height,
            channels: self.channels,
            values: rows.copied().collect(),
        }
    }

    /// Its first columns and rows.
    pub fn cropped(&self, width: usize, height: usize) -> Self {
        let row = |y: usize| {
            let start = y * self.width * self.channels;
            &self.values[start..start + width * self.channels]
        };
        Self {
            width,
            height,
            channels: self.channels,
            values: (0..height).flat_map(row).copied().collect(),
        }
    }
}

impl From<&Picture> for Field<u8> {
    /// Its colours; transparency is left out.
    fn from(picture: &Picture) -> Self {
        Self {
            width: picture.width(),
            height: picture.height(),
            channels: 3,
            values: picture.rgb().to_vec(),
        }
    }
}

impl Field<u8> {
    /// A picture: of three numbers at each place its colours, of one a grey one.
    pub fn picture(self) -> Picture {
        let rgb = match self.channels {
            3 => self.values,
            _ => self.values.iter().flat_map(|v| [*v; 3]).collect(),
        };
        let plain = || Picture::plain(self.width, self.height, [0; 3]);
        Picture::new(self.width, self.height, rgb).unwrap_or_else(plain)
    }
}

/// A position beyond the ends of `length`, mirrored without repeating the end.
pub fn mirrored(mut at: i64, length: usize) -> usize {
    let last = length as i64 - 1;
    if last == 0 {
        return 0;
    }
    while at < 0 || at > last {
        at = if at < 0 { -at } else { 2 * last - at };
    }
    at as usize
}

/// A position beyond the ends, at the end.
pub fn clamped(at: i64, length: usize) -> usize {
    at.clamp(0, length as i64 - 1) as usize
}
