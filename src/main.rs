//! The binary. Never decides anything.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    match argv.get(1).and_then(|word| word.to_str()) {
        Some(lifeboat::proxy::sandbox::SUBCOMMAND) => ExitCode::from(lifeboat::proxy::sandbox::run(&argv[2..])),
        _ => ExitCode::FAILURE,
    }
}
