//! Matrices in the order in which a product reads them.

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::simd::{Element, Kernel, Simd, run};

/// Works on the panels of a chunk, each by the method `panel` for as many vectors as it is wide.
macro_rules! each_panel {
    ($chunk:expr, $I:ident, $MR:ident, $NV:ident $(, $more:ident)*) => {
        for p in $chunk.panels.clone() {
            match $chunk.weight.packed.vectors(p) {
                1 => $chunk.panel::<$I, $MR, 1 $(, $more)*>(p),
                2 => $chunk.panel::<$I, $MR, 2 $(, $more)*>(p),
                3 => $chunk.panel::<$I, $MR, 3 $(, $more)*>(p),
                _ => $chunk.panel::<$I, $MR, $NV $(, $more)*>(p),
            }
        }
    };
}

pub(crate) use each_panel;

/// How many columns a panel of `cpu`'s tiles has.
pub(crate) fn panel_width(cpu: Cpu) -> usize {
    struct Width;
    impl Kernel for Width {
        type Out = usize;
        #[inline(always)]
        unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> usize {
            NV * I::LANES
        }
    }
    run(cpu, Width)
}

pub(crate) fn lanes(cpu: Cpu) -> usize {
    struct Lanes;
    impl Kernel for Lanes {
        type Out = usize;
        #[inline(always)]
        unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> usize {
            I::LANES
        }
    }
    run(cpu, Lanes)
}

/// `slabs` matrices `[depth, columns]`, each cut into panels of columns; a panel holds for each
/// group of the depth its columns' groups side by side. The last panel is only as many vectors wide
/// as it needs to be.
#[derive(Debug)]
pub(crate) struct Packed<T> {
    pub cpu: Cpu,
    /// Groups of the summed dimension.
    pub groups: usize,
    pub columns: usize,
    /// Columns of a whole panel.
    pub width: usize,
    lanes: usize,
    slab: usize,
    data: Buffer<T>,
}

impl<T: Element> Packed<T> {
    /// Zeros, to be filled by [`panels_mut`](Self::panels_mut).
    pub fn zeros(cpu: Cpu, slabs: usize, depth: usize, columns: usize) -> Self {
        let (width, lanes) = (panel_width(cpu), lanes(cpu));
        let groups = depth.div_ceil(T::GROUP);
        let slab = groups * T::GROUP * columns.next_multiple_of(lanes);
        Self {
            cpu,
            groups,
            columns,
            width,
            lanes,
            slab,
            data: Buffer::zeros(slabs * slab),
        }
    }

    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Vectors that panel `p` is wide.
    pub fn vectors(&self, p: usize) -> usize {
        (self.columns - p * self.width)
            .min(self.width)
            .div_ceil(self.lanes)
    }

    /// Group `group` of panel `p` of a slab.
    ///
    /// # Safety
    ///
    /// All three exist.
    #[inline(always)]
    pub unsafe fn at(&self, slab: usize, p: usize, group: usize) -> *const T {
        let offset = self.start(slab, p) + group * self.stride(p) * T::GROUP;
        self.data.as_ptr().add(offset)
    }

    /// Where panel `p` of a slab begins.
    #[inline(always)]
    pub fn start(&self, slab: usize, p: usize) -> usize {
        slab * self.slab + p * self.width * self.groups * T::GROUP
    }

    /// Numbers from one slab to the next.
    pub fn slab(&self) -> usize {
        self.slab
    }

    /// All slabs.
    pub fn all_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The memory of panel `p` of a slab.
    pub fn panel_mut(&mut self, slab: usize, p: usize) -> &mut [T] {
        let start = self.start(slab, p);
        let size = self.vectors(p) * self.lanes * self.groups * T::GROUP;
        &mut self.data[start..start + size]
    }

    /// Columns of panel `p` with the gaps that fill its last vector.
    #[inline(always)]
    pub fn stride(&self, p: usize) -> usize {
        self.vectors(p) * self.lanes
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of::<T>() * self.data.len()
    }
}
