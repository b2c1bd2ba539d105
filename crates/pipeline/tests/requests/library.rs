//! Models by name and by hash.

use std::path::PathBuf;

use latent_checkpoint::file::hash::sha256;
use latent_pipeline::library::{About, Library};
use latent_pipeline::resources::ResourceError;

/// Files of these names below a folder, each with its name as its bytes.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in names {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, name).expect("a file");
    }
    folder
}

fn library(folder: &tempfile::TempDir, cache: Option<PathBuf>) -> Library {
    Library::open(&[folder.path().to_owned()], cache).expect("a library")
}

fn names(library: &Library) -> Vec<String> {
    let entries = library.entries().iter();
    entries.map(|entry| entry.name.to_string()).collect()
}

fn found(library: &Library, name: &str) -> String {
    match library.find(&name.into()) {
        Ok(entry) => entry.name.to_string(),
        Err(e) => e.to_string(),
    }
}

const FILES: [&str; 8] = [
    "dream_8.safetensors",
    "old/v1.5.ckpt",
    "old/Photo.safetensors",
    "new/photo.safetensors",
    "dream_8.vae.pt",
    "notes.txt",
    "xl/model_index.json",
    "xl/unet/diffusion_pytorch_model.safetensors",
];

#[test]
fn models_are_found_by_name() {
    let folder = folder(&FILES);
    let library = library(&folder, None);
    assert_eq!(
        names(&library),
        [
            "dream_8.safetensors",
            "dream_8.vae.pt",
            "new/photo.safetensors",
            "old/Photo.safetensors",
            "old/v1.5.ckpt",
            "xl",
        ]
    );
    for (name, file) in [
        ("dream_8.safetensors", "dream_8.safetensors"),
        ("dream_8", "dream_8.safetensors"),
        ("DREAM_8", "dream_8.safetensors"),
        ("dream_8.vae.pt", "dream_8.vae.pt"),
        ("v1.5", "old/v1.5.ckpt"),
        ("old/v1.5", "old/v1.5.ckpt"),
        ("Photo", "old/Photo.safetensors"),
        ("new/photo", "new/photo.safetensors"),
        ("xl", "xl"),
    ] {
        assert_eq!(found(&library, name), file, "{name}");
    }
    let nearest = found(&library, "dreem_8");
    assert!(nearest.contains("did you mean dream_8"), "{nearest}");
    let both = found(&library, "PHOTO");
    assert!(
        both.contains("new/photo.safetensors, old/Photo.safetensors"),
        "{both}"
    );
    let xl = library.find(&"xl".into()).expect("a folder");
    assert_eq!(xl.size, FILES[7].len() as u64);
    assert_eq!(library.hash(xl, &mut |_, _| {}).expect("no hash"), None);
}

/// A name is compared with names, and never joined to a folder.
#[test]
fn names_are_no_paths() {
    let folder = folder(&FILES);
    let library = library(&folder, None);
    let outside = tempfile::NamedTempFile::with_suffix(".safetensors").expect("a file");
    let outside = outside.path().to_str().expect("a path").to_owned();
    let inside = folder.path().join("dream_8.safetensors");
    for name in [
        "/etc/passwd",
        "../dream_8.safetensors",
        "old/../dream_8.safetensors",
        "./notes.txt",
        "notes.txt",
        "",
        "/",
        &outside,
        inside.to_str().expect("a path"),
    ] {
        let error = library.find(&name.into()).expect_err(name);
        assert!(matches!(error, ResourceError::Model { .. }), "{name}");
    }
}

#[test]
fn models_are_found_by_hash() {
    let folder = folder(&FILES);
    let cache = tempfile::tempdir().expect("a folder");
    let file = cache.path().join("deep/hashes.json");
    let library = library(&folder, Some(file.clone()));
    // SHA-256 of the name.
    let hash = sha256(&folder.path().join(FILES[0]), &mut |_, _| {}).expect("a hash");
    let unknown = found(&library, &hash[..10]);
    assert!(
        unknown.contains("5 models") && unknown.contains("--hash"),
        "{unknown}"
    );
    let dream = library.find(&"dream_8".into()).expect("a model");
    let mut read = 0;
    let computed = library.hash(dream, &mut |done, _| read = done);
    assert_eq!(computed.expect("a hash"), Some(hash.clone()));
    assert_eq!(read, FILES[0].len() as u64);
    for name in [
        &hash[..10],
        &hash.to_uppercase(),
        &format!("dream_8.safetensors [{}]", &hash[..10]),
    ] {
        assert_eq!(found(&library, name), FILES[0], "{name}");
    }
    let other = found(&library, "dream_8.safetensors [0123456789]");
    assert!(other.contains("does not exist"), "{other}");

    // Another process knows it too, until the file changes.
    let again = Library::open(&[folder.path().to_owned()], Some(file.clone())).expect("a library");
    let dream = again.find(&"dream_8".into()).expect("a model");
    assert_eq!(again.known(dream), Some(hash.clone()));
    let photo = again.find(&"new/photo".into()).expect("a model");
    again.hash(photo, &mut |_, _| {}).expect("a hash");
    std::fs::write(folder.path().join(FILES[0]), "another").expect("a file");
    let changed =
        Library::open(&[folder.path().to_owned()], Some(file.clone())).expect("a library");
    let dream = changed.find(&"dream_8".into()).expect("a model");
    assert_eq!(changed.known(dream), None);
    let photo = changed.find(&"new/photo".into()).expect("a model");
    assert!(changed.known(photo).is_some());
    // A cache that is damaged is no obstacle.
    std::fs::write(&file, "{").expect("a file");
    let damaged = Library::open(&[folder.path().to_owned()], Some(file)).expect("a library");
    let photo = damaged.find(&"new/photo".into()).expect("a model");
    assert_eq!(damaged.known(photo), None);
    assert!(
        damaged
            .hash(photo, &mut |_, _| {})
            .expect("a hash")
            .is_some()
    );
}

#[test]
fn pictures_name_their_model() {
    let folder = folder(&["old/my, model: 2.safetensors", "b.safetensors"]);
    let library = library(&folder, None);
    let drawn = |name, hash| {
        let entry = library.find_drawn(name, hash);
        entry.map(|entry| entry.name.to_string())
    };
    let first = Some("old/my, model: 2.safetensors".to_owned());
    assert_eq!(drawn(Some("my model 2"), None), first);
    assert_eq!(drawn(Some("my model 2"), Some("0123456789")), first);
    assert_eq!(drawn(Some("c"), None), None);
    let entry = library.find(&"b".into()).expect("a model");
    let hash = library
        .hash(entry, &mut |_, _| {})
        .expect("a hash")
        .expect("of a file");
    let second = Some("b.safetensors".to_owned());
    assert_eq!(drawn(Some("renamed"), Some(&hash[..10])), second);
    assert_eq!(drawn(None, Some(&hash[..10])), second);
    // One of the name and of another hash is another; one of the hash that was written before 2023 may be it.
    assert_eq!(drawn(Some("b"), Some("0123456789")), None);
    assert_eq!(drawn(Some("b"), Some("01234567")), second);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Library::open(&["/no/such/folder".into()], None).expect_err("no folder");
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    let folder = folder(&FILES);
    let library = library(&folder, None);
    let about = library.about(&library.entries()[0]);
    assert!(matches!(about, About::Unusable(_)), "{about:?}");
}
