//! Vectors inside pictures, as A1111 shares them: in a text beside the pixels, or hidden in columns at both sides.

use std::io::Read;

use base64::Engine;
use flate2::read::ZlibDecoder;
use latent_checkpoint::Inversion;
use latent_checkpoint::inversion::{About, Learnt, Vectors};
use serde_json::Value;

use crate::picture::Picture;
use crate::picture::metadata::Metadata;

/// The key of the text: base64 of JSON.
pub const KEY: &str = "sd-ti-embedding";
/// How a tensor stands in the JSON.
const TENSOR: &str = "TORCHTENSOR";
/// Unpacked JSON of hidden vectors is no longer.
const MAX_HIDDEN: u64 = 64 << 20;

/// The vectors in the picture file `bytes`, which messages call `name`; `None` where it holds none.
///
/// # Errors
/// A sentence: a picture that says it holds some, and what is wrong with them.
pub fn in_picture(name: &str, bytes: &[u8]) -> Result<Option<Inversion>, String> {
    let metadata = Metadata::read(name, bytes).map_err(|e| e.to_string())?;
    let text = metadata.others.iter().find(|(key, _)| key == KEY);
    if let Some((_, text)) = text {
        let engine = base64::engine::general_purpose::STANDARD;
        let json = engine
            .decode(text.trim())
            .map_err(|e| format!("its text `{KEY}` is damaged: {e}"))?;
        let json = serde_json::from_slice(&json)
            .map_err(|e| format!("its text `{KEY}` is damaged: {e}"))?;
        return of_json(&json).map(Some);
    }
    let picture = Picture::decode(name, bytes).map_err(|e| e.to_string())?;
    // Any picture may have black columns: what does not unpack was never put there.
    let Some(json) = hidden(&picture) else {
        return Ok(None);
    };
    of_json(&json).map(Some)
}

/// What is hidden in the low halves of the bytes left of the first black column and right of the last one: the low halves of
/// packed JSON at the left, the high halves at the right.
fn hidden(picture: &Picture) -> Option<Value> {
    let size = picture.size();
    let pixel = |x: usize, y: usize| picture.pixel(x, y);
    // A border of pixels that have a black channel is no part of it.
    let shines = |x, y| pixel(x, y).iter().all(|value| *value > 0);
    let column_shines = |x: &usize| (0..size.height).any(|y| shines(*x, y));
    let row_shines = |y: &usize| (0..size.width).any(|x| shines(x, *y));
    let left = (0..size.width).find(column_shines)?;
    let right = (0..size.width).rev().find(column_shines)?;
    let top = (0..size.height).find(row_shines)?;
    let bottom = (0..size.height).rev().find(row_shines)?;
    let empty = |x: &usize| (top..=bottom).all(|y| pixel(*x, y).iter().all(|v| v & 0x0F == 0));
    let first = (left..=right).find(empty)?;
    let last = (left..=right).rev().find(empty)?;
    if first == last {
        return None;
    }
    let block = |columns: std::ops::Range<usize>| -> Vec<u8> {
        let rows = (top..=bottom).flat_map(|y| columns.clone().map(move |x| (x, y)));
        let values = rows.flat_map(|(x, y)| pixel(x, y));
        values
            .zip(mask())
            .map(|(value, mask)| (value ^ mask) & 0x0F)
            .collect()
    };
    let (low, high) = (block(left..first), block(last + 1..right + 1));
    if low.is_empty() || low.len() != high.len() {
        return None;
    }
    let packed: Vec<u8> = low
        .iter()
        .zip(&high)
        .map(|(low, high)| high << 4 | low)
        .collect();
    let mut json = Vec::new();
    let mut reader = ZlibDecoder::new(&packed[..]).take(MAX_HIDDEN);
    reader.read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// A linear congruential generator: what the hidden halves are combined with.
fn mask() -> impl Iterator<Item = u8> {
    let step = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let states = std::iter::successors(step(&0), step);
    states.map(|state| (state % 255) as u8)
}

/// A1111's dictionary of an embedding as JSON.
fn of_json(json: &Value) -> Result<Inversion, String> {
    let tensors = json.get("string_to_param").and_then(Value::as_object);
    let mut tensors = tensors.into_iter().flatten();
    let (Some((_, tensor)), None) = (tensors.next(), tensors.next()) else {
        return Err(
            "its embedding is not one pair of a token and vectors (`string_to_param`)".to_owned(),
        );
    };
    let rows = tensor.get(TENSOR).unwrap_or(tensor).as_array();
    let rows = rows.ok_or("the vectors of its embedding are no list")?;
    // One vector may stand by itself.
    let rows: Vec<&[Value]> = match rows.iter().all(Value::is_number) {
        true => vec![rows],
        false => {
            let each = rows.iter().map(|row| row.as_array().map(Vec::as_slice));
            each.collect::<Option<_>>()
                .ok_or("the vectors of its embedding are no lists of numbers")?
        }
    };
    let width = rows.first().map_or(0, |row| row.len());
    if rows.iter().any(|row| row.len() != width) {
        return Err("the vectors of its embedding differ in width".to_owned());
    }
    let values = rows.iter().flat_map(|row| row.iter());
    let values: Option<Vec<f32>> = values.map(|v| v.as_f64().map(|v| v as f32)).collect();
    let values = values.ok_or("the vectors of its embedding are no lists of numbers")?;
    let text = |key: &str| {
        let text = json.get(key).and_then(Value::as_str).map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Ok(Inversion {
        learnt: Learnt::One(Vectors::new(width, values)?),
        about: About {
            name: text("name"),
            token: None,
            steps: json.get("step").and_then(Value::as_u64),
            checkpoint: text("sd_checkpoint_name"),
            checkpoint_hash: text("sd_checkpoint"),
        },
    })
}
