//! OpenCV's resizes. They sample where the centres of pixels lie, do not widen their kernels when they make a picture smaller
//! (`Area` is for that), and compute bytes in fixed point.

use super::field::{Field, clamped};

/// How a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The pixel at the place, rounded down.
    Nearest,
    /// Cubic convolution with a = −0.75.
    Cubic,
    /// Windowed sinc over eight pixels.
    Lanczos4,
    /// The mean of what each pixel covers; where a side grows, between two pixels as far as the output covers them.
    Area,
}

/// The inputs of one output, by position and weight.
type Taps = Vec<(usize, f32)>;

/// Cubic convolution's weights around a position of fraction `x` behind a pixel, from the pixel before on.
fn cubic(x: f32) -> Vec<f32> {
    const A: f32 = -0.75;
    let inner = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let first = x + 1.0;
    let first = ((A * first - 5.0 * A) * first + 8.0 * A) * first - 4.0 * A;
    let (second, third) = (inner(x), inner(1.0 - x));
    vec![first, second, third, 1.0 - first - second - third]
}

/// The windowed sinc's, from the third pixel before on.
fn lanczos4(x: f32) -> Vec<f32> {
    let sinc = |x: f64| match x.abs() < 1e-6 {
        true => 1.0,
        false => (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI),
    };
    let of = |i: i64| {
        let distance = f64::from(x) - i as f64;
        sinc(distance) * sinc(distance / 4.0)
    };
    let all: Vec<f64> = (-3..=4).map(of).collect();
    let total: f64 = all.iter().sum();
    all.iter().map(|w| (w / total) as f32).collect()
}

/// What the columns and the rows of the output are made of.
fn both(filter: Filter, from: [usize; 2], to: [usize; 2]) -> [Vec<Taps>; 2] {
    let grows = from[0] < to[0] || from[1] < to[1];
    [0, 1].map(|axis| taps(filter, from[axis], to[axis], grows))
}

/// What each of `to` outputs is made of; `grows`: a side of the picture does.
fn taps(filter: Filter, from: usize, to: usize, grows: bool) -> Vec<Taps> {
    // As there: the quotient of a quotient.
    let scale = 1.0 / (to as f64 / from as f64);
    match filter {
        Filter::Nearest => {
            let at = |i: usize| (i as f64 * scale).floor() as i64;
            (0..to).map(|i| vec![(clamped(at(i), from), 1.0)]).collect()
        }
        Filter::Area if grows => (0..to)
            .map(|i| {
                let pixel = (i as f64 * scale).floor();
                let beyond = ((i + 1) as f64 - (pixel + 1.0) / scale) as f32;
                let share = if beyond <= 0.0 {
                    0.0
                } else {
                    beyond - beyond.floor()
                };
                let at = |step| clamped(pixel as i64 + step, from);
                vec![(at(0), 1.0 - share), (at(1), share)]
            })
            .collect(),
        Filter::Area => (0..to).map(|i| covered(i, scale, from)).collect(),
        Filter::Cubic => around(from, to, scale, -1, cubic),
        Filter::Lanczos4 => around(from, to, scale, -3, lanczos4),
    }
}

/// The taps of a kernel around each output's centre, the first of them so many pixels behind the one at it.
fn around(
    from: usize,
    to: usize,
    scale: f64,
    first: i64,
    weights: impl Fn(f32) -> Vec<f32>,
) -> Vec<Taps> {
    let each = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let pixel = at.floor();
        let positions = pixel as i64 + first..;
        let clamp = |(position, weight)| (clamped(position, from), weight);
        positions.zip(weights(at - pixel)).map(clamp).collect()
    };
    (0..to).map(each).collect()
}

/// The pixels that output `i` covers, and their shares of it.
fn covered(i: usize, scale: f64, from: usize) -> Taps {
    /// Less of a pixel than this is none.
    const LEAST: f64 = 1e-3;
    let start = i as f64 * scale;
    let end = start + scale;
    let width = scale.min(from as f64 - start);
    let last = (end.floor() as usize).min(from - 1);
    let first = (start.ceil() as usize).min(last);
    let mut taps = Taps::new();
    if first as f64 - start > LEAST {
        taps.push((first - 1, ((first as f64 - start) / width) as f32));
    }
    taps.extend((first..last).map(|at| (at, (1.0 / width) as f32)));
    if end - last as f64 > LEAST {
        let share = (end - last as f64).min(1.0).min(width);
        taps.push((last, (share / width) as f32));
    }
    taps
}

