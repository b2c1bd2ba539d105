//! Settings that come from files: pictures of this and other programs, prompts, requests.

mod common;

use common::{Place, TINY};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use serde_json::Value;

impl Place {
    /// A picture with that text of A1111's.
    fn with_text(&self, name: &str, text: &str) {
        let metadata = Metadata {
            parameters: Some(text.to_owned()),
            ..Metadata::default()
        };
        let picture = Picture::plain(64, 64, [90, 120, 40]);
        let path = self.path().join(name);
        picture.write(&path, 95, &metadata, true).unwrap();
    }

    /// Standard error of a line that must succeed, unwrapped.
    fn says(&self, line: &[&str]) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line:?}: {errors}");
        errors
    }

    fn request(&self, picture: &str) -> Value {
        let info: Value = serde_json::from_str(&self.ok(&["info", picture, "--json"])).unwrap();
        info["request"].clone()
    }
}

/// What a picture says is read value by value, and flags come before any of it is judged.
#[test]
fn pictures_of_others_are_read_value_by_value() {
    let place = Place::new();
    let from = |more: &[&str]| {
        let line = [
            "generate",
            "-m",
            TINY,
            "--from",
            "a.png",
            "--overwrite",
            "-o",
            "b.png",
        ];
        place.says(&[&line[..], more].concat())
    };
    place.with_text(
        "a.png",
        "cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: -1, Size: 64x48",
    );
    assert!(from(&[]).contains("Seed: -1 (random"));
    assert!(!from(&["--seed", "5"]).contains("note"));
    assert_eq!(place.request("b.png")["seed"], 5);

    place.with_text(
        "a.png",
        "cat\nSteps: 2, Sampler: Euler, Seed: 1, Size: 64x64, Denoising strength: 0.5, Hires upscale: 1.5, \
         Hires steps: 1, Hires upscaler: 4x-UltraSharp",
    );
    assert!(from(&[]).contains("4x-UltraSharp (an upscaler"));
    assert_eq!(place.request("b.png")["hires"]["upscaler"], "Lanczos");
    assert!(!from(&["--hires-upscaler", "Bicubic"]).contains("UltraSharp"));
    assert_eq!(place.request("b.png")["hires"]["upscaler"], "Bicubic");

    place.with_text(
        "a.png",
        "cat\nNegative prompt: bad\nSteps: 2, Seed: 77, Sampler: DDIM, CFG scale: 4, Size: 64x64, Parser:\nFull parser, \
         Backend: x",
    );
    let said = from(&[]);
    assert!(said.contains("steps, seed, sampler"), "{said}");
    let request = place.request("b.png");
    assert_eq!(
        (&request["seed"], &request["negative_prompt"]),
        (&77.into(), &"bad".into())
    );
}

/// A value of this program's own request that this version does not know.
#[test]
fn own_requests_are_read_field_by_field() {
    let place = Place::new();
    let metadata = Metadata {
        request: Some(
            r#"{"prompt": "a", "steps": 2, "sampler": "Euler", "seed": 9, "width": 64, "height": 64, "aura": 3, "rng": "dice",
                "hires": {"scale": 1.5, "steps": 1, "upscaler": "Dream"}}"#
                .to_owned(),
        ),
        ..Metadata::default()
    };
    let path = place.path().join("a.png");
    Picture::plain(8, 8, [0; 3])
        .write(&path, 95, &metadata, false)
        .unwrap();
    let said = place.says(&["generate", "--from", "a.png", "-m", TINY, "-o", "b.png"]);
    for word in ["aura: 3", "rng: \"dice\"", "hires.upscaler: \"Dream\""] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let request = place.request("b.png");
    assert_eq!(
        (&request["seed"], &request["hires"]["scale"]),
        (&9.into(), &1.5.into())
    );
}

