//! The strongroom binary: the daemon and its client in one.

use std::process::ExitCode;

use strongroom::memory::WipingAllocator;

/// Everything that is freed is wiped, secrets and all else: nobody has to remember which is which.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    strongroom::cli::main()
}
