//! What the values of `vaults/NAME.toml` must mean. Never opens a file and never starts anything.

use std::collections::BTreeSet;

use super::document::Document;
use super::vault::DEPLOYMENT;
use super::{ConfigFault, VaultConfig};

const LONGEST_TIMEOUT: u64 = 7 * 86_400;
/// Room for `.part-000001` behind it.
const LONGEST_NAME: usize = 200;

/// Collects faults of one document.
struct Checker<'a, 'd> {
    document: &'a Document<'d>,
    faults: &'a mut Vec<ConfigFault>,
}

impl Checker<'_, '_> {
    fn must(&mut self, holds: bool, path: &[&str], message: &str) {
        if !holds {
            self.faults.push(self.document.at(path, message));
        }
    }
}

pub(super) fn vault(
    document: &Document<'_>,
    (name, vault): (&str, &VaultConfig),
    servers: &BTreeSet<&str>,
    faults: &mut Vec<ConfigFault>,
) {
    let check = &mut Checker { document, faults };
    let key = if vault.command.is_empty() { "path" } else { "command" };
    check.must(name != DEPLOYMENT, &[key], "the vault \"lifeboat\" is the deployment itself; give this one another name");
    if let Some(server) = &vault.server {
        let message = format!("server \"{server}\" does not exist; servers are the files in servers/");
        check.must(servers.contains(server.as_str()), &["server"], &message);
    }
    match (&vault.path, vault.command.is_empty()) {
        (Some(path), true) => by_path(check, vault, path),
        (None, false) => by_command(check, vault),
        (Some(_), false) => check.must(false, &["command"], "a vault has a path or a command, not both"),
        (None, true) => check.must(false, &["path"], "a vault needs a path or a command"),
    }
}

fn by_path(check: &mut Checker<'_, '_>, vault: &VaultConfig, path: &str) {
    check.must(path.starts_with('/') && !path.contains('\0'), &["path"], "must be an absolute path of a directory or a file");
    check.must(!climbs(path), &["path"], "must not climb with ..");
    for (index, path) in vault.exclude.iter().enumerate() {
        let plain = !path.is_empty() && !path.starts_with('/') && !climbs(path);
        check.must(plain, &["exclude", &index.to_string()], "must be a path inside the directory");
    }
    let same = VaultConfig {
        path: vault.path.clone(),
        server: vault.server.clone(),
        exclude: vault.exclude.clone(),
        ..VaultConfig::default()
    };
    let ours = [
        ("env", vault.env == same.env),
        ("secret_env", vault.secret_env == same.secret_env),
        ("timeout_seconds", vault.timeout_seconds == same.timeout_seconds),
        ("min_bytes", vault.min_bytes == same.min_bytes),
        ("max_bytes", vault.max_bytes == same.max_bytes),
        ("output", vault.output == same.output),
    ];
    for (key, unset) in ours {
        check.must(unset, &[key], "means nothing without a command");
    }
}

fn by_command(check: &mut Checker<'_, '_>, vault: &VaultConfig) {
    let program = vault.command.first().map_or("", String::as_str);
    let whole = program.starts_with('/') && !climbs(program) && !program.ends_with('/');
    check.must(whole, &["command"], "must begin with the absolute path of a program; no shell reads it");
    check.must(!vault.command.iter().any(|word| word.contains('\0')), &["command"], "must hold no NUL character");
    check.must(vault.exclude.is_empty(), &["exclude"], "means nothing with a command");
    let seconds = (1..=LONGEST_TIMEOUT).contains(&vault.timeout_seconds);
    check.must(seconds, &["timeout_seconds"], &format!("must be from 1 to {LONGEST_TIMEOUT}"));
    check.must(
        vault.max_bytes.0 > 0 && vault.max_bytes >= vault.min_bytes,
        &["max_bytes"],
        "must be more than 0 B and no less than min_bytes",
    );
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let named = !vault.output.is_empty() && vault.output.len() <= LONGEST_NAME && vault.output.chars().all(plain);
    let message =
        format!("must be a file's name of at most {LONGEST_NAME} letters, digits, '.', '_' and '-', and not begin with '.'");
    check.must(named && !vault.output.starts_with('.'), &["output"], &message);
    for (name, value) in &vault.env {
        check.must(is_variable(name) && !value.contains('\0'), &["env", name], "is no environment variable");
    }
    let mut seen = BTreeSet::new();
    for (index, name) in vault.secret_env.iter().enumerate() {
        let at = index.to_string();
        check.must(is_variable(name), &["secret_env", &at], "must be the name of a variable; its value is kept on each host");
        check.must(!vault.env.contains_key(name), &["secret_env", &at], "stands in env too: a variable is plain or kept, not both");
        check.must(seen.insert(name), &["secret_env", &at], "is named twice");
    }
}

