//! What a server is started with: its vault, its user, its environment. Never more of Lifeboat's own environment than nothing.

use std::path::{Path, PathBuf};

use crate::config::UpstreamConfig;
use crate::policy::snapshot::ServerEntry;
use crate::proxy::sandbox::{self, DEMO_PROGRAM, Params};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Everything the child's thread needs.
pub(super) struct Launch {
    pub(super) name: String,
    pub(super) exe: PathBuf,
    pub(super) command: Vec<String>,
    pub(super) params: Params,
    /// Values that must not reach the log.
    pub(super) secrets: Vec<String>,
}

/// Makes the vault ready and puts the parameters together. Blocks on the file system.
///
/// # Errors
/// A sentence for the operator.
pub(super) fn launch(entry: &ServerEntry, data: &Path, exe: &Path) -> Result<Launch, String> {
    let UpstreamConfig::Stdio(stdio) = &entry.config.upstream else {
        return Err("this is no stdio server".to_owned());
    };
    let program = stdio.command.first().ok_or("the command is empty")?;
    let data = std::path::absolute(data).map_err(|fault| fault.to_string())?;
    let uid = sandbox::may_change().then(|| sandbox::uid_of(&entry.name));
    let vault = sandbox::prepare_vault(&data, &entry.name, uid)?;
    let text = |path: PathBuf| path.into_os_string().into_string().map_err(|_| "the data directory has no UTF-8 name".to_owned());
    let mut env = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), text(vault.clone())?),
        ("TMPDIR".to_owned(), text(vault.join("tmp"))?),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ];
    if program == DEMO_PROGRAM {
        env.push(("LIFEBOAT_MEMORY_FILE".to_owned(), text(vault.join("memory.jsonl"))?));
    }
    let declared = stdio.env.iter().map(|(name, value)| (name.clone(), value.clone()));
    let sealed: Vec<_> = entry.secrets.env.iter().map(|(name, value)| (name.clone(), value.reveal().clone())).collect();
    let secrets = sealed.iter().map(|(_, value)| value.clone()).collect();
    for (name, value) in declared.chain(sealed) {
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    }
    let dirs = stdio.dirs.iter().map(PathBuf::from).collect();
    let params = Params { parent: std::process::id(), data, vault, uid, env, dirs, probe: false };
    Ok(Launch { name: entry.name.to_string(), exe: exe.to_path_buf(), command: stdio.command.clone(), params, secrets })
}
