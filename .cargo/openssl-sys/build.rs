//! Finds the system's OpenSSL, or compiles one, and prints how cargo has to link it.
//!
//! The system's OpenSSL is linked dynamically, so the binary runs on machines like the one that built it.
//! `FUNNELWATCH_OPENSSL=vendored` compiles OpenSSL and links it statically in any case: for the image and other binaries
//! that are moved. A cross build always does, since pkg-config describes the machine that builds.

use std::env;

/// librdkafka needs TLS 1.3 and the certificate checks of this version.
const OLDEST: &str = "1.1.1";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FUNNELWATCH_OPENSSL");
    let vendored = env::var_os("FUNNELWATCH_OPENSSL").is_some_and(|choice| choice == "vendored");
    let native = env::var_os("HOST") == env::var_os("TARGET");
    // A successful probe prints the link flags. The `.pc` file belongs to the package that has the headers.
    if !vendored && native && pkg_config::Config::new().atleast_version(OLDEST).probe("openssl").is_ok() {
        return;
    }
    let artifacts = openssl_src::Build::new().build();
    artifacts.print_cargo_metadata();
    // The build script of `rdkafka-sys` reads this as `DEP_OPENSSL_ROOT`.
    if let Some(root) = artifacts.lib_dir().parent() {
        println!("cargo::metadata=root={}", root.display());
    }
}
