//! The whole desired state, read from the files of one tree. Never touches the disk: it is given names and bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;

use super::alerts::{Alerting, FILE as ALERTS};
use super::credentials::{Credentials, FILE as CREDENTIALS};
use super::definitions::{self, Definitions};
use super::document::{self, Document};
use super::schedules::{FILE as SCHEDULES, Schedules};
use super::{
    ClientConfig, RoleConfig, ServerConfig, Settings, VaultConfig, check, check_alerts, check_credentials, check_server,
    check_vault,
};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;

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
    /// `vaults/NAME.toml`.
    pub vaults: BTreeMap<String, VaultConfig>,
    /// `schedules.toml`.
    pub schedules: Schedules,
    /// `alerts.toml`.
    pub alerts: Alerting,
    /// `credentials.toml`.
    pub credentials: Credentials,
    /// What the definitions in `tools/SERVER/TOOL.json` ask of calls.
    pub definitions: Definitions,
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

impl ConfigFault {
    /// All faults as one fault of a verb; its place is the first of them.
    pub fn join(faults: &[Self]) -> Fault {
        let place =
            faults.first().map(|fault| if fault.line == 0 { fault.file.clone() } else { format!("{}:{}", fault.file, fault.line) });
        let lines: Vec<String> = match faults {
            [one] => vec![one.message.clone()],
            // The first one's place stands before the sentence already.
            [first, rest @ ..] => std::iter::once(first.message.clone()).chain(rest.iter().map(Self::to_string)).collect(),
            [] => Vec::new(),
        };
        Fault::invalid(place.unwrap_or_else(|| "config".into()), lines.join("; "))
    }
}

/// The file of the settings.
pub const SETTINGS: &str = "lifeboat.toml";
/// Files at the top that other versions and other parts read.
const OTHER_FILES: [&str; 1] = ["waivers.toml"];
/// Folders that other versions and other parts read.
const OTHER_FOLDERS: [&str; 6] = ["tools", "exceptions", "policy-tests", "templates", "runbooks", "reviews"];

impl Desired {
    /// Reads the files of one tree, given by their path inside `config/`. A missing `lifeboat.toml` means the defaults.
    ///
    /// # Errors
    /// Every fault of every file, by file and line.
    pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, Vec<ConfigFault>> {
        let mut desired = Self::default();
        let mut faults = Vec::new();
        let (roles, servers) = (names(files, "roles/"), names(files, "servers/"));
        for (file, bytes) in files {
            match Place::of(file) {
                Place::Settings => {
                    desired.settings = section(file, bytes, &mut faults, check::settings).unwrap_or_default();
                }
                Place::Schedules => {
                    desired.schedules = section(file, bytes, &mut faults, check::schedules).unwrap_or_default();
                }
                Place::Alerts => {
                    desired.alerts = section(file, bytes, &mut faults, check_alerts::alerts).unwrap_or_default();
                }
                Place::Credentials => {
                    desired.credentials = section(file, bytes, &mut faults, check_credentials::credentials).unwrap_or_default();
                }
                Place::Server(name) => {
                    let read = named(file, name, bytes, &mut faults, check_server::server);
                    desired.servers.extend(read);
                }
                Place::Client(name) => {
                    let read = named(file, name, bytes, &mut faults, |document, client: &ClientConfig, faults| {
                        check::client(document, client, &roles, faults);
                    });
                    desired.clients.extend(read);
                }
                Place::Role(name) => {
                    let read = named(file, name, bytes, &mut faults, check::role);
                    desired.roles.extend(read);
                }
                Place::Vault(name) => {
                    let read = named(file, name, bytes, &mut faults, |document, vault: &VaultConfig, faults| {
                        check_vault::vault(document, (name, vault), &servers, faults);
                    });
                    desired.vaults.extend(read);
                }
                Place::Other => definitions::add(&mut desired.definitions, file, bytes),
                Place::Unknown(message) => faults.push(ConfigFault { file: file.clone(), line: 0, message: message.into() }),
            }
        }
        if faults.is_empty() { Ok(desired) } else { Err(faults) }
    }
}

