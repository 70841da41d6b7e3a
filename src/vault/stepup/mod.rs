//! Step-up: what a request needs beyond a caller who is let in. A fresh second factor, or a second person.
//!
//! ```text
//!   codes       a one-time code that comes with a request is spent before anything else is done
//!   factors     where codes come from: enrolled, confirmed by a first code, removed
//!   approvals   a request that a second person must agree to: asked for, decided, used once
//!   people      who is no second person
//! ```
//!
//! What a policy demands, the guard decides; here is only what it may rest on. A code counts for the one request that it
//! came with, and an approval for the one request that it was given for. Both are spent first and for good, whatever
//! becomes of the request then: who gives back what was used needs a record of who had it, and a second race.

mod approvals;
mod codes;
mod factors;
mod people;

pub use approvals::Approvals;
pub use factors::{CONFIRM_WITHIN, identity};
