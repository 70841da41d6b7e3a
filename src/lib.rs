//! strongroom: an encrypted credential vault daemon.
//!
//! A request walks through few rooms. [`api`] decodes it and asks [`authn`] who is calling; [`vault`] decides, records
//! and acts; [`store`] keeps ciphertext and the audit log in one transaction; [`kms`] opens the data keys and [`crypto`]
//! the blobs. [`providers`] knows what a credential of each provider looks like and how it is tested, [`cloud`] signs what
//! a test asks, and [`http`] is the only way out.
//!
//! ```text
//!   api ──► authn ──► vault ──► providers   what an upload must look like, and how it is tested
//!    │                  │  │      └──► cloud      signatures and assertions; pure
//!    │                  │  │      └──► http       the one way out, and where it may lead
//!    │                  │  └──► kms         wraps and unwraps data keys
//!   cli (client)        └─────► store       rows, changes, audit: one transaction
//!                                 └──► crypto     the stored format; pure
//! ```
//!
//! Follow `vault::setup` for a credential's way in, `vault::decrypt` for its way out, and `vault::probing` for a connection
//! test; [`sinks`] copies the audit log to where logs are collected. [`app`] is the list of parts.

pub mod api;
pub mod app;
pub mod authn;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod crypto;
pub mod http;
pub mod kms;
pub mod memory;
pub mod pb;
pub mod providers;
pub mod sinks;
pub mod store;
pub mod telemetry;
pub mod vault;
