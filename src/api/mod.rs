//! (to come)

pub mod listen;
