//! The order of batches, exact resumption, sharing, broken files, crops and buckets.

mod common;

use std::collections::BTreeSet;

use common::{config, gradient, grey_png, png, put, source, squares};
use image::{GrayImage, Luma};
use latent_data::{
    Batch, DataConfig, Error, Example, Loader, LoaderOptions, Partial, Share, config::Size,
};

fn loader(config: &DataConfig, options: LoaderOptions) -> Loader {
    Loader::new(source(config), config.fit().unwrap(), options).unwrap()
}

fn marks(batch: &Batch) -> Vec<u8> {
    batch
        .examples
        .iter()
        .map(|e| e.picture.get_pixel(0, 0).0[2])
        .collect()
}

fn random(dir: &std::path::Path, size: u32) -> DataConfig {
    let mut config = config(dir);
    config.size = Some(Size::Square(size));
    config.crop = latent_data::Crop::Random;
    config.flip = 0.5;
    config
}

#[test]
fn an_epoch_has_every_picture_and_the_next_another_order() {
    let dir = tempfile::tempdir().unwrap();
    squares(dir.path(), 11, 8);
    let loader = loader(&random(dir.path(), 8), LoaderOptions::new(3, 4));
    assert_eq!(loader.batches_per_epoch(), 3);
    let batches: Vec<_> = loader.at(0).take(6).map(Result::unwrap).collect();
    assert!(batches.iter().all(|b| b.examples.len() == 4));
    let epoch = |e: usize| {
        batches[3 * e..3 * e + 3]
            .iter()
            .flat_map(marks)
            .collect::<Vec<_>>()
    };
    let seen = |e| epoch(e).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(seen(0), (0..11).collect());
    assert_eq!(seen(1), (0..11).collect());
    assert_ne!(epoch(0), epoch(1));
    let numbers = batches
        .iter()
        .flat_map(|b| b.examples.iter().map(|e| e.number));
    assert!(numbers.eq(0..24));
    assert_eq!(
        (batches[2].epoch, batches[3].epoch, batches[5].position),
        (0, 1, 5)
    );
}

#[test]
fn a_run_continues_exactly_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    squares(dir.path(), 13, 24);
    let config = random(dir.path(), 16);
    let run = |threads, from: u64, count| {
        let mut options = LoaderOptions::new(7, 3);
        options.threads = threads;
        options.ahead = 1;
        let loader = loader(&config, options);
        let mut batches = loader.at(from);
        let taken: Vec<_> = batches.by_ref().take(count).map(Result::unwrap).collect();
        assert_eq!(batches.position(), from + count as u64);
        assert_eq!(loader.batch(from).unwrap(), taken[0]);
        taken
    };
    let whole = run(1, 0, 12);
    assert_eq!(whole, run(5, 0, 12));
    assert_eq!(whole[4..], run(2, 4, 8));
    let flips: BTreeSet<bool> = whole
        .iter()
        .flat_map(|b| b.examples.iter().map(|e| e.flipped))
        .collect();
    assert_eq!(flips.len(), 2, "both ways round occur");
}

#[test]
fn processes_share_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    squares(dir.path(), 10, 8);
    let config = random(dir.path(), 8);
    for partial in [Partial::Fill, Partial::Keep] {
        let run = |share| {
            let mut options = LoaderOptions::new(1, 4);
            options.partial = partial;
            options.share = share;
            loader(&config, options)
                .at(0)
                .take(6)
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        let alone = run(Share::default());
        let [first, second] = [0, 1].map(|rank| run(Share { rank, of: 2 }));
        for ((all, a), b) in alone.iter().zip(&first).zip(&second) {
            let joined: Vec<Example> = a.examples.iter().chain(&b.examples).cloned().collect();
            assert_eq!(all.examples, joined);
        }
        let sizes: BTreeSet<usize> = alone.iter().map(|b| b.examples.len()).collect();
        let expected: &[usize] = if partial == Partial::Fill {
            &[4]
        } else {
            &[2, 4]
        };
        assert!(sizes.iter().eq(expected), "{sizes:?}");
    }
    let mut odd = LoaderOptions::new(1, 3);
    odd.share = Share { rank: 0, of: 2 };
    assert!(matches!(
        Loader::new(source(&config), config.fit().unwrap(), odd),
        Err(Error::Setting { name: "batch", .. })
    ));
}

/// A PNG whose header promises a size that no memory holds.
fn huge_png() -> Vec<u8> {
    let mut bytes = png(&gradient(4, 4, 0));
    bytes[16..24].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]);
    bytes
}

