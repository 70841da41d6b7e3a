//! No leak: secrets are in the answer to a decrypt and nowhere else, whatever is asked and however it is refused.

mod asked;
mod canary;
mod everywhere;
mod hunt;
mod memory;
pub mod requests;
mod wiped;
pub mod wire;