/// Of numbers.
pub fn resize(field: &Field<f32>, width: usize, height: usize, filter: Filter) -> Field<f32> {
    let from = [field.width, field.height];
    let [columns, rows] = both(filter, from, [width, height]);
    let add = |sum: f32, weight: f32, value: f32| sum + weight * value;
    let wide = along_rows(field, &columns, 0.0, add);
    along_columns(&wide, &rows, 0.0, add)
}

/// Of bytes.
pub fn resize_bytes(field: &Field<u8>, width: usize, height: usize, filter: Filter) -> Field<u8> {
    if (field.width, field.height) == (width, height) {
        return field.clone();
    }
    let exactly = |from: usize, to: usize| from.is_multiple_of(to).then(|| from / to);
    let whole = exactly(field.width, width).zip(exactly(field.height, height));
    match (filter, whole) {
        (Filter::Area, Some(area)) => whole_areas(field, area),
        (Filter::Nearest | Filter::Area, _) => {
            let resized = resize(&field.map(f32::from), width, height, filter);
            resized.map(|value| value.round_ties_even().clamp(0.0, 255.0) as u8)
        }
        (Filter::Cubic | Filter::Lanczos4, _) => {
            // Weights of 11 bits behind the point, the sum of both passes rounded once.
            let fixed = |taps: Vec<Taps>| -> Vec<Vec<(usize, i32)>> {
                let weight =
                    |(at, weight): (usize, f32)| (at, (weight * 2048.0).round_ties_even() as i32);
                let each = taps.into_iter();
                each.map(|taps| taps.into_iter().map(weight).collect())
                    .collect()
            };
            let from = [field.width, field.height];
            let [columns, rows] = both(filter, from, [width, height]).map(fixed);
            let add = |sum: i32, weight: i32, value: i32| sum + weight * value;
            let wide = along_rows(&field.map(i32::from), &columns, 0, add);
            let sums = along_columns(&wide, &rows, 0, add);
            sums.map(|sum| ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8)
        }
    }
}

/// The mean of whole blocks.
fn whole_areas(field: &Field<u8>, (across, down): (usize, usize)) -> Field<u8> {
    let (width, height) = (field.width / across, field.height / down);
    let area = (across * down) as f32;
    let mean = |x: usize, y: usize, channel: usize| {
        let block =
            (0..down).flat_map(|j| (0..across).map(move |i| (x * across + i, y * down + j)));
        let sum: u32 = block.map(|(x, y)| u32::from(field.at(x, y)[channel])).sum();
        match (across, down) {
            (2, 2) => ((sum + 2) >> 2) as u8,
            _ => (sum as f32 * (1.0 / area)).round_ties_even() as u8,
        }
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let values = places.flat_map(|(x, y)| (0..field.channels).map(move |c| (x, y, c)));
    Field {
        width,
        height,
        channels: field.channels,
        values: values.map(|(x, y, c)| mean(x, y, c)).collect(),
    }
}

fn along_rows<T: Copy, W: Copy>(
    field: &Field<T>,
    taps: &[Vec<(usize, W)>],
    zero: T,
    add: impl Fn(T, W, T) -> T,
) -> Field<T> {
    let mut values = Vec::with_capacity(taps.len() * field.height * field.channels);
    for y in 0..field.height {
        for taps in taps {
            values.extend((0..field.channels).map(|channel| {
                let sum =
                    |sum, (x, weight): &(usize, W)| add(sum, *weight, field.at(*x, y)[channel]);
                taps.iter().fold(zero, sum)
            }));
        }
    }
    Field {
        width: taps.len(),
        height: field.height,
        channels: field.channels,
        values,
    }
}

fn along_columns<T: Copy, W: Copy>(
    field: &Field<T>,
    taps: &[Vec<(usize, W)>],
    zero: T,
    add: impl Fn(T, W, T) -> T,
) -> Field<T> {
    let stride = field.width * field.channels;
    let row = |taps: &Vec<(usize, W)>| -> Vec<T> {
        let place = |place: usize| {
            let sum =
                |sum, (y, weight): &(usize, W)| add(sum, *weight, field.values[y * stride + place]);
            taps.iter().fold(zero, sum)
        };
        (0..stride).map(place).collect()
    };
    Field {
        width: field.width,
        height: taps.len(),
        channels: field.channels,
        values: taps.iter().flat_map(row).collect(),
    }
}
