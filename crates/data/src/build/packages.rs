//! Art that may be used: permissive sets of the npm registry.

use std::{fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;

use super::Fetcher;
use crate::{Error, compose::Art};

/// A set of drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// What it is called here.
    pub key: &'static str,
    /// How its drawings are described in captions.
    pub style: &'static str,
    /// The name in the registry.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
    /// SHA-256 of the package.
    pub sha256: &'static str,
    /// The licence of the drawings (SPDX).
    pub licence: &'static str,
    /// Whose work it is, and where it comes from.
    pub credit: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        key: "fluent-flat",
        style: "flat icon",
        name: "@iconify-json/fluent-emoji-flat",
        version: "1.2.6",
        sha256: "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        licence: "MIT",
        credit: "Fluent Emoji, Microsoft Corporation, https://github.com/microsoft/fluentui-emoji",
    },
    Package {
        key: "fluent",
        style: "glossy icon",
        name: "@iconify-json/fluent-emoji",
        version: "1.2.7",
        sha256: "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        licence: "MIT",
        credit: "Fluent Emoji, Microsoft Corporation, https://github.com/microsoft/fluentui-emoji",
    },
    Package {
        key: "noto",
        style: "cartoon",
        name: "@iconify-json/noto",
        version: "1.2.9",
        sha256: "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        licence: "Apache-2.0",
        credit: "Noto Emoji, Google Inc, https://github.com/googlefonts/noto-emoji",
    },
    Package {
        key: "noto-v1",
        style: "old cartoon",
        name: "@iconify-json/noto-v1",
        version: "1.2.5",
        sha256: "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        licence: "Apache-2.0",
        credit: "Noto Emoji (version 1), Google Inc, https://github.com/googlefonts/noto-emoji",
    },
    Package {
        key: "twemoji",
        style: "flat cartoon",
        name: "@iconify-json/twemoji",
        version: "1.2.5",
        sha256: "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        licence: "CC-BY-4.0",
        credit: "Twemoji, Twitter and contributors, https://github.com/jdecked/twemoji",
    },
    Package {
        key: "emojione",
        style: "bright cartoon",
        name: "@iconify-json/emojione",
        version: "1.2.3",
        sha256: "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        licence: "CC-BY-4.0",
        credit: "Emoji One (version 2), https://github.com/EmojiTwo/emojitwo",
    },
    Package {
        key: "streamline",
        style: "outlined cartoon",
        name: "@iconify-json/streamline-emojis",
        version: "1.2.4",
        sha256: "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
        licence: "CC-BY-4.0",
        credit: "Streamline Emojis, Streamline, https://github.com/webalys-hq/streamline-vectors",
    },
    Package {
        key: "fxemoji",
        style: "simple cartoon",
        name: "@iconify-json/fxemoji",
        version: "1.2.2",
        sha256: "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        licence: "Apache-2.0",
        credit: "FxEmojis, Mozilla, https://github.com/mozilla/fxemoji",
    },
    Package {
        key: "flat-color",
        style: "flat colour icon",
        name: "@iconify-json/flat-color-icons",
        version: "1.2.3",
        sha256: "d8878a9b0f02d749bc8671eb7d47882eb711185cbcefbb365cbfb488773c4786",
        licence: "MIT",
        credit: "Flat Color Icons, Icons8, https://github.com/icons8/flat-Color-icons",
    },
    Package {
        key: "meteocons",
        style: "weather icon",
        name: "@iconify-json/meteocons",
        version: "1.2.4",
        sha256: "1c0b49c6375c0e35c3ed65db6e41e9811a0cbd2368c13ee27f870f60c6185ff0",
        licence: "MIT",
        credit: "Meteocons, Bas Milius, https://github.com/basmilius/weather-icons",
    },
    Package {
        key: "icon-park",
        style: "line icon",
        name: "@iconify-json/icon-park",
        version: "1.2.4",
        sha256: "c1a25212a31602aca93c3fa6f6b3288e89b9d7811afc132dfd78506e9d586b6f",
        licence: "Apache-2.0",
        credit: "IconPark, ByteDance, https://github.com/bytedance/IconPark",
    },
    Package {
        key: "streamline-color",
        style: "outlined icon",
        name: "@iconify-json/streamline-ultimate-color",
        version: "1.2.2",
        sha256: "46133a11f3734bcef29066391d7edc141ed1d8056242ddfa1b5d36ce286420b6",
        licence: "CC-BY-4.0",
        credit: "Ultimate color icons, Streamline, https://streamlinehq.com",
    },
    Package {
        key: "game-icons",
        style: "silhouette",
        name: "@iconify-json/game-icons",
        version: "1.2.4",
        sha256: "f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4",
        licence: "CC-BY-3.0",
        credit: "Game Icons, Lorc, Delapouite and contributors, https://game-icons.net",
    },
];