#[test]
fn a_picture_of_another_model_says_so() {
    let place = Place::new();
    let settings = "Steps: 1, Sampler: Euler, Seed: 7, Size: 64x64";
    let named = format!("cat\n{settings}, Model hash: abcdef1234, Model: dreamshaper_8");
    place.with_text("a.png", &named);
    let refused = place.fails(&["generate", "--from", "a.png", "-o", "b.png"], 2);
    assert!(
        refused.contains("dreamshaper_8 (hash abcdef1234)") && refused.contains("--model"),
        "{refused}"
    );
    place.with_text("h.png", &format!("cat\n{settings}, Model hash: abcdef1234"));
    place.fails(&["generate", "--from", "h.png", "-o", "b.png"], 2);
    let said = place.says(&["generate", "--from", "a.png", "-m", TINY, "-o", "b.png"]);
    assert!(
        said.contains("drawn with dreamshaper_8") && said.contains("another picture"),
        "{said}"
    );
    // Its own picture is of its own model, by the text alone too.
    let own = Metadata::read("b", &place.bytes("b.png"))
        .unwrap()
        .parameters
        .unwrap();
    place.with_text("own.png", &own);
    let said = place.says(&["generate", "--from", "own.png", "-m", TINY, "-o", "c.png"]);
    assert!(!said.contains("another picture"), "{said}");
    assert_eq!(place.picture("c.png"), place.picture("b.png"));
    // The built-in model's picture, and one that names none, are drawn with the built-in model.
    place.with_text(
        "own.png",
        &format!("cat\n{settings}, Model: latent-default"),
    );
    place.says(&["generate", "--from", "own.png", "-o", "d.png"]);
    place.with_text("own.png", &format!("cat\n{settings}"));
    place.says(&["generate", "--from", "own.png", "-o", "e.png"]);
}

/// Editors and shells of Windows write byte order marks, and UTF-16.
#[test]
fn texts_may_begin_with_a_byte_order_mark() {
    let place = Place::new();
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).unwrap();
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xFF, 0xFE].into_iter().chain(units).collect()
    };
    write("p.txt", "\u{feff}a red apple\r\na pear\r\n".as_bytes());
    write("q.txt", &utf16("a red apple\r\na pear\r\n"));
    write("r.toml", "\u{feff}prompt = \"a red apple\"\n".as_bytes());
    write("r.json", &utf16("{\"prompt\": \"a red apple\"}"));
    let base = [
        "generate", "-m", TINY, "--size", "64", "--steps", "1", "-s", "1",
    ];
    for (source, name, drawn) in [
        (["--prompts-from", "p.txt"], "p.png", "p-00001.png"),
        (["--prompts-from", "q.txt"], "q.png", "q-00001.png"),
        (["--request", "r.toml"], "t.png", "t.png"),
        (["--request", "r.json"], "j.png", "j.png"),
    ] {
        place.ok(&[&base[..], &source, &["-o", name]].concat());
        assert_eq!(place.request(drawn)["prompt"], "a red apple");
    }
    write("b.txt", b"caf\xE9");
    let refused = place.fails(&["generate", "--prompts-from", "b.txt", "-o", "x.png"], 2);
    assert!(
        refused.contains("b.txt") && refused.contains("UTF-8"),
        "{refused}"
    );
}

/// A name that is no Unicode is a name like any other.
#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_unicode() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let place = Place::new();
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let model = name(b"m\xFF.safetensors");
    std::fs::copy(place.path().join(TINY), place.path().join(model)).unwrap();
    let out = name(b"\xFFa.png");
    let base = [
        "generate", "cat", "--size", "64", "--steps", "1", "-s", "1", "-b", "2", "--json",
    ];
    let mut command = place.command(&base);
    let output = command
        .arg("-m")
        .arg(model)
        .arg("-o")
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let first = String::from_utf8(output.stdout).unwrap();
    let event: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(event["path"][0], 255);
    let drawn = name(b"\xFFa-00001.png");
    assert!(place.path().join(drawn).exists());
    let info = place.command(&["info"]).arg(drawn).output().unwrap();
    let text = String::from_utf8(info.stdout).unwrap();
    assert!(
        info.status.success() && text.contains("repeats it"),
        "{text}"
    );
    let mut again = place.command(&["generate", "-o", "again.png", "--from"]);
    assert!(again.arg(drawn).status().unwrap().success());
    let bytes = |name: &OsStr| std::fs::read(place.path().join(name)).unwrap();
    assert_eq!(bytes(drawn), bytes(OsStr::new("again.png")));
}

