//! Compiles every file of the `proto/` package, without `protoc`, into the module `codec::proto`.

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
    // Directory order is unspecified, but the generated code must be reproducible.
    files.sort();
    let descriptors = protox::compile(&files, [ROOT])?;
    // Ordered maps make the encoding of a message deterministic. The well-known types are generated too, because their
    // crate would be another dependency for only two messages.
    prost_build::Config::new()
        .btree_map(["."])
        .compile_well_known_types()
        .include_file("funnelwatch.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
