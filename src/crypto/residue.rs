//! What ciphers leave on the stack.

/// Ciphers work on copies of up to a kibibyte of the plaintext, on the stack, which keeps them until some call happens to
/// go as deep: on a thread that rests, for good. Overwrites, when it goes, what calls made beside it have left there.
pub struct Residue;

/// Deeper than a cipher goes, without optimisation too. Writing that many zeros takes a microsecond.
const DEPTH: usize = 32 * 1024;

impl Drop for Residue {
    fn drop(&mut self) {
        overwrite();
    }
}

#[inline(never)]
fn overwrite() {
    // A variable: of a constant's reference the compiler makes a static.
    let below = [std::hint::black_box(0_u8); DEPTH];
    std::hint::black_box(&below);
}
