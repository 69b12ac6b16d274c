//! What this host keeps about a server and git must not: headers and variables, sealed; the digest of an approved command line. Never
//! gives a value to anybody but the snapshot.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::model::ServerKeep;
use super::store;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy;
use crate::base::secret::Secret;
use crate::config::server::StdioUpstream;
use crate::config::{Desired, UpstreamConfig};
use crate::crypto::keys::sha256;
use crate::crypto::seal::InstanceKey;
use crate::crypto::tls::client_pair;
use crate::db::Db;
use crate::policy::snapshot::ServerSecrets;

/// Headers and variables as they are sealed.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Variable names and values.
    pub env: Vec<(String, String)>,
    /// Client certificate chain and private key, PEM.
    #[serde(default)]
    pub client: Option<String>,
}

impl Kept {
    /// Takes over what is given: the text of a header file, of a variable file, a client certificate with its key. An empty text means none;
    /// what is not given stays.
    pub(super) fn take(&mut self, secrets: &ServerKeep) -> Verb<()> {
        if let Some(text) = &secrets.headers {
            self.headers = read_headers(text)?;
        }
        if let Some(text) = &secrets.env {
            self.env = read_env(text)?;
        }
        if let Some(pem) = &secrets.client {
            let given = !pem.trim().is_empty();
            if given {
                client_pair(pem).map_err(|why| Fault::invalid("client", why))?;
            }
            self.client = given.then(|| pem.clone());
        }
        Ok(())
    }

    /// What this host keeps for a server now.
    pub(super) async fn of(db: &Db, sealer: &InstanceKey, server: &str) -> Verb<Self> {
        let sealed = store::secrets(db).await?;
        Ok(sealed.get(server).map(|row| Self::open(sealer, server, row)).transpose()?.unwrap_or_default())
    }

    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.env.is_empty() && self.client.is_none()
    }

    /// Sealed for the database; the server's name is bound in, so that a row cannot be moved to another server.
    pub(super) fn seal(&self, sealer: &InstanceKey, server: &str, entropy: &dyn Entropy) -> Verb<Vec<u8>> {
        let plain = serde_json::to_vec(self).map_err(|e| Fault::bug("secrets cannot be written").because(e))?;
        sealer.seal(&label(server), &plain, entropy)
    }

    fn open(sealer: &InstanceKey, server: &str, sealed: &[u8]) -> Verb<Self> {
        let plain = sealer.open(&label(server), sealed)?;
        serde_json::from_slice(plain.reveal()).map_err(|e| Fault::bug("sealed secrets cannot be understood").because(e))
    }

    /// As the snapshot holds it.
    pub(super) fn into_secrets(self, approved: bool) -> ServerSecrets {
        let wrap = |pairs: Vec<(String, String)>| pairs.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        ServerSecrets { approved, headers: wrap(self.headers), env: wrap(self.env), client: self.client.map(Secret::new) }
    }
}

/// Gives the variables that are kept for a server other values, in a deployment that does not run: `other` is asked for each by name and
/// value. Gives the name of a variable that it has none for; nothing is changed then.
///
/// # Errors
/// When they cannot be opened or stored.
pub(in crate::admin) async fn exchange_kept(
    db: &Db,
    (sealer, entropy, now): (&InstanceKey, &dyn Entropy, Timestamp),
    server: &str,
    mut other: impl FnMut(&str, &str) -> Option<String>,
) -> Verb<Option<String>> {
    let mut kept = Kept::of(db, sealer, server).await?;
    for (name, value) in &mut kept.env {
        match other(name, value) {
            Some(given) => *value = given,
            None => return Ok(Some(name.clone())),
        }
    }
    if !kept.env.is_empty() {
        store::set_secret(db, server, &kept.seal(sealer, server, entropy)?, now).await?;
    }
    Ok(None)
}

/// Servers for which nothing is kept any more, and since when. What an earlier copy of the database has for them was taken back.
///
/// # Errors
/// When the database does not answer or a sealed row cannot be opened.
pub(in crate::admin) async fn emptied(db: &Db, sealer: &InstanceKey) -> Verb<BTreeMap<String, Timestamp>> {
    let (sealed, mut stored) = (store::secrets(db).await?, store::stored(db).await?);
    let mut all = BTreeMap::new();
    for (server, row) in &sealed {
        if Kept::open(sealer, server, row)?.is_empty() {
            all.extend(stored.remove(server).map(|at| (server.clone(), Timestamp(at))));
        }
    }
    Ok(all)
}

fn label(server: &str) -> String {
    format!("server:{server}")
}

// Set by the proxy for every request; a configured one would break or forge them.
const OWN_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
    "accept",
    "mcp-session-id",
    "mcp-protocol-version",
    "last-event-id",
];

fn read_headers(text: &str) -> Verb<Vec<(String, String)>> {
    let at = |line: usize, message: &str| Fault::invalid(format!("headers:{line}"), message);
    let mut headers = Vec::new();
    for (number, line) in lines(text) {
        let (name, value) = line.split_once(':').ok_or_else(|| at(number, "a header is written Name: value"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        check_header(&name, value).map_err(|why| at(number, why))?;
        headers.push((name, value.to_owned()));
    }
    Ok(headers)
}

/// What `check_header` says of a header that the proxy sets for every request.
pub(super) const OWN: &str = "the proxy sets this header itself";

/// Whether a header, its name in lower case, may be added to requests.
///
/// # Errors
/// A sentence.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), &'static str> {
    if http::HeaderName::try_from(name).is_err() || http::HeaderValue::try_from(value).is_err() {
        return Err("this is no header");
    }
    if OWN_HEADERS.contains(&name) { Err(OWN) } else { Ok(()) }
}

/// Whether a variable may be given to a child.
///
/// # Errors
/// A sentence.
pub(super) fn check_variable(name: &str, value: &str) -> Result<(), &'static str> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
    if plain && !value.contains('\0') { Ok(()) } else { Err("this is no environment variable") }
}

