//! Weights of linear layers and convolutions, packed for one instruction set.

use crate::cpu::Cpu;
use crate::number::Number;
use crate::packed::Packed;
use crate::pool::{self, Shared};

/// Inputs that are packed at a time.
const INPUTS: usize = 16;

/// The weight of a linear layer or a convolution, packed for one instruction set.
#[derive(Debug)]
pub struct Weight<T> {
    pub(crate) packed: Packed<T>,
    /// Rows and columns of the kernel; 1×1 for a linear layer.
    pub(crate) kernel: [usize; 2],
    /// Numbers that a tap reads.
    pub(crate) input: usize,
    /// Columns of the output.
    pub(crate) output: usize,
    /// Whether a panel holds values and then the gates of the same.
    pub(crate) gated: bool,
}

/// Where the numbers of a weight lie: how far apart those of neighbouring outputs and inputs are.
struct Source<'a, T> {
    weight: &'a [T],
    output: usize,
    input: usize,
    /// Whether the taps come in the opposite order.
    turned: bool,
}

/// Writes `count` (1 or more) numbers, `stride` apart, to places that are a group apart.
///
/// # Safety
///
/// The places exist.
unsafe fn spread<T: Number>(from: &[T], stride: usize, count: usize, to: *mut T) {
    assert!((count - 1) * stride < from.len(), "a weight's length");
    let from = from.as_ptr();
    for j in 0..count {
        *to.add(j * T::GROUP) = *from.add(j * stride);
    }
}

impl<T: Number> Weight<T> {
    /// The weight `[output, input]` of y = x·Wᵀ.
    pub fn linear(cpu: Cpu, weight: &[T], [output, input]: [usize; 2]) -> Self {
        Self::conv(cpu, weight, [output, input, 1, 1])
    }

    /// The weight `[2·output, input]` of a linear layer whose first half of columns is multiplied
    /// by the GELU of the second.
    pub fn gated(cpu: Cpu, weight: &[T], [twice, input]: [usize; 2]) -> Self {
        assert_eq!(weight.len(), twice * input, "a weight's length");
        let output = twice / 2;
        let source = Source {
            weight,
            output: input,
            input: 1,
            turned: false,
        };
        Self::pack(cpu, [output, input], [1, 1], true, &source)
    }

    /// The weight `[output, input, rows, columns]` of a convolution.
    pub fn conv(cpu: Cpu, weight: &[T], [output, input, rows, columns]: [usize; 4]) -> Self {
        let taps = rows * columns;
        assert_eq!(weight.len(), output * input * taps, "a weight's length");
        let source = Source {
            weight,
            output: input * taps,
            input: taps,
            turned: false,
        };
        Self::pack(cpu, [output, input], [rows, columns], false, &source)
    }

    /// The weight of the convolution that takes the gradient of [`conv`](Self::conv)'s output to
    /// that of its input: taps turned round, input and output exchanged. Same arguments.
    pub fn conv_back(cpu: Cpu, weight: &[T], [output, input, rows, columns]: [usize; 4]) -> Self {
        let taps = rows * columns;
        assert_eq!(weight.len(), output * input * taps, "a weight's length");
        let source = Source {
            weight,
            output: taps,
            input: input * taps,
            turned: true,
        };
        Self::pack(cpu, [input, output], [rows, columns], false, &source)
    }

    fn pack(
        cpu: Cpu,
        [output, input]: [usize; 2],
        kernel: [usize; 2],
        gated: bool,
        source: &Source<'_, T>,
    ) -> Self {
        let taps = kernel[0] * kernel[1];
        let padded = input.next_multiple_of(T::GROUP);
        let width = crate::packed::panel_width(cpu);
        let lanes = crate::packed::lanes(cpu);
        // A panel of a gated weight holds half a panel of values, then the gates of the same.
        let half = width / 2;
        let columns = if gated {
            output / half * width + 2 * (output % half).next_multiple_of(lanes)
        } else {
            output
        };
        let mut packed = Packed::<T>::zeros(cpu, 1, taps * padded, columns);
        let panels = packed.panels();
        let strides: Vec<_> = (0..panels).map(|p| packed.stride(p)).collect();
        let parts: Vec<_> = (0..panels)
            .map(|p| Shared::new(packed.panel_mut(0, p)))
            .collect();
        pool::each(panels, |p| {
            let stride = strides[p];
            let there = |first: usize| output.saturating_sub(first);
            // Columns of the panel that lie side by side: (first, its row of the weight, how many).
            let spans = if gated {
                let (side, first) = (stride / 2, p * half);
                let count = there(first).min(side);
                [(0, first, count), (side, output + first, count)]
            } else {
                let first = p * width;
                [(0, first, there(first).min(stride)), (0, 0, 0)]
            };
            let part = parts[p].get();
            // In blocks of inputs, so that what is read stays in the first cache; what is written lies side by side.
            for start in (0..input).step_by(INPUTS) {
                let end = input.min(start + INPUTS);
                for tap in 0..taps {
                    let place = if source.turned { taps - 1 - tap } else { tap };
                    for i in start..end {
                        let k = tap * padded + i;
                        let group = k / T::GROUP * stride;
                        for (column, row, count) in spans.into_iter().filter(|span| span.2 > 0) {
                            let from =
                                &source.weight[row * source.output + i * source.input + place..];
                            // SAFETY: the group is one of the panel's, and column + count ≤ stride; each panel
                            // is written by one job.
                            unsafe {
                                let to = part.add((group + column) * T::GROUP + k % T::GROUP);
                                spread(from, source.output, count, to);
                            }
                        }
                    }
                }
            }
        });
        Self {
            packed,
            kernel,
            input,
            output,
            gated,
        }
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.output
    }

    /// Numbers that a tap reads.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }
}