/// The set whose pictures lie in files.
pub(super) const FLUENT_3D: Package = Package {
    key: "fluent-3d",
    style: "glossy 3d icon",
    name: "@lobehub/fluent-emoji-3d",
    version: "1.1.0",
    sha256: "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    licence: "MIT",
    credit: "Fluent Emoji, Microsoft Corporation, https://github.com/microsoft/fluentui-emoji",
};

/// What emoji are called.
pub(super) const EMOJIBASE: Package = Package {
    key: "emojibase",
    style: "",
    name: "emojibase-data",
    version: "17.0.0",
    sha256: "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    licence: "MIT",
    credit: "Emojibase, Miles Johnson, https://github.com/milesj/emojibase",
};

/// Every set that can be fetched.
pub fn packages() -> &'static [Package] {
    PACKAGES
}

/// Things that people name alike and most sets have: what scenes show unless told otherwise.
pub const EVERYDAY: &[&str] = &[
    "airplane",
    "automobile",
    "banana",
    "bear",
    "bicycle",
    "bird",
    "bus",
    "carrot",
    "cat",
    "cherries",
    "cow",
    "crab",
    "dog",
    "elephant",
    "fish",
    "frog",
    "grapes",
    "green apple",
    "hamburger",
    "key",
    "lemon",
    "lion",
    "monkey",
    "mouse",
    "mushroom",
    "octopus",
    "owl",
    "penguin",
    "pig",
    "pizza",
    "rabbit",
    "red apple",
    "rocket",
    "rooster",
    "sailboat",
    "snail",
    "strawberry",
    "tiger",
    "tractor",
    "turtle",
    "umbrella",
    "watermelon",
];

/// Reads a package, fetching it where the cache has none. `wanted` are concepts, or all where it is empty.
///
/// # Errors
/// A package that cannot be fetched or is damaged.
pub fn art(fetcher: &Fetcher, package: &Package, wanted: &[&str]) -> Result<Art, Error> {
    let file = fetcher.npm(package.name, package.version, package.sha256)?;
    let icons = member(&file, "package/icons.json")?;
    let metadata = member(&file, "package/metadata.json")?;
    let mut art = Art::iconify(package.name, package.style, &icons[..], &metadata[..])?;
    if !wanted.is_empty() {
        art.keep(wanted);
    }
    Ok(art)
}

pub(super) fn member(file: &Path, wanted: &str) -> Result<Vec<u8>, Error> {
    let mut found = None;
    members(file, &mut |name, bytes| {
        if name == wanted {
            found = Some(bytes);
        }
    })?;
    let name = file.display().to_string();
    found.ok_or_else(|| Error::damaged(&name, format!("it has no {wanted}")))
}

/// Every file of a package, by its name.
pub(super) fn members(file: &Path, each: &mut dyn FnMut(&str, Vec<u8>)) -> Result<(), Error> {
    let name = file.display().to_string();
    let failed = |e: std::io::Error| Error::damaged(&name, e);
    let opened = File::open(file).map_err(|e| Error::read(&name, e))?;
    let mut archive = tar::Archive::new(GzDecoder::new(opened));
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        each(&path, bytes);
    }
    Ok(())
}
