//! Desired state: the types of the files under `config/`, one file per section. Unknown keys are refused and all faults are
//! reported together with file and line. Never holds a secret, and never decides anything.

pub mod alerts;
pub mod bucket;
mod check;
mod check_alerts;
mod check_credentials;
mod check_server;
mod check_vault;
pub mod client;
pub mod command_issuer;
pub mod credentials;
pub mod definitions;
pub mod desired;
mod document;
pub mod edge;
pub mod http_issuer;
pub mod issuer;
pub mod paths;
pub mod policy_tests;
pub mod postgres;
pub mod repo;
pub mod role;
pub mod schedules;
pub mod server;
pub mod settings;
pub mod space;
#[cfg(test)]
mod tests;
pub mod vault;

pub use bucket::BucketConfig;
pub use check_server::check_tool_name;
pub use client::{ClientConfig, ClientJwk};
pub use desired::{ConfigFault, Desired};
pub use issuer::IssuerConfig;
pub use paths::DataDir;
pub use role::{GrantConfig, RoleConfig};
pub use server::{Class, ServerConfig, ToolConfig, UpstreamConfig};
pub use settings::Settings;
pub use vault::VaultConfig;