pub(super) fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::{Desired, VaultConfig};

    fn read(text: &str) -> Result<VaultConfig, Vec<String>> {
        let files = BTreeMap::from([("vaults/v.toml".to_owned(), text.as_bytes().to_vec())]);
        let read = Desired::read(&files);
        read.map(|mut desired| desired.vaults.remove("v").unwrap()).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_vault_is_a_path_or_a_command_and_each_has_its_own_keys() {
        for (text, line, part) in [
            ("", "vaults/v.toml: ", "needs a path or a command"),
            ("path = \"/a\"\ncommand = [\"/b\"]\n", "vaults/v.toml:2: ", "not both"),
            ("path = \"/a\"\ntimeout_seconds = 5\n", "vaults/v.toml:2: ", "without a command"),
            ("path = \"/a\"\nenv = { A = \"1\" }\n", "vaults/v.toml:2: ", "without a command"),
            ("command = [\"/b\"]\nexclude = [\"c\"]\n", "vaults/v.toml:2: ", "with a command"),
            ("command = [\"pg_dump\", \"x\"]\n", "vaults/v.toml:1: ", "absolute path"),
            ("command = [\"/usr/../bin/x\"]\n", "vaults/v.toml:1: ", "absolute path"),
            ("command = [\"/b\", \"a\\u0000\"]\n", "vaults/v.toml:1: ", "NUL"),
            ("command = [\"/b\"]\ntimeout_seconds = 0\n", "vaults/v.toml:2: ", "from 1"),
            ("command = [\"/b\"]\nmin_bytes = 9\nmax_bytes = \"8 B\"\n", "vaults/v.toml:3: ", "no less than"),
            ("command = [\"/b\"]\noutput = \"../x\"\n", "vaults/v.toml:2: ", "a file's name"),
            ("command = [\"/b\"]\noutput = \".x\"\n", "vaults/v.toml:2: ", "a file's name"),
            ("command = [\"/b\"]\nsecret_env = [\"A\"]\nenv = { A = \"1\" }\n", "vaults/v.toml:2: ", "not both"),
            ("command = [\"/b\"]\nsecret_env = [\"A=B\"]\n", "vaults/v.toml:2: ", "name of a variable"),
            ("command = [\"/b\"]\n[env]\n\"A B\" = \"1\"\n", "vaults/v.toml:3: ", "no environment variable"),
        ] {
            let faults = read(text).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(line) && faults[0].contains(part), "{text}: {faults:?}");
        }
    }

    #[test]
    fn sizes_are_numbers_or_texts_and_what_is_written_reads_back_the_same() {
        let text = "command = [\"/usr/bin/pg_dump\", \"-Fc\", \"a b\"]\nsecret_env = [\"PGPASSWORD\"]\nmin_bytes = 512\nmax_bytes = \"2 GiB\"\n\
                    output = \"notes.dump\"\ntimeout_seconds = 60\n[env]\nPGHOST = \"db\"\n";
        let vault = read(text).unwrap();
        assert_eq!((vault.min_bytes.0, vault.max_bytes.0), (512, 2 << 30));
        assert_eq!(read(&vault.to_toml().unwrap()).unwrap(), vault);
        let plain = read("command = [\"/b\"]\n").unwrap();
        assert_eq!(
            (plain.timeout_seconds, plain.min_bytes.0, plain.max_bytes.0, plain.output.as_str()),
            (3600, 1, 64 << 30, "output")
        );
        assert_eq!(plain.to_toml().unwrap().trim(), "command = [\"/b\"]", "what is as by default is not written");
    }
}
