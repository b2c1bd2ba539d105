use std::{io::Cursor, path::Path};

use image::{DynamicImage, ImageFormat};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{Building, Package, write_error};
use crate::{
    Error,
    compose::{Composer, Scene},
    json::{BoxEntry, Class},
};

/// Whose drawings a set is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Shapes of this program, under its own licence.
    Own,
    /// A package.
    Package(Package),
    /// What these words say.
    Credit(String),
    /// A folder of the user's.
    Folder(String),
}

/// Scenes composed at once: enough for every core, few enough for memory.
const CHUNK: u64 = 256;

/// Writes scenes `first..first + count` as a data set: pictures, masks, `metadata.jsonl` with captions, boxes and the
/// facts that captions were made of, `classes.txt`, `NOTICE.txt`. `progress` gets how many are done.
///
/// # Errors
/// Scenes that cannot be composed, a folder that exists or cannot be written.
pub fn scenes(
    composer: &Composer,
    numbers: std::ops::Range<u64>,
    notices: &[Notice],
    target: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let building = Building::new(target)?;
    building.folder("pictures")?;
    building.folder("masks")?;
    let mut table = String::new();
    for first in numbers.clone().step_by(CHUNK as usize) {
        let chunk = first..(first + CHUNK).min(numbers.end);
        let rows: Vec<Value> = chunk
            .into_par_iter()
            .map(|number| {
                let scene = composer.scene(number)?;
                let (picture, mask) = (
                    format!("pictures/{number:06}.png"),
                    format!("masks/{number:06}.png"),
                );
                let row = row(&scene, &picture, Some(&mask));
                building.put(&picture, png(target, scene.picture)?)?;
                building.put(&mask, png(target, scene.mask)?)?;
                Ok(row)
            })
            .collect::<Result<_, Error>>()?;
        for row in &rows {
            table += &format!("{row}\n");
        }
        progress(first + rows.len() as u64 - numbers.start);
    }
    building.put("metadata.jsonl", table)?;
    building.put("classes.txt", composer.classes().join("\n") + "\n")?;
    building.put("NOTICE.txt", notice(notices))?;
    building.finish()
}

/// A line of `metadata.jsonl`.
pub(super) fn row(scene: &Scene, picture: &str, mask: Option<&str>) -> Value {
    let boxes: Vec<BoxEntry> = scene
        .objects
        .iter()
        .map(|object| BoxEntry {
            class: Class::Id(object.area.class),
            r#box: object.area.area,
        })
        .collect();
    let mut row = json!({
        "file_name": picture,
        "text": scene.caption,
        "boxes": boxes,
        "groups": scene.groups,
        "relation": scene.relation,
        "background": scene.background,
    });
    if let Some(mask) = mask {
        row["mask"] = mask.into();
    }
    // What a scene of one kind of thing shows is also its class.
    if let [group] = scene.groups.as_slice() {
        row["class"] = group.class.into();
    }
    row
}

pub(super) fn png(target: &Path, picture: impl Into<DynamicImage>) -> Result<Vec<u8>, Error> {
    let mut bytes = Cursor::new(Vec::new());
    let picture: DynamicImage = picture.into();
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| write_error(target, e))?;
    Ok(bytes.into_inner())
}

pub(super) fn notice(notices: &[Notice]) -> String {
    let mut text =
        "The pictures of this folder are composed of drawings by others and by this program:\n"
            .to_owned();
    for notice in notices {
        text += &match notice {
            Notice::Own => "\n- Simple shapes of latent, MIT OR Apache-2.0.\n".to_owned(),
            Notice::Credit(text) => format!("\n- {text}.\n"),
            Notice::Folder(path) => {
                format!("\n- Pictures of {path}: their licence is for you to know.\n")
            }
            Notice::Package(package) => format!(
                "\n- {}\n  Licence: {}. Package {} {}; drawings resized, some mirrored and recoloured.\n",
                package.credit, package.licence, package.name, package.version
            ),
        };
    }
    text
}
