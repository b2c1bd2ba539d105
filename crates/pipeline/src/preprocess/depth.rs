//! Depth maps, and normals of them.

use super::field::{Field, mirrored};

/// The height of a normal over its slopes.
const HEIGHT: f32 = std::f32::consts::TAU;

/// Depth from 0, the farthest, to 1. A map of one depth is all 0.
fn shares(depth: &Field<f32>) -> Field<f32> {
    let least = depth.values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = depth.values.iter().map(|v| v - least).fold(0.0, f32::max);
    depth.map(|v| match most > 0.0 {
        true => (v - least) / most,
        false => 0.0,
    })
}

/// A depth map over the whole range of bytes: nearer is lighter.
pub fn depth(depth: &Field<f32>) -> Field<u8> {
    shares(depth).map(|v| (v * 255.0).clamp(0.0, 255.0) as u8)
}

/// The normals of a depth map as colours: height over the picture in red, the slope down in green, the slope right in blue.
/// What is farther than the share `background` of the depth is flat.
pub fn normals(depth: &Field<f32>, background: f32) -> Field<u8> {
    let (width, height) = (depth.width, depth.height);
    let at = |x: i64, y: i64| depth.at(mirrored(x, width), mirrored(y, height))[0];
    // Sobel.
    let slope = |x: i64, y: i64, dx: i64, dy: i64| {
        let side = |sign: i64| {
            let (x, y) = (x + sign * dx, y + sign * dy);
            at(x - dy, y - dx) + 2.0 * at(x, y) + at(x + dy, y + dx)
        };
        side(1) - side(-1)
    };
    let far = shares(depth).map(|share| share < background);
    let pixel = |place: usize| {
        let (x, y) = ((place % width) as i64, (place / width) as i64);
        let (right, down) = match far.values[place] {
            true => (0.0, 0.0),
            false => (slope(x, y, 1, 0), slope(x, y, 0, 1)),
        };
        let length = (right * right + down * down + HEIGHT * HEIGHT).sqrt();
        [HEIGHT, down, right].map(|part| (part / length * 127.5 + 127.5).clamp(0.0, 255.0) as u8)
    };
    Field {
        width,
        height,
        channels: 3,
        values: (0..width * height).flat_map(pixel).collect(),
    }
}
