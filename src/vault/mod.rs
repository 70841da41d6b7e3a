//! The vault: decides, records and acts. Every operation takes the caller first.

pub mod caller;
pub mod error;
pub mod request;

pub use caller::{Caller, Principal};
pub use error::{Dependency, Error};
