//! What this host keeps about a command: its variables, sealed for the one vault, and the digest of the command line that is approved. Never
//! gives a value to anybody but the command.

use std::collections::BTreeMap;

use super::store;
use crate::admin::command;
use crate::admin::servers::names_of;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy;
use crate::base::secret::Secret;
use crate::config::VaultConfig;
use crate::crypto::seal::InstanceKey;
use crate::db::Db;

/// What a host approves: the program with its arguments, every plain variable with its value (a variable can make a program run other code),
/// and the names of the kept ones. Hex SHA-256.
pub(in crate::admin::vaults) fn digest(vault: &VaultConfig) -> String {
    let mut kept = vault.secret_env.clone();
    kept.sort();
    command::digest(&serde_json::json!([vault.command, vault.env, kept]))
}

/// The vault's name is bound in, so that a row cannot be moved to another vault.
fn label(vault: &str) -> String {
    format!("vault:{vault}")
}

/// What is kept for a vault.
///
/// # Errors
/// When it cannot be read or does not open.
pub(super) async fn kept(db: &Db, sealer: &InstanceKey, vault: &str) -> Verb<BTreeMap<String, Secret<String>>> {
    let Some(sealed) = store::secret(db, vault).await? else { return Ok(BTreeMap::new()) };
    let plain = sealer.open(&label(vault), &sealed)?;
    let pairs: Vec<(String, String)> =
        serde_json::from_slice(plain.reveal()).map_err(|e| Fault::bug("sealed variables cannot be understood").because(e))?;
    Ok(pairs.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

/// Replaces what is kept for a vault.
///
/// # Errors
/// When it cannot be sealed or stored.
pub(super) async fn keep(
    db: &Db,
    (sealer, entropy, now): (&InstanceKey, &dyn Entropy, Timestamp),
    vault: &str,
    pairs: &[(String, String)],
) -> Verb<()> {
    let plain = serde_json::to_vec(pairs).map_err(|e| Fault::bug("variables cannot be written").because(e))?;
    store::set_secret(db, vault, &sealer.seal(&label(vault), &plain, entropy)?, now).await
}

/// Whether the variables that are given are those that the configuration says are due.
///
/// # Errors
/// `Invalid`, naming the one that is not.
pub(super) fn due(vault: &str, config: &VaultConfig, given: &[(String, String)]) -> Verb<()> {
    match names_of(given).into_iter().find(|name| !config.secret_env.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Fault::invalid("env", format!("{name} is no name in secret_env of vaults/{vault}.toml"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_other_code_run_changes_the_digest_and_nothing_else_does() {
        let config = VaultConfig { command: vec!["/bin/a".into(), "b c".into()], ..VaultConfig::default() };
        let first = digest(&config);
        let changed = |change: fn(&mut VaultConfig)| {
            let mut other = config.clone();
            change(&mut other);
            digest(&other)
        };
        for change in [
            |v: &mut VaultConfig| v.command[0].push('x'),
            |v: &mut VaultConfig| v.command = vec!["/bin/a".into(), "b".into(), "c".into()],
            |v: &mut VaultConfig| drop(v.env.insert("LD_PRELOAD".into(), "/tmp/x.so".into())),
            |v: &mut VaultConfig| v.secret_env.push("LD_PRELOAD".into()),
        ] {
            assert_ne!(changed(change), first);
        }
        assert_eq!(changed(|v| (v.timeout_seconds, v.output) = (5, "x".into())), first);
        let two = |names: [&str; 2]| digest(&VaultConfig { secret_env: names.map(Into::into).into(), ..config.clone() });
        assert_eq!(two(["A", "B"]), two(["B", "A"]), "their order means nothing");
    }
}
