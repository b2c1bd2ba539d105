//! An allocator that keeps large blocks for the next use.
//!
//! A step of a network allocates and frees hundreds of tensors of some megabytes. The system's
//! allocator gives each back to the kernel and gets it again page by page, which costs as much as a
//! tenth of the step. This one keeps what was freed last, up to a limit, and asks the kernel for
//! huge pages, which also spares the matrix products misses in the address cache.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard};

/// Blocks smaller than this go to the system's allocator.
const LARGE: usize = 256 << 10;

/// Blocks this large are aligned for huge pages, which are this large.
const HUGE: usize = 2 << 20;

/// Bytes that are kept at most.
const KEPT: usize = 384 << 20;

/// Blocks that are kept at most.
const COUNT: usize = 96;

/// Of the blocks that are larger than all of these together, up to this size, the last is kept as well: each operation of the
/// decoder of a large picture frees one and asks for the next.
const GIANT: usize = 1 << 30;

/// Larger requests come from numbers in damaged files, not from work: they are refused like any other allocator's.
const ABSURD: usize = 1 << 44;

/// To be named as a program's `#[global_allocator]`.
#[derive(Debug)]
pub struct Recycler {
    free: Mutex<Free>,
    exhausted: fn(usize),
}

#[derive(Debug)]
struct Free {
    /// The block freed last at the end; each with its size.
    blocks: [(usize, usize); COUNT],
    count: usize,
    bytes: usize,
    /// The giant; of size 0 where there is none.
    giant: (usize, usize),
}

impl Default for Recycler {
    fn default() -> Self {
        Self::new()
    }
}

impl Recycler {
    /// With nothing kept.
    pub const fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same. Where the system has no memory for that many bytes, after everything that is kept was given back,
    /// `exhausted` is called: a program may say so and end, which the standard library only does by an abort. It must not
    /// allocate.
    pub const fn with(exhausted: fn(usize)) -> Self {
        Self {
            exhausted,
            free: Mutex::new(Free {
                blocks: [(0, 0); COUNT],
                count: 0,
                bytes: 0,
                giant: (0, 0),
            }),
        }
    }

    /// Gives everything that is kept back to the system.
    pub fn release(&self) {
        while let Some((address, size)) = {
            let mut free = self.free();
            free.oldest()
        } {
            // SAFETY: the block came from `System` with this layout and is nobody's.
            unsafe { System.dealloc(address as *mut u8, block_layout(size)) }
        }
    }

