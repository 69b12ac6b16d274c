//! The listeners' side: a certificate and key from files, exchanged while running. Never serves a certificate that does not fit its key, and
//! keeps the old pair when the new one is wrong.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::{VERSIONS, bad, provider};
use crate::base::fault::{Fault, Verb};

const POLL: Duration = Duration::from_secs(2);

/// What tells that a file is another one: a changed time alone can be missed within one tick of the clock.
type Stamp = [Option<(SystemTime, u64, u64)>; 2];

/// The certificate that is being served. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    seen: Mutex<Stamp>,
}

#[derive(Debug)]
struct Resolver(Arc<Inner>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

impl ServerTls {
    /// Loads the chain and its key, both PEM. Blocks.
    ///
    /// # Errors
    /// `Unavailable` when a file cannot be read; `Invalid` when one holds no certificate or key, or they do not fit.
    pub fn load(cert: &Path, key: &Path) -> Verb<Self> {
        let seen = stamp(cert, key);
        let current = ArcSwap::from_pointee(read(cert, key)?);
        Ok(Self(Arc::new(Inner { cert: cert.to_owned(), key: key.to_owned(), current, seen: Mutex::new(seen) })))
    }

    /// Reads the files again and serves them from the next handshake on. Blocks.
    ///
    /// # Errors
    /// As `load`; the pair before keeps being served.
    pub fn reload(&self) -> Verb<()> {
        let fresh = read(&self.0.cert, &self.0.key)?;
        self.0.current.store(Arc::new(fresh));
        Ok(())
    }

    /// SHA-256 of the certificate served now.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.0.current.load().cert.first().map(|cert| crate::crypto::keys::sha256(cert))
    }

    /// Looks at the files every 2 s until stopped and reloads when they change. A pair that does not fit is tried again each time, since
    /// the two files are rarely replaced in one moment; `report` hears of each success and of the first failure of each change.
    pub async fn watch(self, stop: CancellationToken, report: impl Fn(Verb<()>) + Send + 'static) {
        self.watch_every(POLL, stop, report).await;
    }

    pub(super) async fn watch_every(self, period: Duration, stop: CancellationToken, report: impl Fn(Verb<()>) + Send + 'static) {
        let mut failed = None;
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            let this = self.clone();
            let Ok(Some((now, result))) = tokio::task::spawn_blocking(move || this.look()).await else { continue };
            if result.is_err() && failed == Some(now) {
                continue;
            }
            failed = result.is_err().then_some(now);
            report(result);
        }
    }

    /// Reloads if the files are not those loaded last. `None` when they are.
    fn look(&self) -> Option<(Stamp, Verb<()>)> {
        let now = stamp(&self.0.cert, &self.0.key);
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return None;
        }
        let result = self.reload();
        if result.is_ok() {
            *seen = now;
        }
        Some((now, result))
    }

    /// The configuration of a listener, TLS 1.3 only. `alpn` such as `["h2", "http/1.1"]`.
    ///
    /// # Errors
    /// `Bug` when the provider lacks TLS 1.3.
    pub fn server_config(&self, alpn: &[&str]) -> Verb<Arc<ServerConfig>> {
        const WHAT: &str = "cannot set TLS up";
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(|e| bad(e, WHAT))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.0.clone())));
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| bad(e, WHAT))?;
        Ok(Arc::new(config))
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    [cert, key].map(|path| std::fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len(), m.ino()))))
}

fn read(cert: &Path, key: &Path) -> Verb<CertifiedKey> {
    let load =
        |path: &Path| std::fs::read(path).map_err(|e| Fault::unavailable(format!("cannot read {}", path.display())).because(e));
    let wrong = |path: &Path, message: &str| Fault::invalid(path.display().to_string(), message);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&load(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(cert, "holds no certificate chain in PEM"))?;
    if chain.is_empty() {
        return Err(wrong(cert, "holds no certificate in PEM"));
    }
    let secret = zeroize::Zeroizing::new(load(key)?);
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| wrong(key, "holds no private key in PEM"))?;
    let signer =
        provider().key_provider.load_private_key(secret).map_err(|_| wrong(key, "holds a kind of key that TLS cannot use"))?;
    let pair = CertifiedKey::new(chain, signer);
    pair.keys_match().map_err(|e| wrong(key, "does not fit the certificate").because(e))?;
    Ok(pair)
}
