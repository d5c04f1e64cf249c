//! The binary: parses the command line, sets up logging, and calls the library.

use clap::Parser;
use funnelwatch::{app, cli, telemetry};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::log_to_stderr();
    exit_on_panic();
    app::run(cli)
}

/// Makes a panic of any thread end the process, so that it is restarted instead of running without that thread.
fn exit_on_panic() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        std::process::exit(1);
    }));
}