    /// What `ask` gets from the system: at the first try, or with the memory that is kept here. `size` is how much it asks for.
    fn ask(&self, size: usize, ask: impl Fn() -> *mut u8) -> *mut u8 {
        let block = ask();
        if !block.is_null() || size > ABSURD {
            return block;
        }
        self.release();
        let block = ask();
        if block.is_null() {
            (self.exhausted)(size);
        }
        block
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The size of the block that holds `size` bytes: an eighth larger at most, so that tensors of
/// nearly the same size can take each other's place.
fn block_size(size: usize) -> usize {
    let step = (size.next_power_of_two() >> 4).max(4096);
    size.next_multiple_of(step)
}

fn block_layout(block: usize) -> Layout {
    let align = if block >= HUGE { HUGE } else { 4096 };
    // SAFETY: the alignment is a power of two, and a block is an existing layout's size rounded up
    // by an eighth; one near `isize::MAX` was refused by `large`.
    unsafe { Layout::from_size_align_unchecked(block, align) }
}

fn large(layout: &Layout) -> bool {
    layout.size() >= LARGE && layout.size() <= isize::MAX as usize / 4 && layout.align() <= 4096
}

impl Free {
    fn take(&mut self, size: usize) -> Option<usize> {
        if size == self.giant.1 {
            return Some(std::mem::take(&mut self.giant).0);
        }
        let found = (0..self.count).rev().find(|&i| self.blocks[i].1 == size)?;
        Some(self.remove(found).0)
    }

    fn remove(&mut self, at: usize) -> (usize, usize) {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.bytes -= block.1;
        block
    }

    fn oldest(&mut self) -> Option<(usize, usize)> {
        match self.count {
            0 => Some(std::mem::take(&mut self.giant)).filter(|giant| giant.1 > 0),
            _ => Some(self.remove(0)),
        }
    }

    fn keep(&mut self, address: usize, size: usize) {
        self.blocks[self.count] = (address, size);
        self.count += 1;
        self.bytes += size;
    }

    fn has_room(&self, size: usize) -> bool {
        self.count < COUNT && self.bytes + size <= KEPT
    }
}

// SAFETY: every block comes from `System` with a layout that follows from the caller's alone, is at
// least as large and as aligned as asked for, and is in the hands of one owner: the caller, or `free`.
unsafe impl GlobalAlloc for Recycler {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !large(&layout) {
            return self.ask(layout.size(), || System.alloc(layout));
        }
        let size = block_size(layout.size());
        if let Some(address) = self.free().take(size) {
            return address as *mut u8;
        }
        let block = self.ask(size, || System.alloc(block_layout(size)));
        advise(block, size);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !large(&layout) {
            return self.ask(layout.size(), || System.alloc_zeroed(layout));
        }
        let block = self.alloc(layout);
        if !block.is_null() {
            std::ptr::write_bytes(block, 0, layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !large(&layout) {
            return System.dealloc(block, layout);
        }
        let size = block_size(layout.size());
        if size > GIANT {
            return System.dealloc(block, block_layout(size));
        }
        if size > KEPT {
            let giant = (block as usize, size);
            let (address, size) = std::mem::replace(&mut self.free().giant, giant);
            if size > 0 {
                System.dealloc(address as *mut u8, block_layout(size));
            }
            return;
        }
        loop {
            let mut free = self.free();
            if free.has_room(size) {
                free.keep(block as usize, size);
                return;
            }
            let oldest = free.oldest();
            drop(free);
            if let Some((address, size)) = oldest {
                System.dealloc(address as *mut u8, block_layout(size));
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size with this alignment is a layout.
        let new = Layout::from_size_align_unchecked(size, layout.align());
        if !large(&layout) && !large(&new) {
            return self.ask(size, || System.realloc(block, layout, size));
        }
        if large(&layout) && large(&new) && block_size(layout.size()) == block_size(size) {
            return block;
        }
        let moved = self.alloc(new);
        if !moved.is_null() {
            std::ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
            self.dealloc(block, layout);
        }
        moved
    }
}

/// Asks for huge pages. Where the kernel does not know them, nothing is lost.
#[cfg(target_os = "linux")]
unsafe fn advise(block: *mut u8, size: usize) {
    if size >= HUGE && !block.is_null() {
        libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
unsafe fn advise(_block: *mut u8, _size: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_block_is_used_again_and_zeroed_when_asked() {
        let recycler = Recycler::new();
        // SAFETY: each block is used within its size and freed once, with its layout.
        unsafe {
            let first = recycler.alloc(layout(LARGE + 1));
            first.write_bytes(7, LARGE + 1);
            recycler.dealloc(first, layout(LARGE + 1));
            let again = recycler.alloc_zeroed(layout(LARGE + 100));
            assert_eq!(first, again);
            let bytes = std::slice::from_raw_parts(again, LARGE + 100);
            assert!(bytes.iter().all(|b| *b == 0));
            recycler.dealloc(again, layout(LARGE + 100));
        }
        assert_eq!(recycler.free().count, 1);
        recycler.release();
        assert_eq!(recycler.free().count, 0);
    }

    /// What no system has is asked for; those that promise memory they have not are passed over.
    #[test]
    fn the_program_hears_of_exhausted_memory() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let recycler = Recycler::with(|size| ASKED.store(size, Ordering::SeqCst));
        let much = layout(1 << 43);
        // SAFETY: a block is not touched, and freed with its layout.
        unsafe {
            let kept = recycler.alloc(layout(LARGE));
            recycler.dealloc(kept, layout(LARGE));
            let block = recycler.alloc(much);
            if !block.is_null() {
                return recycler.dealloc(block, much);
            }
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 1 << 43);
        assert_eq!(recycler.free().count, 0);
        let absurd = layout(1 << 50);
        // SAFETY: nothing is done with it.
        assert!(unsafe { recycler.alloc(absurd) }.is_null());
        assert_eq!(ASKED.load(Ordering::SeqCst), 1 << 43);
    }

    #[test]
    fn of_giants_the_last_is_kept() {
        let recycler = Recycler::new();
        // SAFETY: as above; the blocks are not touched.
        unsafe {
            let sizes = [KEPT + 1, GIANT, GIANT + 1, LARGE];
            let blocks = sizes.map(|size| (recycler.alloc(layout(size)), size));
            for (block, size) in blocks {
                recycler.dealloc(block, layout(size));
            }
            let [_, (second, _), _, _] = blocks;
            assert_eq!(recycler.free().giant, (second as usize, GIANT));
            assert_eq!(recycler.free().count, 1);
            assert_eq!(recycler.alloc(layout(GIANT - 1)), second);
            assert_eq!(recycler.free().giant, (0, 0));
            recycler.dealloc(second, layout(GIANT - 1));
        }
        recycler.release();
        let free = recycler.free();
        assert_eq!((free.count, free.giant), (0, (0, 0)));
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let recycler = Recycler::new();
        // SAFETY: as above; the blocks are not touched.
        unsafe {
            let blocks: Vec<_> = (0..20).map(|_| recycler.alloc(layout(40 << 20))).collect();
            for block in blocks {
                recycler.dealloc(block, layout(40 << 20));
            }
            let free = recycler.free();
            assert!(free.bytes <= KEPT && free.count == KEPT / (40 << 20));
            drop(free);
            let many: Vec<_> = (0..2 * COUNT)
                .map(|_| recycler.alloc(layout(LARGE)))
                .collect();
            for block in many {
                recycler.dealloc(block, layout(LARGE));
            }
        }
        assert_eq!(recycler.free().count, COUNT);
        recycler.release();
    }

    #[test]
    fn growing_keeps_what_is_there() {
        let recycler = Recycler::new();
        // SAFETY: as above.
        unsafe {
            let mut block = recycler.alloc(layout(1000));
            block.write_bytes(3, 1000);
            let mut size = 1000;
            for next in [LARGE, LARGE + 5000, 3 * HUGE, LARGE + 1, 500] {
                block = recycler.realloc(block, layout(size), next);
                size = next;
                let kept = std::slice::from_raw_parts(block, 500);
                assert!(kept.iter().all(|b| *b == 3));
            }
            recycler.dealloc(block, layout(size));
        }
        recycler.release();
    }

    #[test]
    fn blocks_are_an_eighth_too_large_at_most() {
        for size in [LARGE, LARGE + 1, 1_000_000, HUGE, HUGE + 1, 123_456_789] {
            let block = block_size(size);
            assert!(
                block >= size && block <= size + size / 8 + 4096,
                "{size} {block}"
            );
        }
    }
}
