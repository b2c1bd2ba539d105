//! The innermost loop of every matrix product: a tile of the result, held in registers.

use crate::simd::{Dot, Element, anew};

/// acc\[i\]\[j\] += Σ a\[i\]·b\[j\] over `steps` groups.
///
/// `a` points to `MR` rows of groups, one after another along the summed dimension. `b` points to
/// a panel: for each group, `NV` vectors of it.
///
/// # Safety
///
/// `I`'s instructions exist; each row holds `steps` groups and the panel `steps · NV · LANES`.
#[inline(always)]
pub(crate) unsafe fn tile<I: Dot<T>, T: Element, const MR: usize, const NV: usize>(
    steps: usize,
    a: &[*const T; MR],
    b: *const T,
    acc: &mut [[I::F; NV]; MR],
) {
    let mut b = b;
    for s in 0..steps {
        for part in 0..I::PARTS {
            let again = if part == 0 { 0 } else { anew(0) };
            let panel: [I::B; NV] =
                std::array::from_fn(|j| I::groups(b.add(again + j * I::LANES * T::GROUP), part));
            for i in 0..MR {
                let row = I::spread(a[i].add(s * T::GROUP + again), part);
                for j in 0..NV {
                    acc[i][j] = I::mac(acc[i][j], row, panel[j]);
                }
            }
        }
        b = b.add(NV * I::LANES * T::GROUP);
    }
}

/// acc\[i\]\[j\] += Σ a\[s·stride + i\]·b\[s\]\[j\] over `steps` groups: the left matrix lies transposed.
///
/// # Safety
///
/// `I`'s instructions exist; `a` holds `MR` groups at each step, `stride` groups apart, and the panel
/// `steps · NV · LANES`.
#[inline(always)]
pub(crate) unsafe fn tile_transposed<I: Dot<T>, T: Element, const MR: usize, const NV: usize>(
    steps: usize,
    a: *const T,
    stride: usize,
    b: *const T,
    acc: &mut [[I::F; NV]; MR],
) {
    let (mut a, mut b) = (a, b);
    for _ in 0..steps {
        for part in 0..I::PARTS {
            let again = if part == 0 { 0 } else { anew(0) };
            let panel: [I::B; NV] =
                std::array::from_fn(|j| I::groups(b.add(again + j * I::LANES * T::GROUP), part));
            for i in 0..MR {
                let row = I::spread(a.add(i * T::GROUP + again), part);
                for j in 0..NV {
                    acc[i][j] = I::mac(acc[i][j], row, panel[j]);
                }
            }
        }
        a = a.add(stride * T::GROUP);
        b = b.add(NV * I::LANES * T::GROUP);
    }
}
