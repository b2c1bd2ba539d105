//! Measures whose answers are known without a reference.

use latent_metrics::{
    Error, Features, components, foreground, frechet_distance, frechet_distance_of, nearest,
    nearest_others, quantiles, r_precision,
};
use latent_testkit::recipe;

#[test]
fn a_frechet_distance_is_the_same_by_vectors_and_by_moments() {
    let set = |name: &str, count: usize| recipe::normal(name, &[count, 12]);
    // Fewer vectors than numbers in one, in the other, in both, and equally many.
    for (m, n) in [(8, 30), (30, 5), (7, 9), (12, 11)] {
        let (a, b) = (set("frechet/a", m), set("frechet/b", n));
        let (a, b) = (
            Features::new(&a, 12).unwrap(),
            Features::new(&b, 12).unwrap(),
        );
        let by_moments = frechet_distance_of(&a.moments().unwrap(), &b.moments().unwrap()).unwrap();
        let by_vectors = frechet_distance(&a, &b).unwrap();
        assert!(
            (by_moments - by_vectors).abs() < 1e-6 * by_moments,
            "{by_moments} {by_vectors}"
        );
        assert!(frechet_distance(&a, &a).unwrap() < 1e-6);
    }
    // Moved by 3 in one direction: the distance is 9.
    let a = set("frechet/a", 6);
    let b: Vec<f32> = a
        .iter()
        .enumerate()
        .map(|(i, v)| v + if i % 12 == 0 { 3.0 } else { 0.0 })
        .collect();
    let (a, b) = (
        Features::new(&a, 12).unwrap(),
        Features::new(&b, 12).unwrap(),
    );
    assert!((frechet_distance(&a, &b).unwrap() - 9.0).abs() < 1e-5);
}

#[test]
fn neighbours_are_found() {
    let set = [0.0, 0.0, 3.0, 4.0, 10.0, 0.0, 0.0, 0.0];
    let set = Features::new(&set, 2).unwrap();
    let points = [3.0, 0.0, 9.0, 0.0];
    let points = Features::new(&points, 2).unwrap();
    let found = nearest(&points, &set).unwrap();
    let pairs: Vec<_> = found.iter().map(|n| (n.index, n.distance)).collect();
    assert_eq!(pairs, [(0, 3.0), (2, 1.0)]);
    let found = nearest_others(&set, 100).unwrap();
    let pairs: Vec<_> = found.iter().map(|n| (n.index, n.distance)).collect();
    assert_eq!(pairs[0], (3, 0.0), "its own duplicate");
    assert_eq!(pairs[1], (0, 5.0));
    assert_eq!(pairs.len(), 4);
    let half = nearest_others(&set, 2).unwrap();
    assert_eq!(half.len(), 2);
    assert_eq!(half[1].index, 1, "of the third, which is (10, 0)");
    let wide = [0.0; 3];
    let wide = Features::new(&wide, 3).unwrap();
    assert!(matches!(nearest(&wide, &set), Err(Error::Width { .. })));
}

#[test]
fn own_captions_are_found_or_shared() {
    let rows = [
        0.9, 0.1, 0.2, // found
        0.1, 0.9, 0.2, // not found
        0.5, 0.5, 0.1, // one of two
        0.3, 0.3, 0.3, // one of three
    ];
    let share = r_precision(&rows, 3).unwrap();
    assert!((share - (1.0 + 0.0 + 0.5 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
    assert!(r_precision(&rows, 1).is_err());
    assert!(r_precision(&rows[..4], 3).is_err());
    assert!(r_precision(&[], 3).is_err());
    assert!(r_precision(&[1.0, f32::NAN], 2).is_err());
}

#[test]
fn quantiles_are_numpys() {
    let numbers = [4.0, 1.0, 3.0, 2.0];
    let found = quantiles(&numbers, &[0.0, 0.25, 0.5, 1.0]).unwrap();
    assert_eq!(found, [1.0, 1.75, 2.5, 4.0]);
    assert_eq!(quantiles(&[7.0], &[0.0, 0.3, 1.0]).unwrap(), [7.0; 3]);
    assert!(quantiles(&[], &[0.5]).is_err());
    assert!(quantiles(&[f64::NAN], &[0.5]).is_err());
}

/// A picture of 20×10 pixels: `ink` where the text has a `#`, else `paper`.
fn picture(rows: &[&str; 10], ink: [u8; 3], paper: [u8; 3]) -> Vec<u8> {
    let pixels = rows.iter().flat_map(|row| row.bytes());
    pixels
        .flat_map(|c| if c == b'#' { ink } else { paper })
        .collect()
}

#[test]
fn things_before_a_plain_background_are_counted() {
    let rows = [
        "....................",
        ".###.......##.......",
        ".#.#.......##.......",
        ".###................",
        "....#...............",
        "....................",
        "..........#.........",
        "...............###..",
        "...............###..",
        "....................",
    ];
    let rgb = picture(&rows, [200, 30, 30], [250, 250, 250]);
    let found = foreground(&rgb, [10, 20]).unwrap().unwrap();
    assert_eq!(found.background, [250; 3]);
    let all = components(&found.mask, [10, 20], 1).unwrap();
    // A ring with a pixel at its corner, a block, a speck, a block.
    let sizes: Vec<usize> = all.iter().map(|c| c.pixels.len()).collect();
    assert_eq!(sizes, [9, 4, 1, 6]);
    assert_eq!(all[1].centre, [11.5, 1.5]);
    assert_eq!(all[3].centre, [16.0, 7.5]);
    assert_eq!(components(&found.mask, [10, 20], 4).unwrap().len(), 3);
    assert!(components(&found.mask, [10, 19], 1).is_err());

    // Noise is background, another colour along the edge is not.
    let mut noisy = rgb.clone();
    noisy
        .iter_mut()
        .enumerate()
        .for_each(|(i, v)| *v = v.saturating_sub((i % 7) as u8 * 2));
    assert_eq!(
        foreground(&noisy, [10, 20]).unwrap().unwrap().mask,
        found.mask
    );
    let stacked: Vec<u8> = (0..600).map(|i| if i < 300 { 255 } else { 90 }).collect();
    assert_eq!(foreground(&stacked, [10, 20]).unwrap(), None);
    assert!(foreground(&stacked, [10, 21]).is_err());
    assert!(foreground(&[], [0, 0]).is_err());
}
