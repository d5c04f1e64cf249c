//! The binary: reads the command line, sets up logging, and hands over to the library.

use clap::Parser;
use funnelwatch::{app, cli, telemetry};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::log_to_stderr();
    end_on_panic();
    app::run(cli)
}

/// A thread that panicked is missed by all others: the process ends and is restarted rather than limping on.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(1);
    }));
}
