//! The `hearth` program: arguments, logging, subcommand, exit code. The only place that exits.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use hearth::cli::Args;
use hearth::failure::INTERNAL;
use hearth::{onnx, telemetry};

fn main() -> ExitCode {
    if !onnx::reporting_is_off() {
        return restart_with_switches();
    }
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

/// glibc raises this limit as large blocks are freed, and keeps what is freed later in its heap: with E4B, 40 MB for good
/// and 135 MB at the peak of loading. Set, it stays where it is. Whoever sets the switch for reporting sets this one too, as
/// the service units do.
const LARGE_BLOCK: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "4194304");

/// ONNX Runtime and glibc look at their environment when they are opened, and a running process cannot change that safely:
/// so the program takes its own place, once, with the switches set.
fn restart_with_switches() -> ExitCode {
    let restart = |program| {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let (limit, bytes) = LARGE_BLOCK;
        let bytes = std::env::var_os(limit).unwrap_or_else(|| bytes.into());
        Command::new(program).arg0(name).args(arguments).env(onnx::REPORTING_SWITCH, "1").env(limit, bytes).exec()
    };
    let error = std::env::current_exe().map_or_else(|error| error, restart);
    eprintln!("hearth: cannot start itself with {} set: {error}", onnx::REPORTING_SWITCH);
    ExitCode::from(INTERNAL)
}
