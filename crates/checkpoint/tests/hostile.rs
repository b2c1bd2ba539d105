//! Every hostile file gives an error that names it and the cause, at once and without much memory.

use std::time::{Duration, Instant};

use latent_checkpoint::{Error, Source, Variant, open};
use latent_testkit::hostile::hostile_files;

/// Opens `path` and reads all there is in it.
fn read_all(path: &std::path::Path) -> Result<(), Error> {
    match open(path)? {
        Source::File(file) => {
            for info in file.tensors() {
                file.bytes(&info.name)?;
            }
        }
        Source::Folder(folder) => {
            for component in folder.components() {
                let weights = component.weights(&Variant::Auto)?;
                for info in weights.tensors() {
                    weights.bytes(&info.name)?;
                }
            }
        }
        _ => unreachable!("a source is a file or a folder"),
    }
    Ok(())
}

#[test]
fn every_hostile_file_is_an_error_that_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let all = hostile_files(dir.path());
    assert!(all.len() >= 100, "{} files", all.len());
    let mut wrong = Vec::new();
    for hostile in &all {
        let start = Instant::now();
        let result = read_all(&hostile.path);
        let took = start.elapsed();
        let text = match &result {
            Ok(()) => "it was accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        let says = text.contains(hostile.says) && text.contains(&*hostile.path.to_string_lossy());
        if result.is_ok() || !says || text.len() > 1000 || took > Duration::from_secs(2) {
            wrong.push(format!(
                "{} (wants `{}`, took {took:?}): {text}",
                hostile.name, hostile.says
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

#[cfg(target_os = "linux")]
#[test]
fn hostile_files_take_little_memory() {
    // In a process of its own, so that the peak is that of reading alone; the largest cost is a pickle that makes as
    // many values as the limits allow.
    let dir = tempfile::tempdir().unwrap();
    hostile_files(dir.path());
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg("ulimit -v 400000; exec \"$0\" --exact memory_child --ignored --test-threads 1")
        .arg(std::env::current_exe().unwrap())
        .env("LATENT_HOSTILE", dir.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Run by [`hostile_files_take_little_memory`] with 400 MB of address space.
#[test]
#[ignore = "needs the limit that hostile_files_take_little_memory sets"]
fn memory_child() {
    let dir = std::env::var_os("LATENT_HOSTILE").expect("set by the parent");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        assert!(read_all(&path).is_err(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 100);
}

#[test]
fn a_path_that_is_not_there_is_an_error_with_its_name() {
    let error = open("no/such/model.safetensors").unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
    assert!(
        error.to_string().contains("no/such/model.safetensors"),
        "{error}"
    );
}
