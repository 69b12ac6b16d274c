use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    match argv.get(1).and_then(|word| word.to_str()) {
        Some(lifeboat::proxy::sandbox::SUBCOMMAND) => ExitCode::from(lifeboat::proxy::sandbox::run(&argv[2..])),
        Some(lifeboat::demo::SUBCOMMAND) => {
            let argument = argv.get(2).and_then(|argument| argument.to_str());
            ExitCode::from(lifeboat::demo::run(lifeboat::demo::memory_file(argument)))
        }
        _ => ExitCode::FAILURE,
    }
}
