//! Embeddings inside of pictures.

use latent_pipeline::embeddings::in_picture;
use latent_testkit::{Golden, recipe};

use super::common::{scheduler, tiny};
use super::drawing::encode_with;
use super::{PROMPT, drawn_by, folder, near, numbers, published, states};

/// A1111's shared pictures: base64 in a text, and low halves of bytes beside the picture.
#[test]
fn pictures_hold_embeddings() {
    let values = recipe::tensor("inversion/zeta.3", &[3, 48], 0);
    let rows: Vec<&[f32]> = values.chunks(48).collect();
    let json = serde_json::json!({
        "string_to_token": {"*": 265}, "name": "zeta", "step": 500, "sd_checkpoint": "abcdef12",
        "sd_checkpoint_name": null, "string_to_param": {"*": {"TORCHTENSOR": rows}},
    });
    let json = json.to_string();
    let text = png(
        8,
        8,
        &[200; 192],
        Some(("sd-ti-embedding", &base64(json.as_bytes()))),
    );
    let hidden = hidden(json.as_bytes());
    let model = tiny(4, scheduler());
    for (what, bytes) in [("text", &text), ("hidden", &hidden)] {
        let found = in_picture("a.png", bytes).expect(what).expect(what);
        assert_eq!(found.about.steps, Some(500), "{what}");
        assert_eq!(found.about.checkpoint_hash.as_deref(), Some("abcdef12"));
        let (_folder, there) = folder(&[
            ("shared.png", bytes),
            ("zeta.preview.png", bytes),
            ("plain.png", &png(8, 8, &[0; 192], None)),
        ]);
        assert_eq!(there.entries().len(), 1, "{what}: {:?}", there.entries());
        let prompts = encode_with(&model, &drawn_by(PROMPT, "blurry"), &there);
        let got = numbers(states(&prompts).narrow(1, 0, 24));
        near(
            &got,
            Golden::adapters_inversion().values("3_in_prompt/text"),
            what,
        );
    }
    let damaged = png(8, 8, &[200; 192], Some(("sd-ti-embedding", "e30=")));
    let error = in_picture("a.png", &damaged).expect_err("no vectors");
    assert!(error.contains("string_to_param"), "{error}");
    // Beside a file of vectors, a picture only shows what they draw.
    let (_folder, there) = folder(&[("zeta.pt", published("zeta.pt")), ("zeta.png", &text)]);
    assert_eq!(there.entries().len(), 1);
    assert!(there.entries()[0].file.ends_with(".pt"));
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn png(width: usize, height: usize, rgb: &[u8], text: Option<(&str, &str)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    if let Some((key, text)) = text {
        encoder
            .add_text_chunk(key.to_owned(), text.to_owned())
            .expect("a text");
    }
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(rgb).expect("pixels");
    writer.finish().expect("a picture");
    bytes
}

/// A picture between two black columns, with packed JSON in halves of bytes at both sides.
fn hidden(json: &[u8]) -> Vec<u8> {
    use std::io::Write;
    const HEIGHT: usize = 40;
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(json).expect("memory");
    let mut packed = packed.finish().expect("memory");
    let columns = packed.len().div_ceil(3 * HEIGHT) + 1;
    packed.resize(columns * HEIGHT * 3, 7);
    // As published: the first numbers of the generator are 253, 242, 127, 44.
    let masks = std::iter::successors(Some(1_013_904_223u32), |state| {
        Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    });
    let masks: Vec<u8> = masks
        .map(|state| (state % 255) as u8)
        .take(packed.len())
        .collect();
    assert_eq!(masks[..4], [253, 242, 127, 44]);
    // The upper halves are for the eye.
    let block = |half: fn(u8) -> u8| -> Vec<u8> {
        let values = packed.iter().zip(&masks);
        values
            .map(|(byte, mask)| 0x50 | (half(*byte) ^ (mask & 0x0F)))
            .collect()
    };
    let (low, high) = (block(|byte| byte & 0x0F), block(|byte| byte >> 4));
    let mut rgb = Vec::new();
    for y in 0..HEIGHT {
        let row = 3 * columns * y..3 * columns * (y + 1);
        rgb.extend_from_slice(&low[row.clone()]);
        rgb.extend_from_slice(&[0; 3]);
        rgb.extend_from_slice(&[0x77; 30]);
        rgb.extend_from_slice(&[0; 3]);
        rgb.extend_from_slice(&high[row]);
    }
    png(2 * columns + 12, HEIGHT, &rgb, None)
}
