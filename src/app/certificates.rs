//! Which certificate both planes show: the organisation's files that `tls.cert` and `tls.key` name, or one of Lifeboat's own CA, which is
//! renewed here in good time. Never renews a certificate that somebody else's authority signed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::{DataDir, Settings};
use crate::crypto::ca::{self, Ensured};
use crate::crypto::files::read;
use crate::crypto::tls::{Pair, ServerTls};

const LOOK: Duration = Duration::from_secs(3_600);

/// The files to serve.
pub(super) fn files(settings: &Settings, data: &DataDir) -> Pair {
    match (&settings.tls.cert, &settings.tls.key) {
        (Some(cert), Some(key)) => Pair { cert: cert.clone(), key: key.clone() },
        _ => own(data),
    }
}

fn own(data: &DataDir) -> Pair {
    Pair { cert: data.server_pem(), key: data.server_key() }
}

/// What both planes show from the start. Where the organisation's files cannot be served, Lifeboat's own certificate is, so that operators
/// get in and see why; it is loud, and the files are taken up once they can be.
///
/// # Errors
/// When not even Lifeboat's own certificate can be served.
pub(super) fn load(settings: &Settings, data: &DataDir) -> Verb<Arc<ServerTls>> {
    let (wanted, own) = (files(settings, data), own(data));
    match ServerTls::load(&wanted.cert, &wanted.key) {
        Ok(tls) => Ok(Arc::new(tls)),
        Err(fault) if wanted == own => Err(fault),
        Err(fault) => {
            tracing::error!(%fault, "Lifeboat's own certificate is served instead of the configured one");
            let tls = ServerTls::load(&own.cert, &own.key)?;
            tls.aim(wanted);
            // The first look says what is wrong to whoever asks for the health.
            drop(tls.reload());
            Ok(Arc::new(tls))
        }
    }
}

/// Looks at the files, whichever the settings name, for as long as Lifeboat runs.
pub(super) async fn watch(admin: Arc<Admin>, tls: Arc<ServerTls>, stop: CancellationToken) {
    let named = move || files(&admin.feed.snapshot().settings, &admin.data);
    let report = |reloaded: Verb<()>| match reloaded {
        Ok(()) => tracing::info!("certificates changed and were read anew"),
        Err(fault) => tracing::error!(%fault, "the old certificate stays"),
    };
    (*tls).clone().watch(stop, named, report).await;
}

/// Renews Lifeboat's own certificate before it ends, for as long as Lifeboat runs.
pub(super) async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let (data, settings, now) = (admin.data.clone(), admin.feed.snapshot().settings.clone(), admin.clock.now());
        let renewed = tokio::task::spawn_blocking(move || renew(&settings, &data, now)).await;
        match renewed.unwrap_or_else(|cause| Err(Fault::bug("renewing the certificate panicked").because(cause))) {
            Ok(Ensured::Issued) => {
                tracing::info!("the certificate was renewed");
                if let Err(fault) = admin.record(Event::system("tls.renew", "tls/server.pem")).await {
                    tracing::error!(%fault, "nobody wrote down that the certificate was renewed");
                }
            }
            Ok(Ensured::Kept | Ensured::Foreign) => {}
            Err(fault) => tracing::error!(%fault, "the certificate cannot be renewed"),
        }
    }
}

/// Renews it when 30 days are left or a host has come.
fn renew(settings: &Settings, data: &DataDir, now: Timestamp) -> Verb<Ensured> {
    let is_own_key =
        |key: &Path| std::fs::canonicalize(key).is_ok_and(|key| Ok(key) == data.server_key().canonicalize().map_err(drop));
    // A new key would not fit the organisation's certificate for this one.
    if settings.tls.key.as_deref().is_some_and(is_own_key) {
        return Ok(Ensured::Foreign);
    }
    let hosts = &settings.listen.hosts;
    let authority = ca::ensure_ca(&data.ca_pem(), &data.ca_key(), hosts, now)?;
    ca::ensure_server(&authority, &data.server_pem(), &data.server_key(), hosts, now)
}

/// A request for a certificate of every configured name, with the key that is or would be served.
#[derive(Debug)]
pub struct SigningRequest {
    /// PKCS #10, PEM.
    pub pem: String,
    /// The names in it.
    pub hosts: Vec<String>,
    /// The key it was signed with; its certificate needs this one as `tls.key`.
    pub key: String,
}

/// Makes the request from the files alone, whether or not Lifeboat runs.
///
/// # Errors
/// When there is no Lifeboat, its configuration is invalid, or the key cannot be read or used.
pub fn signing_request(data: &DataDir) -> Verb<SigningRequest> {
    let settings = super::open::strict_settings(data)?;
    let path = files(&settings, data).key;
    let key = read(&path)?.ok_or_else(|| Fault::not_found(format!("{} is not there", path.display())))?;
    let key = zeroize::Zeroizing::new(key);
    let hosts = settings.certificate_names();
    let pem = ca::request(&key, &hosts)?;
    Ok(SigningRequest { pem, hosts, key: std::path::absolute(&path).unwrap_or(path).display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, SystemClock};

    const DAY_MS: i64 = 86_400_000;

    fn first_run() -> (tempfile::TempDir, DataDir) {
        crate::crypto::tls::install();
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        data.create().unwrap();
        assert_eq!(renew(&Settings::default(), &data, SystemClock.now()).unwrap(), Ensured::Issued);
        (dir, data)
    }

    fn with_files(cert: &Path, key: &Path) -> Settings {
        toml::from_str(&format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display())).unwrap()
    }

    #[test]
    fn flt_16_the_own_certificate_is_renewed_a_month_before_its_end() {
        let (_dir, data) = first_run();
        let after = |days: i64| SystemClock.now().plus_ms(days * DAY_MS);
        assert_eq!(renew(&Settings::default(), &data, after(360)).unwrap(), Ensured::Kept);
        assert_eq!(renew(&Settings::default(), &data, after(370)).unwrap(), Ensured::Issued);
    }

    #[test]
    fn the_key_of_an_organisations_certificate_is_left_alone() {
        let (_dir, data) = first_run();
        let before = std::fs::read(data.server_key()).unwrap();
        let settings = with_files(&data.tls().join("theirs.pem"), &data.server_key());
        assert_eq!(renew(&settings, &data, SystemClock.now().plus_ms(370 * DAY_MS)).unwrap(), Ensured::Foreign);
        assert_eq!(std::fs::read(data.server_key()).unwrap(), before);
    }

    #[test]
    fn files_that_cannot_be_served_leave_the_own_certificate_until_they_can() {
        let (dir, data) = first_run();
        let (cert, key) = (dir.path().join("theirs.pem"), dir.path().join("theirs.key"));
        let settings = with_files(&cert, &key);
        let tls = load(&settings, &data).unwrap();
        let served = tls.served().unwrap();
        assert!(served.trouble.is_some_and(|trouble| trouble.contains("theirs.pem")), "it says which file");
        assert_eq!(served.files.cert, cert);
        let authority = ca::ensure_ca(&data.ca_pem(), &data.ca_key(), &settings.listen.hosts, SystemClock.now()).unwrap();
        let (chain, secret) = authority.issue_server(&settings.listen.hosts, SystemClock.now()).unwrap();
        std::fs::write(&cert, &chain).unwrap();
        std::fs::write(&key, secret.as_bytes()).unwrap();
        tls.reload().unwrap();
        assert_eq!(tls.served().unwrap().trouble, None);
        assert_eq!(load(&settings, &data).unwrap().fingerprint(), tls.fingerprint());
    }
}