/// Reads the text of a variable file.
///
/// # Errors
/// `Invalid`, naming the line.
pub(in crate::admin) fn read_env(text: &str) -> Verb<Vec<(String, String)>> {
    let at = |line: usize, message: &str| Fault::invalid(format!("env:{line}"), message);
    let mut env = Vec::new();
    for (number, line) in lines(text) {
        let (name, value) = line.split_once('=').ok_or_else(|| at(number, "a variable is written NAME=value"))?;
        check_variable(name, value).map_err(|why| at(number, why))?;
        env.push((name.to_owned(), value.to_owned()));
    }
    Ok(env)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// What a host approves: the program with its arguments, every plain variable with its value (a variable can make a program run other
/// code), the names of the kept ones, and the directories. Hex SHA-256.
pub(super) fn digest(upstream: &StdioUpstream, kept: &[String]) -> String {
    let text = serde_json::json!([upstream.command, upstream.env, kept, upstream.dirs]).to_string();
    sha256(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What this host adds to every server of a tree.
///
/// # Errors
/// When the database does not answer or a sealed row cannot be opened.
pub(in crate::admin) async fn running_secrets(
    db: &Db,
    sealer: &InstanceKey,
    desired: &Desired,
) -> Verb<HashMap<String, ServerSecrets>> {
    let sealed = store::secrets(db).await?;
    let approvals = store::approvals(db).await?;
    let mut all = HashMap::new();
    for (name, config) in &desired.servers {
        let kept = sealed.get(name).map(|row| Kept::open(sealer, name, row)).transpose()?.unwrap_or_default();
        let approved = match &config.upstream {
            UpstreamConfig::Http(_) => true,
            UpstreamConfig::Stdio(upstream) => approvals.get(name) == Some(&digest(upstream, &names(&kept.env))),
        };
        all.insert(name.clone(), kept.into_secrets(approved));
    }
    Ok(all)
}

/// The names of kept pairs, sorted.
pub(in crate::admin) fn names<T>(pairs: &[(String, T)]) -> Vec<String> {
    let mut names: Vec<String> = pairs.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// Splits a command line into words: quotes group, a backslash takes the next character as it is. Nothing else means anything.
///
/// # Errors
/// `Invalid` for an open quote, a trailing backslash, or no word at all.
pub(in crate::admin) fn words(line: &str) -> Verb<Vec<String>> {
    let wrong = |message: &str| Fault::invalid("stdio", message);
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => {
                let next = chars.next().ok_or_else(|| wrong("a backslash ends the command line"))?;
                word.get_or_insert_default().push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => all.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(wrong("a quote is not closed"));
    }
    all.extend(word);
    if all.is_empty() { Err(wrong("the command line is empty")) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_without_a_shell() {
        assert_eq!(words("npx -y 'a b' \"c \\\" d\" e\\ f \"\"").unwrap(), ["npx", "-y", "a b", "c \" d", "e f", ""]);
        assert_eq!(words("sh -c '$(rm) `x` \\'").unwrap(), ["sh", "-c", "$(rm) `x` \\"]);
        for bad in ["", "  ", "a 'b", "a \\"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_other_code_run_changes_the_digest() {
        let mut upstream = StdioUpstream { command: vec!["node".into()], ..Default::default() };
        let first = digest(&upstream, &[]);
        upstream.env.insert("NODE_OPTIONS".into(), "--require /tmp/x.js".into());
        let second = digest(&upstream, &[]);
        assert_ne!(first, second);
        assert_ne!(second, digest(&upstream, &["LD_PRELOAD".into()]));
        upstream.dirs.push("/srv".into());
        assert_ne!(second, digest(&upstream, &[]));
    }

    #[test]
    fn header_and_variable_files_are_read_line_by_line() {
        let read = |headers: Option<&str>, env: Option<&str>| {
            let mut kept = Kept::default();
            let given = ServerKeep { headers: headers.map(Into::into), env: env.map(Into::into), client: None };
            kept.take(&given).map(|()| kept)
        };
        let mut kept = read(Some("# token\nAuthorization: Bearer x\n\n"), Some("A_B=1=2\n")).unwrap();
        assert_eq!(kept.headers, [("authorization".to_owned(), "Bearer x".to_owned())]);
        assert_eq!(kept.env, [("A_B".to_owned(), "1=2".to_owned())]);
        kept.take(&ServerKeep { headers: Some(String::new()), ..Default::default() }).unwrap();
        assert_eq!((kept.headers.len(), kept.env.len()), (0, 1), "what is not given stays");
        assert_eq!(read(Some("\nno colon"), None).err().and_then(|f| f.place).as_deref(), Some("headers:2"));
        assert!(read(Some("Host: other"), None).is_err());
        assert!(read(None, Some("A B=1")).is_err());
    }
}
