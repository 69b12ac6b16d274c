//! An S3-compatible bucket that archives are kept in. What has a name is never replaced, but for the small files that say what is so now. Never
//! shows a credential.

mod client;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path as Key;
use object_store::signer::Signer as _;
use object_store::{Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload, WriteMultipart};
use tokio::io::AsyncReadExt as _;

use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::BucketConfig;
use client::{Connector, client, credentials, is_odd_name, retry, said};

/// What is sent in one piece; an archive has many.
const PART: usize = 8 * 1024 * 1024;
/// The most parts one object may have (S3: 10,000).
const PARTS: u64 = 9_000;
/// Parts on the way at once: they are held in memory.
const AT_ONCE: usize = 2;
/// Notes and lists are small; a larger object under their name is none.
const SMALL: u64 = 1024 * 1024;
/// Years of archives of a hundred vaults.
const MOST_OBJECTS: u32 = 200_000;
const UNLISTED: &str = "cannot be listed";
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);
/// Bytes in a second.
const SLOWEST: u64 = 64 * 1024;
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
    /// For a whole answer that is no body.
    whole: Duration,
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
        } else if !["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"].iter().any(|name| std::env::var_os(name).is_some()) {
            // What is left are services of the machine's own network in plain HTTP, which are not asked.
            let message = "there are no credentials: name a file (credentials_file, or AWS_SHARED_CREDENTIALS_FILE), or set AWS_ACCESS_KEY_ID";
            return Err(Fault::invalid("credentials_file", format!("{}: {message}", config.url)));
        }
        let store = builder.build().map_err(|e| Fault::invalid("bucket", format!("{}: {}", config.url, said(&e))))?;
        let whole = if patience == Patience::Short { SHORT } else { LONG };
        Ok(Self { store, client, prefix: Key::from(prefix), url: config.url.clone(), whole })
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
        let mut message = format!("{}: {what}: {}", self.url, said(&cause));
        if is_odd_name(&cause) {
            message.push_str(
                "; somebody put a name there that no archive has: fetch the bucket with another tool, and use that directory",
            );
        }
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
    /// `Unavailable` when the bucket does not answer, does not let us in, or goes on and on.
    pub async fn list(&self) -> Verb<BTreeMap<String, u64>> {
        self.soon(UNLISTED, self.listed()).await
    }

    async fn listed(&self) -> Verb<BTreeMap<String, u64>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut objects = self.store.list(prefix);
        let (mut found, mut seen) = (BTreeMap::new(), 0u32);
        while let Some(object) = objects.try_next().await.map_err(|e| self.fault(UNLISTED, e))? {
            seen += 1;
            if seen > MOST_OBJECTS {
                return Err(Fault::unavailable(format!("{}: its list has more than {MOST_OBJECTS} objects", self.url)));
            }
            let rest = object.location.as_ref().strip_prefix(self.prefix.as_ref()).unwrap_or_default();
            found.insert(rest.trim_start_matches('/').to_owned(), object.size);
        }
        Ok(found)
    }

    /// An answer that drips is none: whoever waits for it has something else to do.
    async fn soon<T>(&self, what: &str, asked: impl Future<Output = Verb<T>>) -> Verb<T> {
        let late = || Fault::unavailable(format!("{}: {what}: no whole answer in {} s", self.url, self.whole.as_secs()));
        tokio::time::timeout(self.whole, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// The same for a body: at least as fast as a slow line.
    async fn at_least<T>(&self, what: &str, bytes: u64, moved: impl Future<Output = Verb<T>>) -> Verb<T> {
        let patience = self.whole + Duration::from_secs(bytes / SLOWEST);
        let late = || Fault::unavailable(format!("{}: {what}: {bytes} bytes took more than {} s", self.url, patience.as_secs()));
        tokio::time::timeout(patience, moved).await.unwrap_or_else(|_| Err(late()))
    }

    /// Brings a file there under a name that is free. Each part goes with its SHA-256, which the bucket compares.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; `Unavailable` when it does not get there whole: nothing stands under the name then.
    pub async fn put(&self, file: &str, from: &Path) -> Verb<()> {
        let bytes = fs::metadata(from).map_or(0, |found| found.len());
        again(|| self.at_least(file, bytes, self.put_once(file, from))).await
    }

    async fn put_once(&self, file: &str, from: &Path) -> Verb<()> {
        let unread = |e: std::io::Error| Fault::unavailable(format!("{} cannot be read", from.display())).because(e);
        let bytes = fs::metadata(from).map_err(unread)?.len();
        let key = self.key(file);
        if bytes <= PART as u64 {
            let body = tokio::fs::read(from).await.map_err(unread)?;
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
        let asked = async {
            match self.store.head(&self.key(file)).await {
                Ok(there) => Ok(there.size == bytes),
                Err(Error::NotFound { .. }) => Ok(false),
                Err(e) => Err(self.fault(&format!("{file} cannot be asked for"), e)),
            }
        };
        self.soon(file, asked).await
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
        let key = self.key(file);
        let put = async {
            let put = self.store.put(&key, PutPayload::from(bytes)).await;
            put.map(|_| ()).map_err(|e| self.fault(&format!("{file} cannot be written"), e))
        };
        self.soon(file, put).await
    }

    /// A small file; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read or is not small.
    pub async fn small(&self, file: &str) -> Verb<Option<Bytes>> {
        self.soon(file, self.small_once(file)).await
    }

    async fn small_once(&self, file: &str) -> Verb<Option<Bytes>> {
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
        again(|| self.at_least(file, cap, self.fetch_once(file, to, cap))).await.inspect_err(|_| {
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
        let key = self.key(file);
        let removed = async {
            match self.store.delete(&key).await {
                Ok(()) | Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(()),
                Err(e) => Err(self.fault(&format!("{file} cannot be removed"), e)),
            }
        };
        self.soon(file, removed).await
    }

    /// Until when the bucket lets nobody remove an object, as it says itself: `MODE until DATE`. `None` when it holds no lock.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub async fn lock(&self, file: &str) -> Verb<Option<String>> {
        self.soon(file, self.lock_once(file)).await
    }

    async fn lock_once(&self, file: &str) -> Verb<Option<String>> {
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
    let mut file = tokio::fs::File::open(from).await.map_err(broken)?;
    loop {
        upload.wait_for_capacity(AT_ONCE).await?;
        let mut piece = Vec::with_capacity(part);
        let got = (&mut file).take(part as u64).read_to_end(&mut piece).await.map_err(broken)?;
        if got == 0 {
            return Ok(());
        }
        upload.put(Bytes::from(piece));
    }
}
