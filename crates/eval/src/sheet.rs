//! Pictures side by side.

use std::path::Path;

use image::{Rgb, RgbImage};

use crate::Error;

/// Writes pictures, all as large as the first, row by row; white where there is none. Nothing is written of no picture.
pub(crate) fn write(path: &Path, pictures: &[&RgbImage], columns: usize) -> Result<(), Error> {
    let Some(sheet) = sheet(pictures, columns) else {
        return Ok(());
    };
    sheet.save(path).map_err(|e| Error::Drawing {
        path: path.to_owned(),
        problem: e.to_string(),
    })
}

fn sheet(pictures: &[&RgbImage], columns: usize) -> Option<RgbImage> {
    let (width, height) = pictures.first()?.dimensions();
    let columns = columns.clamp(1, pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let pixel = |x: u32, y: u32| {
        let at = (y / height) as usize * columns + (x / width) as usize;
        let picture = pictures.get(at);
        let found = picture.and_then(|p| p.get_pixel_checked(x % width, y % height));
        found.copied().unwrap_or(Rgb([255; 3]))
    };
    Some(RgbImage::from_fn(
        columns as u32 * width,
        rows as u32 * height,
        pixel,
    ))
}

/// Rows of `columns` of each of several lists in turn: so many rows of the first, each above those of the others for
/// the same places.
pub(crate) fn in_turn<'a>(
    lists: &[Vec<&'a RgbImage>],
    columns: usize,
    rows: usize,
) -> Vec<&'a RgbImage> {
    let all = lists.iter().map(Vec::len).min().unwrap_or(0);
    let columns = columns.clamp(1, all.max(1));
    let whole = (all / columns).min(rows);
    (0..whole)
        .flat_map(|row| {
            let place = row * columns..(row + 1) * columns;
            lists
                .iter()
                .flat_map(move |list| list[place.clone()].iter().copied())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_turns() {
        let of = |value: u8| RgbImage::from_pixel(2, 1, Rgb([value; 3]));
        let pictures: Vec<RgbImage> = (0..10).map(of).collect();
        let list = |range: std::ops::Range<usize>| pictures[range].iter().collect::<Vec<_>>();
        let lists = [list(0..5), list(5..10)];
        let turn = |columns, rows| -> Vec<u8> {
            let all = in_turn(&lists, columns, rows);
            all.iter().map(|p| p.get_pixel(0, 0)[0]).collect()
        };
        assert_eq!(turn(2, 9), [0, 1, 5, 6, 2, 3, 7, 8]);
        assert_eq!(turn(2, 1), [0, 1, 5, 6]);
        assert_eq!(turn(9, 9), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let sheet = sheet(&list(0..3), 2).unwrap();
        assert_eq!(sheet.dimensions(), (4, 2));
        let row = |y| (0..4).map(|x| sheet.get_pixel(x, y)[0]).collect::<Vec<_>>();
        assert_eq!((row(0), row(1)), (vec![0, 0, 1, 1], vec![2, 2, 255, 255]));
        assert!(super::sheet(&[], 2).is_none());
    }
}
