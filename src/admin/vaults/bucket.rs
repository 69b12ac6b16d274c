//! An S3-compatible bucket that archives are kept in. What has a name is never replaced, but for the small files that say what is so now. Never
//! shows a credential.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path as Key;
use object_store::signer::Signer as _;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig, WriteMultipart,
};

use crate::base::fault::{Fault, FaultKind, Verb};
use crate::base::secret::Secret;
use crate::config::BucketConfig;
use crate::crypto::tls::{Roots, client_config};

/// What is sent in one piece; an archive has many.
const PART: usize = 8 * 1024 * 1024;
/// The most parts one object may have (S3: 10,000).
const PARTS: u64 = 9_000;
/// Parts on the way at once: they are held in memory.
const AT_ONCE: usize = 2;
/// Notes and lists are small; a larger object under their name is none.
const SMALL: u64 = 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const ASKED: Duration = Duration::from_secs(60);

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Archives: minutes, and again after a fault.
    Long,
    /// Something that a kill or a page waits behind: seconds.
    Short,
}

/// A bucket, opened with the credentials of this moment.
pub struct Bucket {
    store: AmazonS3,
    client: reqwest::Client,
    prefix: Key,
    url: String,
}

/// Requests by the client that was made here: TLS 1.3, the roots that were named, no proxy of the environment.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// Reads the credentials; asks nothing of the bucket yet.
    ///
    /// # Errors
    /// `Invalid` for a credentials file that others may read or that holds none, for a CA that is none, and for a wrong address.
    pub fn open(config: &BucketConfig, patience: Patience) -> Verb<Self> {
        let (name, prefix) = config.split().map_err(|why| Fault::invalid("url", format!("{}: {why}", config.url)))?;
        if let Some((key, why)) = config.faults().first() {
            return Err(Fault::invalid(*key, format!("{}: {why}", config.url)));
        }
        let client = client(config, patience)?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_allow_http(config.plain_loopback)
            .with_retry(retry(patience))
            .with_http_connector(Connector(client.clone()));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        let file = config.credentials_file.clone().or_else(|| std::env::var("AWS_SHARED_CREDENTIALS_FILE").ok());
        if let Some(file) = file {
            let (id, secret, token) = credentials(Path::new(&file))?;
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
            if let Some(token) = token {
                builder = builder.with_token(token.reveal());
            }
        }
        let store = builder.build().map_err(|e| Fault::invalid("bucket", format!("{}: {}", config.url, said(&e))))?;
        Ok(Self { store, client, prefix: Key::from(prefix), url: config.url.clone() })
    }

    /// As the configuration names it.
    pub fn name(&self) -> &str {
        &self.url
    }

    fn key(&self, file: &str) -> Key {
        let mut key = self.prefix.clone();
        for part in file.split('/') {
            key = key.join(part);
        }
        key
    }

    fn fault(&self, what: &str, cause: Error) -> Fault {
        let message = format!("{}: {what}: {}", self.url, said(&cause));
        match cause {
            Error::NotFound { .. } => Fault::not_found(message),
            Error::AlreadyExists { .. } | Error::Precondition { .. } => Fault::conflict(message),
            _ => Fault::unavailable(message),
        }
        .because(cause)
    }

    /// Every object below the prefix with its bytes, by the path that a destination knows it by.
    ///
    /// # Errors
    /// `Unavailable` when the bucket does not answer or does not let us in.
    pub async fn list(&self) -> Verb<BTreeMap<String, u64>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut objects = self.store.list(prefix);
        let mut found = BTreeMap::new();
        while let Some(object) = objects.try_next().await.map_err(|e| self.fault("cannot be listed", e))? {
            let rest = object.location.as_ref().strip_prefix(self.prefix.as_ref()).unwrap_or_default();
            found.insert(rest.trim_start_matches('/').to_owned(), object.size);
        }
        Ok(found)
    }

    /// Brings a file there under a name that is free. Each part goes with its SHA-256, which the bucket compares.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; `Unavailable` when it does not get there whole: nothing stands under the name then.
    pub async fn put(&self, file: &str, from: &Path) -> Verb<()> {
        again(|| self.put_once(file, from)).await
    }

    async fn put_once(&self, file: &str, from: &Path) -> Verb<()> {
        let unread = |e: std::io::Error| Fault::unavailable(format!("{} cannot be read", from.display())).because(e);
        let bytes = fs::metadata(from).map_err(unread)?.len();
        let key = self.key(file);
        if bytes <= PART as u64 {
            let body = fs::read(from).map_err(unread)?;
            let put = self.store.put_opts(&key, PutPayload::from(body), PutMode::Create.into()).await;
            put.map_err(|e| self.fault(&format!("{file} cannot be written"), e))?;
        } else {
            // An upload in parts replaces what is there; names carry an id, so that only this very archive can be.
            if self.holds(file, bytes).await? {
                return Err(Fault::conflict(format!("{}: {file} exists already", self.url)));
            }
            self.put_parts(&key, from, bytes).await.map_err(|e| self.fault(&format!("{file} cannot be written"), e))?;
        }
        if self.holds(file, bytes).await? {
            return Ok(());
        }
        Err(Fault::unavailable(format!("{}: {file} was taken and is not there with its {bytes} bytes", self.url)))
    }

    /// Whether an object of that name and size is there, whatever a list says.
    ///
    /// # Errors
    /// `Unavailable` when the bucket does not answer.
    pub async fn holds(&self, file: &str, bytes: u64) -> Verb<bool> {
        match self.store.head(&self.key(file)).await {
            Ok(there) => Ok(there.size == bytes),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.fault(&format!("{file} cannot be asked for"), e)),
        }
    }

    async fn put_parts(&self, key: &Key, from: &Path, bytes: u64) -> object_store::Result<()> {
        let part = PART.max(usize::try_from(bytes / PARTS + 1).unwrap_or(PART));
        let mut upload = WriteMultipart::new_with_chunk_size(self.store.put_multipart(key).await?, part);
        let sent = feed(&mut upload, from, part).await;
        match sent {
            Ok(()) => upload.finish().await.map(|_| ()),
            Err(fault) => {
                let _ = upload.abort().await;
                Err(fault)
            }
        }
    }

    /// Writes a small file, whatever stood there.
    ///
    /// # Errors
    /// As `put`.
    pub async fn replace(&self, file: &str, bytes: Vec<u8>) -> Verb<()> {
        let put = self.store.put(&self.key(file), PutPayload::from(bytes)).await;
        put.map(|_| ()).map_err(|e| self.fault(&format!("{file} cannot be written"), e))
    }

    /// A small file; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read or is not small.
    pub async fn small(&self, file: &str) -> Verb<Option<Bytes>> {
        let got = match self.store.get(&self.key(file)).await {
            Ok(got) if got.meta.size > SMALL => {
                return Err(Fault::unavailable(format!("{}: {file} has {} bytes, which no note has", self.url, got.meta.size)));
            }
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.fault(&format!("{file} cannot be read"), e)),
        };
        got.bytes().await.map(Some).map_err(|e| self.fault(&format!("{file} cannot be read"), e))
    }

    /// Fetches a file to a path (0600); never more than `cap` bytes.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Unavailable` when it does not come whole, is larger, or the disk is full.
    pub async fn fetch(&self, file: &str, to: &Path, cap: u64) -> Verb<u64> {
        again(|| self.fetch_once(file, to, cap)).await.inspect_err(|_| {
            let _ = fs::remove_file(to);
        })
    }

    async fn fetch_once(&self, file: &str, to: &Path, cap: u64) -> Verb<u64> {
        let what = format!("{file} cannot be fetched");
        let unwritten = |e: std::io::Error| Fault::unavailable(format!("{} cannot be written: {e}", to.display())).because(e);
        let got = self.store.get(&self.key(file)).await.map_err(|e| self.fault(&what, e))?;
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(unwritten)?;
        }
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(unwritten)?;
        let (mut body, mut bytes) = (got.into_stream(), 0u64);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| self.fault(&what, e))?;
            bytes += piece.len() as u64;
            if bytes > cap {
                return Err(Fault::unavailable(format!("{}: {file} is larger than the {cap} bytes its note says", self.url)));
            }
            out.write_all(&piece).map_err(unwritten)?;
        }
        Ok(bytes)
    }

    /// Removes an object. A bucket with object lock keeps it as an older version, and a key that may not remove anything is the best one to
    /// have: then its own rules of age decide.
    ///
    /// # Errors
    /// `Unavailable` when the bucket does not answer.
    pub async fn remove(&self, file: &str) -> Verb<()> {
        match self.store.delete(&self.key(file)).await {
            Ok(()) | Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(()),
            Err(e) => Err(self.fault(&format!("{file} cannot be removed"), e)),
        }
    }

    /// Until when the bucket lets nobody remove an object, as it says itself: `MODE until DATE`. `None` when it holds no lock.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub async fn lock(&self, file: &str) -> Verb<Option<String>> {
        let url = self.store.signed_url(http::Method::HEAD, &self.key(file), ASKED).await;
        let url = url.map_err(|e| self.fault("cannot be asked for its lock", e))?;
        // The address carries a signature: an error must not show it.
        let asked = self.client.head(url).send().await.map_err(reqwest::Error::without_url);
        let answer = asked.map_err(|e| Fault::unavailable(format!("{}: cannot be asked for its lock", self.url)).because(e))?;
        if !answer.status().is_success() {
            return Err(Fault::unavailable(format!("{}: {file}: status {}", self.url, answer.status().as_u16())));
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mode = header("x-amz-object-lock-mode");
        let until = header("x-amz-object-lock-retain-until-date");
        Ok(mode.zip(until).map(|(mode, until)| format!("{} until {until}", mode.to_ascii_lowercase())))
    }
}

