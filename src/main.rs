//! The binary: hands its arguments to the command line and exits with its status. Never decides anything.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(lifeboat::cli::run(std::env::args_os().collect()))
}
