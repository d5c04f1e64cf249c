//! Owns the compilation of `proto/`: every file of the package, without `protoc`, into the module `codec::proto`.

use std::error::Error;
use std::path::Path;

const ROOT: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(Path::new(ROOT).join("funnelwatch/v1"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    // The order of a directory is not fixed, the generated code must be.
    files.sort();
    let descriptors = protox::compile(&files, [ROOT])?;
    // Ordered maps, so that the same message is the same bytes; the well-known types are generated like ours, because
    // their own crate would be one more dependency for two messages.
    prost_build::Config::new()
        .btree_map(["."])
        .compile_well_known_types()
        .include_file("funnelwatch.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
