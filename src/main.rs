//! The `hearth` program: arguments, logging, subcommand, exit code. The only place that exits.

use std::process::ExitCode;

use hearth::cli::Args;
use hearth::telemetry;

fn main() -> ExitCode {
    telemetry::init();
    let args = match Args::read() {
        Ok(args) => args,
        Err((code, message)) => {
            // Nothing is left to do when even the message cannot be printed.
            let _ = message.print();
            return ExitCode::from(code);
        }
    };
    match args.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hearth: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
