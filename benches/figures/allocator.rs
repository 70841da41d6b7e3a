//! The wiping allocator beside the system's: one program that can be either.
//!
//! The one place outside `src/memory.rs` with `unsafe`, in a program that nobody ships: comparing allocators takes one.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom::memory::WipingAllocator;

#[global_allocator]
static EITHER: Either = Either;

static WIPES: AtomicBool = AtomicBool::new(false);

/// From now on, blocks are wiped when they are freed, or are not.
pub fn wipe(wipes: bool) {
    WIPES.store(wipes, Ordering::Relaxed);
}

struct Either;

// SAFETY: both take every block from `System` and give it back there, so either may free what the other allocated.
unsafe impl GlobalAlloc for Either {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe {
            match WIPES.load(Ordering::Relaxed) {
                true => WipingAllocator.dealloc(block, layout),
                false => System.dealloc(block, layout),
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match WIPES.load(Ordering::Relaxed) {
                true => WipingAllocator.realloc(block, layout, size),
                false => System.realloc(block, layout, size),
            }
        }
    }
}