#[test]
fn broken_files_are_replaced_counted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    squares(root, 6, 8);
    let good = png(&gradient(8, 8, 0));
    put(root, "x-cut.png", &good[..good.len() / 2]);
    put(root, "x-empty.png", []);
    put(root, "x-huge.png", huge_png());
    put(root, "x-text.jpg", "this is text");
    let jpeg = common::jpeg(&gradient(64, 64, 0));
    put(root, "x-half.jpg", &jpeg[..jpeg.len() * 2 / 3]);
    // A picture is what its bytes say, whatever its name.
    put(root, "y-named.jpg", png(&gradient(8, 8, 6)));
    let config = random(root, 8);
    let run = || {
        let loader = loader(&config, LoaderOptions::new(5, 4));
        let batches: Vec<_> = loader.at(0).take(6).map(Result::unwrap).collect();
        let skipped: Vec<String> = loader.skipped().into_iter().map(|(id, _)| id).collect();
        (batches, skipped)
    };
    let (batches, skipped) = run();
    assert!(batches.iter().all(|b| b.examples.len() == 4));
    let seen: BTreeSet<u8> = batches[..3].iter().flat_map(marks).collect();
    assert_eq!(seen, (0..7).collect());
    assert_eq!(
        skipped,
        [
            "x-cut.png",
            "x-empty.png",
            "x-half.jpg",
            "x-huge.png",
            "x-text.jpg"
        ]
    );
    assert_eq!(
        batches,
        run().0,
        "what stands in for a broken file is fixed too"
    );

    let none = tempfile::tempdir().unwrap();
    put(none.path(), "a.png", "no");
    let loader = loader(&random(none.path(), 8), LoaderOptions::new(5, 2));
    assert!(matches!(
        loader.at(0).next(),
        Some(Err(Error::AllBroken { count: 1, .. }))
    ));
}

#[test]
fn crops_are_recorded_and_everything_moves_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    // Already as high as the example, so that nothing is resampled and every pixel tells its place.
    put(root, "a.png", png(&gradient(40, 16, 1)));
    put(
        root,
        "masks/a.png",
        grey_png(&GrayImage::from_fn(40, 16, |x, _| Luma([x as u8]))),
    );
    put(root, "low/a.png", png(&gradient(20, 8, 1)));
    put(
        root,
        "boxes/a.json",
        r#"[{"class": 4, "box": [0.0, 0.0, 1.0, 0.5]}, {"class": 5, "box": [0.0, 0.0, 0.01, 1.0]}]"#,
    );
    let mut config = random(root, 16);
    config.pairs = latent_data::config::Pairs {
        masks: Some("masks".into()),
        boxes: Some("boxes".into()),
        low: Some("low".into()),
    };
    let loader = loader(&config, LoaderOptions::new(2, 1));
    let mut places = BTreeSet::new();
    for batch in loader.at(0).take(40) {
        let example = batch.unwrap().examples.remove(0);
        let [top, left] = example.crop;
        assert_eq!((example.original, top, left % 2), ([16, 40], 0, 0));
        places.insert(left);
        let column = |x: u32| if example.flipped { 15 - x } else { x };
        for x in 0..16 {
            let expected = left + column(x);
            assert_eq!(u32::from(example.picture.get_pixel(x, 3).0[0]), expected);
            assert_eq!(
                u32::from(example.mask.as_ref().unwrap().get_pixel(x, 3).0[0]),
                expected
            );
        }
        let low = example.low.unwrap();
        let edge = if example.flipped { 7 } else { 0 };
        assert_eq!(
            (low.dimensions(), u32::from(low.get_pixel(edge, 0).0[0])),
            ((8, 8), left / 2)
        );
        assert_eq!(example.boxes[0].area, [0.0, 0.0, 1.0, 0.5]);
        // The thin box at the left edge is only there while the crop shows it.
        assert_eq!(example.boxes.len() == 2, left == 0);
    }
    assert!(
        places.len() > 6 && places.contains(&0) && places.contains(&24),
        "{places:?}"
    );

    config.crop = latent_data::Crop::Centre;
    let centred = Loader::new(
        source(&config),
        config.fit().unwrap(),
        LoaderOptions::new(2, 1),
    );
    assert_eq!(centred.unwrap().batch(9).unwrap().examples[0].crop, [0, 12]);
}

