//! Which pixel a convolution sees where.

/// What lies beyond an edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Edge {
    /// Zeros.
    #[default]
    Zero,
    /// The opposite edge.
    Wrap,
}

/// A channels-last picture in memory: channel c of pixel (y, x) of picture b is
/// `data[b·batch_stride + y·row_stride + x·pixel_stride + c]`.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Pictures.
    pub batch: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
    /// Elements from one picture to the next.
    pub batch_stride: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one pixel to the next.
    pub pixel_stride: usize,
}

impl<'a, T> Picture<'a, T> {
    /// A picture `[batch, height, width, channels]` without gaps.
    ///
    /// # Panics
    ///
    /// Where `data` has another length.
    pub fn new(data: &'a [T], [batch, height, width, channels]: [usize; 4]) -> Self {
        let picture = Self {
            data,
            batch,
            height,
            width,
            channels,
            batch_stride: height * width * channels,
            row_stride: width * channels,
            pixel_stride: channels,
        };
        assert_eq!(
            data.len(),
            batch * picture.batch_stride,
            "a picture's length"
        );
        picture
    }

    /// `rows` rows of `channels`, one below the other, `stride` elements apart.
    pub(crate) fn of_rows(data: &'a [T], rows: usize, stride: usize, channels: usize) -> Self {
        Self {
            data,
            batch: 1,
            height: rows,
            width: 1,
            channels,
            batch_stride: 0,
            row_stride: stride,
            pixel_stride: 0,
        }
    }

    /// Panics where a pixel lies outside `data`.
    pub(crate) fn check(&self) {
        if self.batch * self.height * self.width * self.channels == 0 {
            return;
        }
        let last = (self.batch - 1) * self.batch_stride
            + (self.height - 1) * self.row_stride
            + (self.width - 1) * self.pixel_stride
            + self.channels;
        assert!(last <= self.data.len(), "a picture beyond its data");
    }
}

/// How a convolution walks over a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one output to the next, both ways.
    pub stride: usize,
    /// Pixels between the kernel's taps, 1 for neighbours.
    pub dilation: usize,
    /// Pixels beyond the upper and the left edge that the first output sees; negative where it
    /// begins inside.
    pub before: [isize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// What lies above and below, left and right.
    pub edges: [Edge; 2],
    /// The picture is first made twice as large by repeating pixels, then cut to this height and width.
    pub doubled: Option<[usize; 2]>,
    /// One more than the zeros that are put between neighbouring pixels first; 1 for none. This is
    /// how the gradient of a window with a stride goes back.
    pub spread: usize,
}

impl Window {
    /// Stride one, size kept: an odd `kernel` with zeros around a `height × width` picture.
    pub fn same(kernel: usize, height: usize, width: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: 1,
            dilation: 1,
            before: [(kernel / 2) as isize; 2],
            output: [height, width],
            edges: [Edge::Zero; 2],
            doubled: None,
            spread: 1,
        }
    }

    /// The window that takes the gradient of this one's output back to its input, a picture of
    /// `height × width`, with a weight that is turned round. The window may not be doubled or
    /// spread; where edges wrap, the size must be a multiple of the stride.
    pub fn back(&self, height: usize, width: usize) -> Self {
        let reach = |axis: usize| ((self.kernel[axis] - 1) * self.dilation) as isize;
        Self {
            stride: 1,
            before: [reach(0) - self.before[0], reach(1) - self.before[1]],
            output: [height, width],
            spread: self.stride,
            ..*self
        }
    }

    /// The row or column that `at` (counted from the edge, may be beyond it) falls on.
    fn inside(&self, axis: usize, at: isize, size: usize) -> Option<usize> {
        let seen = self
            .doubled
            .map_or(size * self.spread, |doubled| doubled[axis]);
        let at = if (0..seen as isize).contains(&at) {
            at as usize
        } else {
            match self.edges[axis] {
                Edge::Zero => return None,
                Edge::Wrap => at.rem_euclid(seen as isize) as usize,
            }
        };
        if self.doubled.is_some() {
            Some(at / 2)
        } else {
            at.is_multiple_of(self.spread).then_some(at / self.spread)
        }
    }

    /// Where the pixel at (y, x), counted from the upper left corner of what is seen, lies in the
    /// picture's data; `None` in the zeros beyond the edges.
    pub(crate) fn pixel<T>(
        &self,
        picture: &Picture<'_, T>,
        b: usize,
        y: isize,
        x: isize,
    ) -> Option<usize> {
        let y = self.inside(0, y, picture.height)?;
        let x = self.inside(1, x, picture.width)?;
        Some(b * picture.batch_stride + y * picture.row_stride + x * picture.pixel_stride)
    }

    /// Where tap (i, j) of output (y, x) lies.
    pub(crate) fn tap<T>(
        &self,
        picture: &Picture<'_, T>,
        [b, y, x]: [usize; 3],
        [i, j]: [usize; 2],
    ) -> Option<usize> {
        let row = (y * self.stride + i * self.dilation) as isize - self.before[0];
        let column = (x * self.stride + j * self.dilation) as isize - self.before[1];
        self.pixel(picture, b, row, column)
    }

    /// Where the taps of the output's pixels lie.
    pub(crate) fn over<'a, T>(&'a self, picture: &'a Picture<'a, T>) -> Taps<'a, T> {
        let [height, width] = [picture.height, picture.width];
        let each_pixel = Self::same(1, height, width) == *self;
        let one_column = width == 1 && picture.batch == 1;
        let no_gaps = picture.row_stride == width * picture.pixel_stride
            && (picture.batch == 1 || picture.batch_stride == height * picture.row_stride);
        Taps {
            window: self,
            picture,
            step: match (each_pixel, one_column, no_gaps) {
                (true, true, _) => Some(picture.row_stride),
                (true, false, true) => Some(picture.pixel_stride),
                _ => None,
            },
        }
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// What a window sees of a picture, by the number of the output's pixel, counted over all pictures.
#[derive(Debug)]
pub(crate) struct Taps<'a, T> {
    window: &'a Window,
    picture: &'a Picture<'a, T>,
    /// From one pixel to the next, where each sees itself and all lie evenly: the rows of a linear layer.
    step: Option<usize>,
}

impl<T> Taps<'_, T> {
    /// Where tap number `tap` of output pixel number `row` lies; `None` in the zeros beyond the edges.
    #[inline]
    pub(crate) fn at(&self, row: usize, tap: usize) -> Option<usize> {
        if let Some(step) = self.step {
            return Some(row * step);
        }
        let [height, width] = self.window.output;
        let pixel = [row / (height * width), row / width % height, row % width];
        let columns = self.window.kernel[1];
        self.window
            .tap(self.picture, pixel, [tap / columns, tap % columns])
    }
}
