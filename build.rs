//! Compiles the protos without protoc: protox parses, prost and tonic generate, pbjson adds REST's JSON form.

use std::path::PathBuf;

use prost::Message as _;
use prost_types::FileDescriptorSet;

const PROTOS: [&str; 3] =
    ["strongroom/v1/credentials.proto", "strongroom/v1/admin.proto", "strongroom/v1/stepup.proto"];

#[allow(clippy::disallowed_methods, reason = "cargo tells OUT_DIR through the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;
    // protox's own encoding keeps the google.api.http options, which prost's types would lose.
    let descriptors = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("strongroom.bin"), &descriptors)?;

    let mut config = prost_build::Config::new();
    config
        .extern_path(".strongroom.v1.Secret", "crate::crypto::Secret")
        .extern_path(".google.protobuf.Timestamp", "::pbjson_types::Timestamp")
        .extern_path(".google.protobuf.Duration", "::pbjson_types::Duration")
        .extern_path(".google.protobuf.Struct", "::pbjson_types::Struct")
        .btree_map(["."]);
    tonic_prost_build::configure()
        .build_transport(true)
        .compile_fds_with_config(FileDescriptorSet::decode(descriptors.as_slice())?, config)?;

    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)?
        .extern_path(".strongroom.v1.Secret", "crate::crypto::Secret")
        .exclude([".strongroom.v1.Secret"])
        .btree_map(["."])
        .preserve_proto_field_names()
        .build(&[".strongroom.v1"])?;
    Ok(())
}
