//! The command line: one enum of commands, and where each goes.
//!
//! The help of every command stands in `help/*.txt`, held by a test: words for users are reviewed like code.
//! So do the pages `docs/reference/cli.md` and `config.md`. After a wanted change,
//! `TENON_BLESS=1 cargo test --release -p tenon cli` writes them anew.

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::failure::{Failure, Outcome};
use crate::commands::{
    bench, config, deploy, doctor, health, infer, jobs, models, push, receipts, serve, services, swap, undo,
};

/// Keep the service, swap the model
///
/// Tenon runs machine-learning models as services that never go down: the endpoint stays, and the model
/// behind it is exchanged while requests are being answered.
#[derive(Debug, Parser)]
#[command(
    name = "tenon",
    version,
    arg_required_else_help = true,
    after_long_help = "A first walk:
  tenon serve                              start a server (or `make run`, with a model to try)
  tenon push digits model.onnx             upload a model: version digits/1
  tenon deploy digits digits/1             make it a service
  tenon infer digits --data request.json   ask it
  tenon push digits better.onnx            version digits/2
  tenon swap digits digits/2               exchange them while it serves
  tenon undo digits                        and back
  tenon receipts digits --verify           what was served, when and why

Exit codes:
   0  done
   1  refused, or failed on the way
   2  the command line is wrong
   3  no such service, model, version, job or file
   4  no server answers there
  64  the configuration of the server is wrong"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Push(push::Args),
    Models(models::Args),
    Deploy(deploy::Args),
    Services(services::Args),
    Swap(swap::Args),
    Undo(undo::Args),
    Receipts(receipts::Args),
    Infer(infer::Args),
    Bench(bench::Args),
    Jobs(jobs::Args),
    Doctor(doctor::Args),
    Health(health::Args),
    Config(config::Args),
}

/// The whole program: reads the command line and runs the command.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Push(args) => client(args.json(), push::run(args)),
        Command::Models(args) => client(args.json(), models::run(args)),
        Command::Deploy(args) => client(args.json(), deploy::run(args)),
        Command::Services(args) => client(args.json(), services::run(args)),
        Command::Swap(args) => client(args.json(), swap::run(args)),
        Command::Undo(args) => client(args.json(), undo::run(args)),
        Command::Receipts(args) => client(args.json(), receipts::run(args)),
        Command::Infer(args) => client(args.json(), infer::run(args)),
        Command::Bench(args) => client(args.json(), bench::run(args)),
        Command::Jobs(args) => client(args.json(), jobs::run(args)),
        Command::Doctor(args) => client(args.json(), doctor::run(args)),
        Command::Health(args) => client(args.json(), health::run(args)),
        Command::Config(args) => client(args.json(), config::run(args)),
    }
}

/// Runs a command that speaks to a server.
fn client(json: bool, command: impl Future<Output = Outcome>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Failure::new(format!("start: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(json),
    }
}

#[cfg(test)]
mod tests;