/// A connection that breaks off in the middle of a body is not tried again by the client beneath; a whole file is.
async fn again<T, F: Future<Output = Verb<T>>>(attempt: impl Fn() -> F) -> Verb<T> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(fault) if fault.kind == FaultKind::Unavailable => {
                tracing::info!(%fault, "asking the bucket again");
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            done => return done,
        }
    }
    attempt().await
}

/// The file in pieces of one part.
async fn feed(upload: &mut WriteMultipart, from: &Path, part: usize) -> object_store::Result<()> {
    let broken = |e: std::io::Error| Error::Generic { store: "file", source: Box::new(e) };
    let mut file = fs::File::open(from).map_err(broken)?;
    loop {
        upload.wait_for_capacity(AT_ONCE).await?;
        let mut piece = Vec::with_capacity(part);
        let got = (&mut file).take(part as u64).read_to_end(&mut piece).map_err(broken)?;
        if got == 0 {
            return Ok(());
        }
        upload.put(Bytes::from(piece));
    }
}

fn client(config: &BucketConfig, patience: Patience) -> Verb<reqwest::Client> {
    let roots = match &config.ca {
        Some(path) => Roots::Pem(fs::read(path).map_err(|e| Fault::invalid("ca", format!("{path} cannot be read: {e}")))?),
        None => Roots::System,
    };
    let tls = client_config(&roots, &[], &["http/1.1"])?;
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls))
        .https_only(!config.plain_loopback)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE);
    let builder = if patience == Patience::Short { builder.timeout(CONNECT) } else { builder };
    builder.build().map_err(|e| Fault::bug("no client for buckets can be made").because(e))
}

