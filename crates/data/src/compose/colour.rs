//! Colours by name, and cut-outs in other colours.

use image::RgbaImage;
use serde::{Deserialize, Serialize};

/// The colours for which English has a word of its own (Berlin and Kay 1969).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say all")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    Grey,
    White,
}

/// A colour is a cut-out's where so many of its pixels have it.
const SHARE: f64 = 0.6;
/// A pixel whose largest and smallest channel differ by less has no hue to change.
const CHROMA: u8 = 40;

impl Colour {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::Grey,
        Self::White,
    ];

    /// Those that cut-outs are painted in.
    pub const PAINTS: [Self; 7] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Brown => "brown",
            Self::Black => "black",
            Self::Grey => "grey",
            Self::White => "white",
        }
    }

    /// The colour of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|colour| colour.word() == word)
    }

    /// A typical red, green and blue of it.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 38, 38],
            Self::Orange => [245, 130, 20],
            Self::Yellow => [250, 210, 30],
            Self::Green => [45, 160, 60],
            Self::Blue => [40, 100, 225],
            Self::Purple => [130, 60, 190],
            Self::Pink => [245, 110, 175],
            Self::Brown => [125, 80, 45],
            Self::Black => [25, 25, 25],
            Self::Grey => [135, 135, 135],
            Self::White => [250, 250, 250],
        }
    }

    /// What a red, green and blue is called: by value and saturation where it has little hue, else by hue.
    pub fn of_rgb([r, g, b]: [u8; 3]) -> Self {
        let (r, g, b) = (f64::from(r), f64::from(g), f64::from(b));
        let most = r.max(g).max(b);
        let spread = most - r.min(g).min(b);
        let (value, saturation) = (most / 255.0, spread / most.max(1.0));
        if value < 0.2 {
            return Self::Black;
        }
        if saturation < 0.15 {
            return if value > 0.85 {
                Self::White
            } else {
                Self::Grey
            };
        }
        let sixth = match most {
            m if m == r => ((g - b) / spread).rem_euclid(6.0),
            m if m == g => (b - r) / spread + 2.0,
            _ => (r - g) / spread + 4.0,
        };
        match sixth * 60.0 {
            h if !(12.0..345.0).contains(&h) => match saturation < 0.45 && value > 0.8 {
                true => Self::Pink,
                false => Self::Red,
            },
            h if h < 40.0 => match value < 0.65 {
                true => Self::Brown,
                false => Self::Orange,
            },
            h if h < 68.0 => match value < 0.5 {
                true => Self::Brown,
                false => Self::Yellow,
            },
            h if h < 165.0 => Self::Green,
            h if h < 255.0 => Self::Blue,
            h if h < 292.0 => Self::Purple,
            _ => match value < 0.55 {
                true => Self::Purple,
                false => Self::Pink,
            },
        }
    }

    /// The colour of most opaque pixels, where one has a clear majority.
    pub fn of_picture(picture: &RgbaImage) -> Option<Self> {
        let mut counts = [0usize; Self::ALL.len()];
        for [r, g, b, _] in opaque(picture) {
            counts[Self::of_rgb([r, g, b]) as usize] += 1;
        }
        let all: usize = counts.iter().sum();
        let most = Self::ALL.into_iter().max_by_key(|c| counts[*c as usize])?;
        (counts[most as usize] as f64 >= SHARE * all as f64 && all > 0).then_some(most)
    }

    /// Paints every pixel that has a hue: those of middle brightness become this colour, darker and lighter ones its
    /// shades. What is grey, black or white stays.
    pub fn paint(self, picture: &mut RgbaImage) {
        let mut lights: Vec<u32> = opaque(picture).filter(has_hue).map(light).collect();
        if lights.is_empty() {
            return;
        }
        let middle = lights.len() / 2;
        let middle = f64::from((*lights.select_nth_unstable(middle).1).max(1));
        let target = self.rgb().map(f64::from);
        for pixel in picture.pixels_mut().filter(|pixel| has_hue(&pixel.0)) {
            let ratio = f64::from(light(pixel.0)) / middle;
            for (channel, target) in pixel.0.iter_mut().zip(target) {
                let shade = match ratio <= 1.0 {
                    true => target * ratio,
                    false => target + (255.0 - target) * ((ratio - 1.0) * 0.5).min(0.8),
                };
                *channel = shade.round() as u8;
            }
        }
    }
}

/// Black wherever something can be seen, as opaque as it is.
pub(super) fn blacken(picture: &mut RgbaImage) {
    let [r, g, b] = Colour::Black.rgb();
    for pixel in picture.pixels_mut() {
        pixel.0 = [r, g, b, pixel.0[3]];
    }
}

/// Every pixel in the grey of its brightness.
pub(super) fn grey(picture: &mut RgbaImage) {
    for pixel in picture.pixels_mut() {
        let level = ((light(pixel.0) + 500) / 1000) as u8;
        pixel.0 = [level, level, level, pixel.0[3]];
    }
}

/// Whether at most one in twenty of the opaque pixels is anything but black.
pub(super) fn is_black(picture: &RgbaImage) -> bool {
    let black = |[r, g, b, _]: &[u8; 4]| Colour::of_rgb([*r, *g, *b]) == Colour::Black;
    let others = opaque(picture).filter(|pixel| !black(pixel)).count();
    20 * others <= opaque(picture).count()
}

/// Whether more than one in twenty of the opaque pixels has a hue.
pub(super) fn any_hue(picture: &RgbaImage) -> bool {
    20 * opaque(picture).filter(has_hue).count() > opaque(picture).count()
}

fn opaque(picture: &RgbaImage) -> impl Iterator<Item = [u8; 4]> + '_ {
    picture
        .pixels()
        .map(|pixel| pixel.0)
        .filter(|[.., alpha]| *alpha >= 128)
}

fn has_hue([r, g, b, _]: &[u8; 4]) -> bool {
    r.max(g).max(b) - r.min(g).min(b) >= CHROMA
}

/// Brightness by the weights of Rec. 601, times 1000.
fn light([r, g, b, _]: [u8; 4]) -> u32 {
    299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)
}

/// The mean of the opaque pixels.
pub(super) fn mean(picture: &RgbaImage) -> [f64; 3] {
    let mut sums = [0.0; 3];
    let mut count = 0.0f64;
    for pixel in opaque(picture) {
        for (sum, channel) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(channel);
        }
        count += 1.0;
    }
    sums.map(|sum| sum / count.max(1.0))
}
