//! Command-line flags of the test programs: `--name value` and bare `--name`. Never reads a secret from an argument.

use std::collections::HashMap;

/// What stood on the command line.
pub struct Flags {
    values: HashMap<String, String>,
}

impl Flags {
    /// Reads this process's arguments. A flag followed by another flag, or by nothing, is a switch with the value `true`.
    pub fn from_env() -> Self {
        Self::parse(std::env::args().skip(1))
    }

    /// Reads the given arguments.
    pub fn parse(args: impl Iterator<Item = String>) -> Self {
        let args: Vec<String> = args.collect();
        let mut values = HashMap::new();
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            at += 1;
            let Some(name) = arg.strip_prefix("--") else { fail(&format!("unexpected argument {arg}")) };
            let value = match args.get(at) {
                Some(next) if !next.starts_with("--") => {
                    at += 1;
                    next.clone()
                }
                _ => "true".to_owned(),
            };
            values.insert(name.to_owned(), value);
        }
        Self { values }
    }

    /// The value of a flag, if it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a switch was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a flag that must be there.
    pub fn need(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| fail(&format!("--{name} is needed")))
    }

    /// A number, or its default.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        match self.get(name) {
            None => default,
            Some(text) => text.parse().unwrap_or_else(|_| fail(&format!("--{name} wants a number, not {text}"))),
        }
    }
}

/// Ends the program as bad usage does.
pub fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(64)
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn a_flag_before_a_flag_is_a_switch() {
        let flags = Flags::parse(["--stateless", "--port", "7", "--quiet"].into_iter().map(str::to_owned));
        assert!(flags.has("stateless") && flags.has("quiet"));
        assert_eq!(flags.number("port", 0), 7);
        assert_eq!(flags.get("log"), None);
    }
}
