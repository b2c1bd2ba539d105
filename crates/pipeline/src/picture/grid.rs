//! Several pictures on one sheet.

use super::Picture;

/// The pictures in rows of `columns` on a black sheet, cells as large as the largest; what is transparent shows white.
/// `None` for no picture.
pub fn grid(pictures: &[Picture], columns: usize) -> Option<Picture> {
    let width = pictures.iter().map(Picture::width).max()?;
    let height = pictures.iter().map(Picture::height).max()?;
    let columns = columns.clamp(1, pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let mut sheet = Picture::plain(width * columns, height * rows, [0; 3]);
    for (at, picture) in pictures.iter().enumerate() {
        let picture = picture.flatten([255; 3]);
        sheet.paste(&picture, at % columns * width, at / columns * height);
    }
    Some(sheet)
}

/// A1111's number of rows for `count` pictures, turned into columns: rows are ⌊√count⌋, lowered until they divide it.
pub fn columns_for(count: usize) -> usize {
    let mut rows = count.isqrt().max(1);
    while !count.is_multiple_of(rows) {
        rows -= 1;
    }
    count.div_ceil(rows).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_filled_row_by_row() {
        let cells = [1, 2, 3].map(|v| Picture::plain(2, 2, [v; 3]));
        let sheet = grid(&cells, 2).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (4, 4));
        assert_eq!(sheet.pixel(3, 1), [2; 3]);
        assert_eq!(sheet.pixel(0, 2), [3; 3]);
        assert_eq!(sheet.pixel(2, 2), [0; 3]);
        assert!(grid(&[], 2).is_none());
        assert_eq!([1, 2, 4, 6, 7, 9].map(columns_for), [1, 2, 2, 3, 7, 3]);
    }
}
