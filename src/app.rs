//! Implements the commands by connecting the layers; the only module that depends on all of them.

mod check;
mod compare;
mod configuration;
mod demo;
mod gateway;
mod live;
mod notify;
mod output;
mod portal;
mod reload;
mod replay;
mod state;

use crate::cli::{Cli, Command};
use crate::config::Problems;
use std::io;
use std::process::ExitCode;

/// Runs a command. Exit codes: 0 success, 1 runtime failure, 2 invalid usage or configuration.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Demo(args) => demo::demo(&args),
        Command::Run(args) => live::run(&args),
        Command::Gateway(args) => gateway::gateway(&args),
        Command::Notify(args) => notify::notify(&args),
        Command::Replay(args) => match &args.compare {
            None => replay::replay(&args),
            Some(old) => compare::compare(&args, old),
        },
        Command::Simulate(args) => live::simulate(&args),
        Command::Check(args) => check::check(&args),
        Command::Topics(args) => live::topics(&args),
        Command::State(args) => state::state(&args.command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            if error.is::<Problems>() || error.is::<state::NoSuchShard>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Whether the reader of standard output closed the pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
