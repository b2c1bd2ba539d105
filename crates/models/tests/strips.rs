//! A picture decoded in strips is the picture.

mod common;

use burn::tensor::{Device, Tensor};
use common::*;
use latent_models::{Autoencoder, Padding};

fn assert_same(vae: &Autoencoder, size: [usize; 2], rows: usize) {
    let z: Tensor<4> = normal("strips/latent", [2, 4, size[0], size[1]]);
    let whole = vae.decode(z.clone());
    let mut asked = 0;
    let strips = vae.decode_in_strips(z.clone(), rows, &mut || {
        asked += 1;
        true
    });
    let strips = strips.expect("a picture");
    assert!(asked > 1);
    let mut left = asked - 1;
    let stopped = vae.decode_in_strips(z, rows, &mut || {
        left -= 1;
        left > 0
    });
    assert!(stopped.is_none());
    assert_eq!(whole.dims(), strips.dims());
    let difference = (whole - strips).abs().max().into_scalar::<f32>();
    // 2/255 of a picture in −1..1 would be 0.0157.
    assert!(
        difference < 2e-4,
        "{size:?} in strips of {rows}: {difference}"
    );
}

#[test]
fn strips_of_any_height() {
    let vae = fill("vae", tiny_autoencoder().init(&Device::flex()));
    for (size, rows) in [
        ([8, 8], 8),
        ([8, 5], 3),
        ([7, 4], 1),
        ([3, 2], 64),
        ([5, 6], 0),
    ] {
        assert_same(&vae, size, rows);
    }
}

#[test]
fn edges_that_meet() {
    let vae = fill("vae", tiny_autoencoder().init(&Device::flex()));
    for padding in [Padding::CircularX, Padding::CircularY, Padding::Circular] {
        assert_same(&vae.clone().with_padding(padding), [6, 4], 2);
    }
}
