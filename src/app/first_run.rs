//! The first run: makes what is missing and changes nothing else. Never asks a question, never overwrites a key.

use std::fmt::Write;

use super::planes::Planes;
use super::{Options, Welcome, demo};
use crate::admin::clients::texts::{self, Facts};
use crate::base::clock::{Clock, SystemClock};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::Settings;
use crate::config::edge::PublicUrl;
use crate::config::repo::{Author, Files, Repository};
use crate::crypto::files::{Readers, read, write};
use crate::crypto::random::SystemEntropy;
use crate::crypto::seal::InstanceKey;
use crate::crypto::{ca, recovery};

/// What this run made and must show once.
#[derive(Default)]
pub(super) struct FirstRun {
    /// The code for the setup page, while nobody has used it.
    pub setup_code: Option<Secret<String>>,
    /// The recovery identity, when it was made now.
    pub recovery_identity: Option<Secret<String>>,
    /// The demo client's key, when it was made now.
    pub demo_key: Option<Secret<String>>,
}

/// Completes keys, certificates and the configuration repository.
///
/// # Errors
/// When a file cannot be written, or what is there does not fit together.
pub(super) fn complete(options: &Options) -> Verb<FirstRun> {
    let data = &options.data;
    let now = SystemClock.now();
    let author = Author { name: "lifeboat up".into(), at: now };
    let repository = Repository::init(&data.config(), &author, &first_files(options)?)?;
    let settings = super::open::settings_of(&repository)?;
    let hosts = &settings.listen.hosts;
    let authority = ca::ensure_ca(&data.ca_pem(), &data.ca_key(), hosts, now)?;
    ca::ensure_server(&authority, &data.server_pem(), &data.server_key(), hosts, now)?;
    InstanceKey::ensure(&data.instance_key(), &SystemEntropy)?;
    Ok(FirstRun { recovery_identity: ensure_recovery(options)?, ..FirstRun::default() })
}

fn ensure_recovery(options: &Options) -> Verb<Option<Secret<String>>> {
    let data = &options.data;
    if read(&data.recovery_pub())?.is_some() {
        return Ok(None);
    }
    let made = recovery::create();
    write(&data.recovery_key(), format!("{}\n", made.identity.reveal()).as_bytes(), Readers::Owner)?;
    write(&data.recovery_pub(), format!("{}\n", made.recipient).as_bytes(), Readers::Owner)?;
    Ok(Some(made.identity))
}

fn first_files(options: &Options) -> Verb<Files> {
    let mut settings: Settings =
        toml::from_str(&options.settings).map_err(|cause| Fault::invalid("lifeboat.toml", cause.message().to_owned()))?;
    if let Some(admin) = &options.admin {
        settings.listen.admin.clone_from(admin);
    }
    if let Some(proxy) = &options.proxy {
        settings.listen.proxy.clone_from(proxy);
    }
    if !options.hosts.is_empty() {
        settings.listen.hosts.clone_from(&options.hosts);
    }
    let text = toml::to_string_pretty(&settings).map_err(|cause| Fault::bug("settings that cannot be written").because(cause))?;
    let mut files = Files::from([("lifeboat.toml".to_owned(), text.into_bytes())]);
    if options.demo {
        files.insert("waivers.toml".to_owned(), demo::WAIVERS.as_bytes().to_vec());
    }
    Ok(files)
}

/// Puts together what to tell, and writes the secrets to `keys/first-run.txt`.
///
/// # Errors
/// When that file cannot be written.
pub(super) fn welcome(options: &Options, planes: &Planes, first: FirstRun) -> Verb<Welcome> {
    let data = &options.data;
    let ca_path = std::fs::canonicalize(data.ca_pem()).unwrap_or_else(|_| data.ca_pem());
    let ca_pem = read(&data.ca_pem())?.unwrap_or_default();
    let settings = &planes.settings;
    let host = settings.listen.hosts.first().map_or("localhost", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let public =
        |url: Option<&PublicUrl>, port: u16| url.map_or_else(|| format!("https://{host}:{port}"), |url| url.as_str().to_owned());
    let mut told = Welcome {
        dashboard: public(settings.dashboard_url.as_ref(), planes.admin_address.port()),
        proxy: public(settings.public_url.as_ref(), planes.proxy_address.port()),
        ca: ca_path.display().to_string(),
        ca_sha256: ca::fingerprint_sha256(&String::from_utf8_lossy(&ca_pem)).unwrap_or_default(),
        secrets: String::new(),
        secrets_file: data.first_run().display().to_string(),
    };
    if first.setup_code.is_none() && first.recovery_identity.is_none() && first.demo_key.is_none() {
        return Ok(told);
    }
    told.secrets = secrets(&told, &first);
    // What an earlier first run wrote stays readable until the operator removes it.
    let mut whole = read(&data.first_run())?.map_or_else(String::new, |old| String::from_utf8_lossy(&old).into_owned() + "\n");
    whole.push_str(&told.secrets);
    write(&data.first_run(), whole.as_bytes(), Readers::Owner)?;
    Ok(told)
}

fn secrets(told: &Welcome, first: &FirstRun) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name}: {value}").unwrap_or_default();
    line("dashboard", &told.dashboard);
    line("proxy", &told.proxy);
    if let Some(code) = &first.setup_code {
        line("setup-code", code.reveal());
    }
    line("ca", &told.ca);
    line("ca-sha256", &told.ca_sha256);
    if let Some(identity) = &first.recovery_identity {
        line("recovery-identity (keep it off this machine)", identity.reveal());
    }
    let Some(key) = &first.demo_key else { return text };
    line("demo-client key", key.reveal());
    let url = format!("{}/mcp/{}", told.proxy, demo::DEMO);
    let facts = Facts { url: &url, ca: &told.ca, key: key.reveal(), tool: Some(demo::TOOL) };
    let snippets = [("python", texts::python(&facts)), ("typescript", texts::typescript(&facts)), ("curl", texts::curl(&facts))];
    for (name, snippet) in snippets {
        writeln!(text, "\n--- snippet: {name} ---\n{snippet}--- end ---").unwrap_or_default();
    }
    text
}
