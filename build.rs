//! Compiles every file of the `proto/` package, without `protoc`, into the module `codec::proto`; also writes the numbers of
//! the fields, for code that writes messages without building them first.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

const ROOT: &str = "proto";
const PACKAGE: &str = "funnelwatch.v1";

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
    let mut fields = String::new();
    for message in descriptors.file.iter().filter(|file| file.package() == PACKAGE).flat_map(|file| &file.message_type)
    {
        writeln!(fields, "pub mod {} {{", message.name())?;
        for field in &message.field {
            let (number, explicit) = (field.number(), field.oneof_index.is_some());
            let value = format!("super::Field {{ number: {number}, explicit: {explicit} }}");
            writeln!(fields, "    pub const {}: super::Field = {value};", field.name())?;
        }
        writeln!(fields, "}}")?;
    }
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("fields.rs"), fields)?;
    // Ordered maps make the encoding of a message deterministic. The well-known types are generated too, because their
    // crate would be another dependency for only two messages.
    prost_build::Config::new()
        .btree_map(["."])
        .compile_well_known_types()
        .include_file("funnelwatch.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
