//! The generated messages, clients and services of `proto/strongroom/v1`.

/// Package `strongroom.v1`.
#[allow(clippy::all, missing_docs)]
pub mod v1 {
    tonic::include_proto!("strongroom.v1");
    include!(concat!(env!("OUT_DIR"), "/strongroom.v1.serde.rs"));
}

/// The compiled protos with their options: what reflection serves and what the REST routes are read from.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/strongroom.bin"));
