//! The whole desired state, read from the files of one tree. Never touches the disk: it is given names and bytes.

use std::collections::BTreeMap;
use std::fmt;

use super::{ClientConfig, RoleConfig, ServerConfig, Settings};

/// Every section, keyed by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// `lifeboat.toml`.
    pub settings: Settings,
    /// `servers/NAME.toml`.
    pub servers: BTreeMap<String, ServerConfig>,
    /// `clients/NAME.toml`.
    pub clients: BTreeMap<String, ClientConfig>,
    /// `roles/NAME.toml`.
    pub roles: BTreeMap<String, RoleConfig>,
}

/// One thing that is wrong in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Path inside `config/`.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}:{}: {}", self.file, self.line, self.message)
        }
    }
}
