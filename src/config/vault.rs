//! `vaults/NAME.toml`: one memory store to protect, as a path or as the output of a command. A stdio server's own folder is a vault without a
//! file here. Never holds a secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::base::size::ByteSize;

/// Name of the vault that is the deployment itself.
pub const DEPLOYMENT: &str = "lifeboat";

/// The whole of `vaults/NAME.toml`: either `path` or `command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// A directory or a file, as an absolute path. SQLite databases in it are copied consistently while they are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Program and arguments whose output is the content, such as `["/usr/bin/pg_dump", "-Fc", "notes"]`. The program is an absolute path, no
    /// shell reads them, and they start only where they were approved (`vault add`, `vault approve`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The server whose memory it is: it is stopped while the vault is swapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Paths inside the directory that are left out, such as a cache. With `path` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Names of variables that each host must keep a value for (`vault approve NAME --env-file FILE`). With `command` only, like all below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Seconds after which the command is ended and its backup has failed.
    #[serde(default = "timeout_seconds", skip_serializing_if = "is_timeout_seconds")]
    pub timeout_seconds: u64,
    /// Less output than this is a failure. A number of bytes, or a size.
    #[serde(default = "min_bytes", deserialize_with = "size_or_number", skip_serializing_if = "is_min_bytes")]
    pub min_bytes: ByteSize,
    /// More output than this is a failure. A number of bytes, or a size.
    #[serde(default = "max_bytes", deserialize_with = "size_or_number", skip_serializing_if = "is_max_bytes")]
    pub max_bytes: ByteSize,
    /// Name of the file in the archive. Output of more than 64 MiB becomes `NAME.part-000001` and so on.
    #[serde(default = "output", skip_serializing_if = "is_output")]
    pub output: String,
    /// Variables of the command's environment that are no secrets. It has these, the kept ones, `PATH` and `LANG`, and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Default for VaultConfig {
    fn default() -> Self {
        Self {
            path: None,
            command: Vec::new(),
            server: None,
            exclude: Vec::new(),
            secret_env: Vec::new(),
            timeout_seconds: timeout_seconds(),
            min_bytes: min_bytes(),
            max_bytes: max_bytes(),
            output: output(),
            env: BTreeMap::new(),
        }
    }
}

fn timeout_seconds() -> u64 {
    3600
}

fn min_bytes() -> ByteSize {
    ByteSize(1)
}

fn max_bytes() -> ByteSize {
    ByteSize::mib(64 * 1024)
}

fn output() -> String {
    "output".to_owned()
}

fn is_timeout_seconds(seconds: &u64) -> bool {
    *seconds == timeout_seconds()
}

fn is_min_bytes(size: &ByteSize) -> bool {
    *size == min_bytes()
}

fn is_max_bytes(size: &ByteSize) -> bool {
    *size == max_bytes()
}

fn is_output(name: &String) -> bool {
    *name == output()
}

fn size_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Number(bytes) => Ok(ByteSize(bytes)),
        Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}