#[test]
fn resizing_keeps_the_shape_and_averages() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    // A chessboard of single pixels has the mean 127.5 everywhere.
    let board = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([255 * ((x + y) % 2) as u8; 3]));
    put(root, "a.png", png(&board));
    put(root, "thin.png", png(&gradient(1, 9000, 0)));
    let mut config = config(root);
    config.size = Some(Size::Sides([16, 16]));
    let loader = loader(
        &config,
        LoaderOptions {
            shuffle: false,
            ..LoaderOptions::new(0, 1)
        },
    );
    let example = loader.batch(0).unwrap().examples.remove(0);
    assert_eq!(
        (example.picture.dimensions(), example.crop),
        ((16, 16), [0, 4])
    );
    let middle = example.picture.get_pixel(8, 8).0[0];
    assert!((126..=129).contains(&middle), "{middle}");
    let thin = loader.batch(1).unwrap().examples.remove(0);
    assert_eq!(
        (thin.picture.dimensions(), thin.crop),
        ((16, 16), [71992, 0])
    );
}

#[test]
fn buckets_hold_one_shape_each() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for i in 0..9u8 {
        let (w, h) = [(64, 64), (128, 32), (40, 80)][usize::from(i) % 3];
        put(root, &format!("{i}.png"), png(&gradient(w, h, i)));
    }
    put(root, "broken.png", "x");
    let mut config = config(root);
    config.size = Some(Size::Square(64));
    config.buckets = Some(latent_data::config::Buckets {
        step: 16,
        ratio: 4.0,
    });
    let fit = config.fit().unwrap();
    assert!(fit.shapes.contains(&[64, 64]) && fit.shapes.contains(&[32, 128]));
    assert!(
        fit.shapes
            .iter()
            .all(|[h, w]| h * w <= 64 * 64 && h % 16 == 0 && w % 16 == 0)
    );
    let loader = loader(&config, LoaderOptions::new(0, 2));
    assert_eq!(loader.batches_per_epoch(), 6);
    assert_eq!(loader.skipped()[0].0, "broken.png");
    let batches: Vec<_> = loader.at(0).take(6).map(Result::unwrap).collect();
    let seen: BTreeSet<usize> = batches
        .iter()
        .flat_map(|b| b.examples.iter().map(|e| e.index))
        .collect();
    assert_eq!(seen.len(), 9);
    for batch in &batches {
        let shapes: BTreeSet<_> = batch
            .examples
            .iter()
            .map(|e| e.picture.dimensions())
            .collect();
        assert_eq!(shapes.len(), 1);
    }
    let shapes: BTreeSet<_> = batches
        .iter()
        .map(|b| b.examples[0].picture.dimensions())
        .collect();
    assert!(
        shapes.contains(&(64, 64)) && shapes.contains(&(128, 32)),
        "{shapes:?}"
    );
}

#[test]
fn broken_pictures_may_leave_their_place_empty() {
    let dir = tempfile::tempdir().unwrap();
    squares(dir.path(), 5, 8);
    put(dir.path(), "001.png", "");
    put(dir.path(), "004.png", "no");
    let mut config = config(dir.path());
    config.size = Some(Size::Square(8));
    let options = LoaderOptions {
        shuffle: false,
        partial: Partial::Keep,
        replace: false,
        ..LoaderOptions::new(0, 2)
    };
    let loader = loader(&config, options);
    let batches: Vec<_> = (0..3).map(|i| marks(&loader.batch(i).unwrap())).collect();
    assert_eq!(batches, [vec![0], vec![2, 3], vec![]]);
    let read: Vec<_> = loader.at(0).take(3).map(|b| marks(&b.unwrap())).collect();
    assert_eq!(read, batches);
    assert_eq!(loader.skipped().len(), 2);
}

#[test]
fn the_middle_is_the_one_crop_that_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "wide.png", png(&gradient(64, 16, 1)));
    put(dir.path(), "square.png", png(&gradient(32, 32, 2)));
    let config = random(dir.path(), 16);
    let crops = |config: &DataConfig| -> Vec<(u8, bool, [u32; 2])> {
        let loader = loader(config, LoaderOptions::new(7, 1));
        let examples = loader.at(0).take(40).map(|b| b.unwrap().examples.remove(0));
        examples
            .map(|e| (e.picture.get_pixel(0, 0).0[2], e.is_centred(), e.crop))
            .collect()
    };
    for (mark, centred, crop) in crops(&config) {
        assert_eq!(centred, mark == 2 || crop == [0, 24], "{mark} {crop:?}");
    }
    let middle = DataConfig {
        crop: latent_data::Crop::Centre,
        ..config.clone()
    };
    assert!(crops(&middle).iter().all(|(_, centred, _)| *centred));
}
