//! Pictures without networks: their pixels against other programs (`pixels`), their files and what those carry (`files`).

mod files;
mod pixels;

use latent_pipeline::picture::Picture;

const WIDTH: usize = 31;
const HEIGHT: usize = 23;

/// The picture the hashes below were drawn from.
fn input() -> Picture {
    let mut rgb = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            for c in 0..3 {
                let v = (x * 37 + y * 91 + c * 53) * (x + 3 * y + 7 * c + 1) / (1 + (x + y) % 5);
                rgb.push((v % 256) as u8);
            }
        }
    }
    Picture::new(WIDTH, HEIGHT, rgb).unwrap()
}
