//! Pictures with transparency to start from.

use latent_pipeline::Request;
use latent_pipeline::picture::{Grey, Picture};
use latent_pipeline::request::{Compat, GivenPicture, Name};

use super::{Files, differ, model, one, request};

/// Blue, its upper half transparent over black.
fn half_transparent() -> [Picture; 3] {
    const SIDE: usize = 64;
    let upper = |colour: [u8; 3]| {
        let mut picture = Picture::plain(SIDE, SIDE, [30, 60, 200]);
        picture.paste(&Picture::plain(SIDE, SIDE / 2, colour), 0, 0);
        picture
    };
    let alpha = (0..SIDE * SIDE).map(|i| if i < SIDE * SIDE / 2 { 0 } else { 255 });
    let alpha = Grey::new(SIDE, SIDE, alpha.collect()).expect("a mask");
    let transparent = upper([0; 3]).with_alpha(alpha).expect("of one size");
    [transparent, upper([255; 3]), upper([0; 3])]
}

/// A1111 lays them on white; ComfyUI and diffusers drop the channel, and the hidden colours show.
#[test]
fn each_profile_flattens_as_its_program() {
    let (model, files) = (model(), Files::new());
    let [transparent, white, black] = half_transparent();
    let names = [("t.png", transparent), ("w.png", white), ("b.png", black)];
    let [transparent, white, black] = names.map(|(name, picture)| files.write(name, &picture));
    for (compat, like, unlike) in [
        (Compat::A1111, &white, &black),
        (Compat::ComfyUi, &black, &white),
        (Compat::Diffusers, &black, &white),
    ] {
        let draw = |path: &Name| {
            let request = Request {
                compat,
                start: GivenPicture {
                    image: Some(path.clone()),
                    strength: 0.5,
                    ..request().start
                },
                ..request()
            };
            one(&model, &request)
        };
        let drawn = draw(&transparent);
        assert!(!differ(&drawn, &draw(like)), "{compat}");
        assert!(differ(&drawn, &draw(unlike)), "{compat}");
    }
}
