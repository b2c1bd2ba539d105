//! Memory that vectors can be loaded from without crossing a cache line.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::number::Number;
use crate::simd::Element;

const ALIGN: usize = 64;

/// A fixed number of numbers, aligned to a cache line.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a buffer owns its memory, as a `Vec` does, and `T` here is a plain number.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T> Buffer<T> {
    /// All zeros; every [`Element`]'s zero is all bits zero.
    pub fn zeros(len: usize) -> Self {
        let layout = Self::layout(len);
        if layout.size() == 0 {
            return Self {
                start: NonNull::dangling(),
                len: 0,
            };
        }
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start.cast()) {
            Some(start) => Self { start, len },
            None => handle_alloc_error(layout),
        }
    }

    fn layout(len: usize) -> Layout {
        let array = Layout::array::<T>(len).and_then(|l| l.align_to(ALIGN));
        array.unwrap_or_else(|_| panic!("a buffer of {len} numbers exceeds the address space"))
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated by `zeros` with this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) }
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `start` holds `len` initialised numbers (or is dangling and `len` is zero).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and access is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// `len` numbers for a kernel to write: what they are before that is not said.
///
/// Zeroing a tensor first would cost as much time as a cheap kernel takes.
#[allow(clippy::uninit_vec)]
pub fn output<T: Number>(len: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, and any bits are a valid f32 or bf16. The kernels write every
    // number of their output before anything reads it.
    unsafe { out.set_len(len) };
    out
}

/// Bytes in units of a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; ALIGN]);

thread_local! {
    /// One memory per depth of nesting, the outermost on top.
    static SCRATCH: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `f` this thread's scratch memory: `counts` numbers of f32-sized slots, each part aligned to a
/// cache line and holding what was left in it. It grows and is kept, so that steady work allocates
/// nothing.
///
/// Nested calls get memory of their own, which is kept too.
pub(crate) fn with_scratch<const N: usize, R>(
    bytes: [usize; N],
    f: impl FnOnce([*mut u8; N]) -> R,
) -> R {
    let lines: usize = bytes.iter().map(|b| b.div_ceil(ALIGN)).sum();
    let mut memory = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < lines {
        drop(memory);
        memory = vec![Line([0; ALIGN]); lines];
    }
    let mut at = memory.as_mut_ptr();
    let parts = bytes.map(|b| {
        let part = at.cast::<u8>();
        // SAFETY: the parts' lines add up to no more than the memory holds.
        at = unsafe { at.add(b.div_ceil(ALIGN)) };
        part
    });
    let result = f(parts);
    SCRATCH.with_borrow_mut(|kept| kept.push(memory));
    result
}