/// A1111's "Automatic" takes the autoencoder that is called like the model.
#[test]
fn an_autoencoder_beside_the_model_is_a1111s() {
    let place = Place::new();
    let copy = |from: &str, to: &str| {
        std::fs::copy(place.path().join(from), place.path().join(to)).unwrap()
    };
    copy(TINY, "m.safetensors");
    // The decoder of this one is another.
    let vae = |brightness: f32| {
        let mut bytes = place.bytes("tiny/diffusers/vae/diffusion_pytorch_model.safetensors");
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let at = &header["decoder.conv_out.bias"]["data_offsets"][0];
        let start = 8 + length + at.as_u64().unwrap() as usize;
        assert_eq!(header["decoder.conv_out.bias"]["dtype"], "F16");
        for channel in 0..3 {
            let half = half_bits(brightness);
            bytes[start + 2 * channel..][..2].copy_from_slice(&half.to_le_bytes());
        }
        bytes
    };
    std::fs::write(place.path().join("other.safetensors"), vae(0.5)).unwrap();
    let draw = |name: &str, more: &[&str]| {
        let base = [
            "generate",
            "cat",
            "-m",
            "m.safetensors",
            "--size",
            "64",
            "--steps",
            "1",
            "-s",
            "1",
            "-o",
            name,
        ];
        place.says(&[&base[..], more].concat())
    };
    assert!(!draw("own.png", &[]).contains("beside"));
    draw("want.png", &["--vae", "other.safetensors"]);
    assert_ne!(place.picture("own.png"), place.picture("want.png"));
    copy("other.safetensors", "m.vae.safetensors");
    assert!(draw("a.png", &[]).contains("m.vae.safetensors beside the model"));
    assert_eq!(place.picture("a.png"), place.picture("want.png"));
    assert!(!draw("b.png", &["--vae", "none"]).contains("beside"));
    assert_eq!(place.picture("b.png"), place.picture("own.png"));
    let said = draw("c.png", &["--compat", "comfyui"]);
    assert!(
        said.contains("is not used") && said.contains("--vae"),
        "{said}"
    );
    // What was drawn without one is repeated without one.
    place.ok(&["generate", "--from", "own.png", "-o", "again.png"]);
    assert_eq!(place.picture("again.png"), place.picture("own.png"));
    place.ok(&["generate", "--from", "a.png", "-o", "again2.png"]);
    assert_eq!(place.picture("again2.png"), place.picture("want.png"));
}

/// The bits of an f16 for 0.5 and the like: powers of two only.
fn half_bits(value: f32) -> u16 {
    ((value.to_bits() >> 23) as i32 - 127 + 15).cast_unsigned() as u16 * 1024
}

#[test]
fn text_of_other_programs_is_shown() {
    let place = Place::new();
    place.draw(&["-o", "a.png", "--no-metadata"]);
    let png = place.bytes("a.png");
    let chunk = b"prompt\0{\"3\": {\"class_type\": \"KSampler\"}}";
    let mut body = b"tEXt".to_vec();
    body.extend(chunk);
    let mut with = png[..33].to_vec();
    with.extend((chunk.len() as u32).to_be_bytes());
    with.extend(&body);
    with.extend(crc32(&body).to_be_bytes());
    with.extend(&png[33..]);
    std::fs::write(place.path().join("c.png"), with).unwrap();
    let text = place.ok(&["info", "c.png"]);
    assert!(
        text.contains("ComfyUI") && text.contains("KSampler"),
        "{text}"
    );
    let info: Value = serde_json::from_str(&place.ok(&["info", "c.png", "--json"])).unwrap();
    assert_eq!(info["program"], "ComfyUI");
    assert!(
        info["others"]["prompt"]
            .as_str()
            .unwrap()
            .contains("KSampler")
    );
    let refused = place.fails(&["generate", "--from", "c.png", "-o", "x.png"], 2);
    assert!(refused.contains("text of ComfyUI"), "{refused}");
}

/// The check sum of PNG.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc))
    })
}