/// The names that the files of a folder give.
fn names<'a>(files: &'a BTreeMap<String, Vec<u8>>, folder: &str) -> BTreeSet<&'a str> {
    files.keys().filter_map(|file| file.strip_prefix(folder).and_then(|rest| rest.strip_suffix(".toml"))).collect()
}

/// What a file's path says it is.
enum Place<'a> {
    Settings,
    Schedules,
    Alerts,
    Credentials,
    Server(&'a str),
    Client(&'a str),
    Role(&'a str),
    Vault(&'a str),
    Other,
    Unknown(&'static str),
}

impl<'a> Place<'a> {
    fn of(file: &'a str) -> Self {
        let Some((folder, rest)) = file.split_once('/') else {
            return match file {
                SETTINGS => Self::Settings,
                SCHEDULES => Self::Schedules,
                ALERTS => Self::Alerts,
                CREDENTIALS => Self::Credentials,
                known if OTHER_FILES.contains(&known) => Self::Other,
                toml if toml.ends_with(".toml") => Self::Unknown("no such file is known; see docs/CONFIG.md for the names"),
                _ => Self::Other,
            };
        };
        if OTHER_FOLDERS.contains(&folder) {
            return Self::Other;
        }
        let name = rest.strip_suffix(".toml").filter(|name| !name.contains('/'));
        match (folder, name) {
            ("servers", Some(name)) => Self::Server(name),
            ("clients", Some(name)) => Self::Client(name),
            ("roles", Some(name)) => Self::Role(name),
            ("vaults", Some(name)) => Self::Vault(name),
            ("servers" | "clients" | "roles" | "vaults", None) => Self::Unknown("in this folder a file is called NAME.toml"),
            _ if file.ends_with(".toml") => Self::Unknown("no such folder is known; known are servers, clients, roles and vaults"),
            _ => Self::Other,
        }
    }
}

/// Reads one file and checks what it means.
fn section<T: DeserializeOwned>(
    file: &str,
    bytes: &[u8],
    faults: &mut Vec<ConfigFault>,
    check: impl FnOnce(&Document<'_>, &T, &mut Vec<ConfigFault>),
) -> Option<T> {
    let read = Document::parse(file, bytes).and_then(|document| document.read::<T>().map(|value| (document, value)));
    match read {
        Ok((document, value)) => {
            check(&document, &value, faults);
            Some(value)
        }
        Err(found) => {
            faults.extend(found);
            None
        }
    }
}

fn named<T: DeserializeOwned>(
    file: &str,
    name: &str,
    bytes: &[u8],
    faults: &mut Vec<ConfigFault>,
    check: impl FnOnce(&Document<'_>, &T, &mut Vec<ConfigFault>),
) -> Option<(String, T)> {
    if let Err(message) = check_name(name) {
        faults.push(ConfigFault { file: file.to_owned(), line: 0, message: message.into() });
    }
    section(file, bytes, faults, check).map(|value| (name.to_owned(), value))
}

impl Settings {
    /// The text of `lifeboat.toml`.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Verb<String> {
        document::write(self)
    }
}

impl Schedules {
    /// The text of `schedules.toml`.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Verb<String> {
        document::write(self)
    }
}

impl ServerConfig {
    /// The path of a server's file inside `config/`.
    pub fn path(name: &str) -> String {
        format!("servers/{name}.toml")
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Verb<String> {
        document::write(self)
    }
}

impl ClientConfig {
    /// The path of a client's file inside `config/`.
    pub fn path(name: &str) -> String {
        format!("clients/{name}.toml")
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Verb<String> {
        document::write(self)
    }
}

impl VaultConfig {
    /// The path of a vault's file inside `config/`.
    pub fn path(name: &str) -> String {
        format!("vaults/{name}.toml")
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Verb<String> {
        document::write(self)
    }
}

impl RoleConfig {
    /// The path of a role's file inside `config/`.
    pub fn path(name: &str) -> String {
        format!("roles/{name}.toml")
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Verb<String> {
        document::write(self)
    }
}