fn retry(patience: Patience) -> RetryConfig {
    let (max_retries, seconds, most) = match patience {
        Patience::Long => (6, 120, 10),
        Patience::Short => (1, 5, 1),
    };
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(most), base: 2.0 };
    RetryConfig { backoff, max_retries, retry_timeout: Duration::from_secs(seconds) }
}

type Credentials = (String, Secret<String>, Option<Secret<String>>);

/// The first profile of a file as the tools of AWS write it. Other accounts must not be able to read it.
fn credentials(file: &Path) -> Verb<Credentials> {
    const FIELD: &str = "credentials_file";
    let unread = |e: std::io::Error| Fault::invalid(FIELD, format!("{} cannot be read: {e}", file.display()));
    if fs::metadata(file).map_err(unread)?.mode() & 0o077 != 0 {
        return Err(Fault::invalid(FIELD, format!("{} can be read by other accounts; chmod 600 it", file.display())));
    }
    let text = Secret::new(fs::read_to_string(file).map_err(unread)?);
    let value = |wanted: &str| {
        let mut pairs = text.reveal().lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok((id, Secret::new(secret), value("aws_session_token").map(Secret::new))),
        _ => {
            let message = format!("{} holds no aws_access_key_id with its aws_secret_access_key", file.display());
            Err(Fault::invalid(FIELD, message))
        }
    }
}

/// What a bucket answered, without the XML around it.
fn said(cause: &Error) -> String {
    let text = cause.to_string();
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inner, _)| inner.to_owned())
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => text.chars().take(300).collect(),
    }
}
