//! The listeners' side: a certificate and key from files, exchanged while running. Never takes a certificate up that does not fit its
//! key or is out of its time: the old pair stays then.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::{VERSIONS, bad, provider};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::fault::{Fault, Verb};
use crate::crypto::ca::{self, Described};

const POLL: Duration = Duration::from_secs(2);

/// What tells that a file is another one: a changed time alone can be missed within one tick of the clock.
type Stamp = [Option<(SystemTime, u64, u64)>; 2];

/// The certificate that is being served. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Mutex<Pair>,
    current: ArcSwap<CertifiedKey>,
    /// `None`: whatever is there has not been looked at.
    seen: Mutex<Option<Stamp>>,
    trouble: Mutex<Option<String>>,
}

/// Where a certificate and its key stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The chain in PEM, its own certificate first.
    pub cert: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// What is being served, and what is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Where its successor is looked for.
    pub files: Pair,
    /// What the certificate says.
    pub certificate: Described,
    /// Why the files are not what is served; `None` when they are.
    pub trouble: Option<String>,
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
    /// `Unavailable` when a file cannot be read; `Invalid` when one holds no certificate or key, they do not fit, or it is not the
    /// certificate's time.
    pub fn load(cert: &Path, key: &Path) -> Verb<Self> {
        let files = Pair { cert: cert.to_owned(), key: key.to_owned() };
        let seen = stamp(&files);
        let current = ArcSwap::from_pointee(read(&files, SystemClock.now())?);
        let inner = Inner { files: Mutex::new(files), current, seen: Mutex::new(Some(seen)), trouble: Mutex::default() };
        Ok(Self(Arc::new(inner)))
    }

    /// Takes other files as the ones to serve; they are read at the next look. Until they can be, what is served now stays.
    pub fn aim(&self, files: Pair) {
        let mut aimed = locked(&self.0.files);
        if *aimed != files {
            *aimed = files;
            *locked(&self.0.seen) = None;
        }
    }

    /// Reads the files again and serves them from the next handshake on. Blocks.
    ///
    /// # Errors
    /// As `load`; the pair before keeps being served.
    pub fn reload(&self) -> Verb<()> {
        let files = locked(&self.0.files).clone();
        let fresh = read(&files, SystemClock.now());
        *locked(&self.0.trouble) = fresh.as_ref().err().map(ToString::to_string);
        self.0.current.store(Arc::new(fresh?));
        Ok(())
    }

    /// What is being served; `None` when it is no certificate that can be read.
    pub fn served(&self) -> Option<Served> {
        let certificate = ca::describe_der(self.0.current.load().cert.first()?)?;
        Some(Served { files: locked(&self.0.files).clone(), certificate, trouble: locked(&self.0.trouble).clone() })
    }

    /// SHA-256 of the certificate served now.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.0.current.load().cert.first().map(|cert| crate::crypto::keys::sha256(cert))
    }

    /// Looks every 2 s until stopped and reloads when the files change or `files` names others. A pair that does not fit is tried again
    /// each time, since the two files are rarely replaced in one moment; `report` hears of each success and of the first failure of each
    /// change.
    pub async fn watch(self, stop: CancellationToken, files: impl Fn() -> Pair + Send, report: impl Fn(Verb<()>) + Send + 'static) {
        self.watch_every(POLL, stop, files, report).await;
    }

    pub(super) async fn watch_every(
        self,
        period: Duration,
        stop: CancellationToken,
        files: impl Fn() -> Pair + Send,
        report: impl Fn(Verb<()>) + Send + 'static,
    ) {
        let mut failed = None;
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            self.aim(files());
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
        let now = stamp(&locked(&self.0.files));
        if *locked(&self.0.seen) == Some(now) {
            return None;
        }
        let result = self.reload();
        if result.is_ok() {
            *locked(&self.0.seen) = Some(now);
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(files: &Pair) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    [&files.cert, &files.key].map(|path| std::fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len(), m.ino()))))
}

fn read(Pair { cert, key }: &Pair, now: Timestamp) -> Verb<CertifiedKey> {
    let load =
        |path: &Path| std::fs::read(path).map_err(|e| Fault::unavailable(format!("cannot read {}", path.display())).because(e));
    let wrong = |path: &Path, message: &str| Fault::invalid(path.display().to_string(), message);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&load(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(cert, "holds no certificate chain in PEM"))?;
    let Some(first) = chain.first() else { return Err(wrong(cert, "holds no certificate in PEM")) };
    let found = ca::describe_der(first).ok_or_else(|| wrong(cert, "holds a certificate that cannot be read"))?;
    if found.not_after <= now {
        return Err(wrong(cert, &format!("holds a certificate that ended on {}", found.not_after)));
    }
    if found.not_before > now {
        return Err(wrong(cert, &format!("holds a certificate that counts only from {} on", found.not_before)));
    }
    let secret = zeroize::Zeroizing::new(load(key)?);
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| wrong(key, "holds no private key in PEM"))?;
    let signer =
        provider().key_provider.load_private_key(secret).map_err(|_| wrong(key, "holds a kind of key that TLS cannot use"))?;
    let pair = CertifiedKey::new(chain, signer);
    pair.keys_match().map_err(|e| wrong(key, "does not fit the certificate").because(e))?;
    Ok(pair)
}
