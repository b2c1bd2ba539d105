//! What a request names: files to a command line, uploads to a service.

use latent_pipeline::request::{GivenPicture, Name};
use latent_pipeline::resources::{Disk, Memory, Resources};
use latent_pipeline::{Code, Quiet, Request, run};

use super::{Files, bits, model, request};

fn masked(image: Name, mask: Name) -> Request {
    Request {
        start: GivenPicture {
            image: Some(image),
            mask: Some(mask),
            ..GivenPicture::default()
        },
        ..request()
    }
}

#[test]
fn uploads_draw_what_files_draw() {
    let (model, files) = (model(), Files::new());
    let (picture, mask) = (files.picture(64, 64), files.mask(64, 64, 8, 40));
    let disk = Disk::default();
    let mut memory = Memory::default();
    for (name, file) in [("upload-1", &picture), ("upload-2", &mask)] {
        let bytes = disk.bytes(file).expect("a file");
        memory.files.insert(name.into(), bytes);
    }
    let draw = |request: Request, resources: &dyn Resources| {
        let drawn = run(&request, &model, resources, None, &mut Quiet).expect("a picture");
        bits(&drawn[0])
    };
    assert!(
        draw(masked(picture, mask), &disk)
            == draw(masked("upload-1".into(), "upload-2".into()), &memory)
    );
}

/// Even a request that nobody has checked opens no file.
#[test]
fn a_service_opens_no_path() {
    let (model, files) = (model(), Files::new());
    let mut memory = Memory::default();
    let picture = Disk::default().bytes(&files.picture(64, 64));
    memory
        .files
        .insert("upload".into(), picture.expect("a file"));
    for request in [
        masked("/etc/passwd".into(), "upload".into()),
        masked("upload".into(), "/etc/passwd".into()),
        masked("upload".into(), files.mask(64, 64, 8, 40)),
    ] {
        let error = run(&request, &model, &memory, None, &mut Quiet).expect_err("no such upload");
        assert_eq!(error.code(), "resource_unknown", "{error}");
    }
}
