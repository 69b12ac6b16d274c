//! Tests of both sides of TLS over loopback. Never reaches another machine.

use std::net::SocketAddr;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::base::clock::{Clock, SystemClock};
use crate::base::fault::FaultKind;
use crate::crypto::ca::{self, Ca};
use crate::crypto::keys::sha256;

const TICK: std::time::Duration = std::time::Duration::from_millis(20);

struct Site {
    dir: tempfile::TempDir,
    ca: Ca,
    tls: ServerTls,
}

impl Site {
    fn new() -> Self {
        install();
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["localhost".to_owned()];
        let ca = ca::ensure_ca(&dir.path().join("ca.pem"), &dir.path().join("ca.key"), &hosts, SystemClock.now()).unwrap();
        let (cert, key) = (dir.path().join("server.pem"), dir.path().join("server.key"));
        ca::ensure_server(&ca, &cert, &key, &hosts, SystemClock.now()).unwrap();
        let tls = ServerTls::load(&cert, &key).unwrap();
        Self { dir, ca, tls }
    }

    fn roots(&self) -> Roots {
        Roots::Pem(self.ca.pem().as_bytes().to_vec())
    }

    fn pin(&self) -> [u8; 32] {
        spki_sha256(&self.tls_cert()).unwrap()
    }

    fn tls_cert(&self) -> Vec<u8> {
        let pem = std::fs::read(self.dir.path().join("server.pem")).unwrap();
        use rustls::pki_types::pem::PemObject as _;
        rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
    }

    fn files(&self) -> impl Fn() -> Pair + Send + 'static {
        let pair = Pair { cert: self.dir.path().join("server.pem"), key: self.dir.path().join("server.key") };
        move || pair.clone()
    }

    fn renew(&self) {
        let (chain, key) = self.ca.issue_server(&["localhost".to_owned()], SystemClock.now()).unwrap();
        std::fs::write(self.dir.path().join("server.key"), key.as_bytes()).unwrap();
        std::fs::write(self.dir.path().join("server.pem"), chain).unwrap();
    }

    /// Answers each connection with the group that was agreed on.
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(self.tls.server_config(&["http/1.1"]).unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let connection = stream.get_ref().1;
                let text =
                    format!("{:?} {:?}", connection.negotiated_key_exchange_group().unwrap().name(), connection.alpn_protocol());
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }
}

async fn ask(address: SocketAddr, config: Arc<ClientConfig>, name: &'static str) -> std::io::Result<(String, [u8; 32])> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(config).connect(ServerName::try_from(name).unwrap(), stream).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let cert = sha256(&stream.get_ref().1.peer_certificates().unwrap()[0]);
    Ok((text, cert))
}

#[tokio::test]
async fn a_tls_13_client_agrees_on_the_post_quantum_group() {
    let site = Site::new();
    let address = site.serve().await;
    let client = client_config(&site.roots(), &[], &["http/1.1"]).unwrap();
    let (text, _) = ask(address, client, "localhost").await.unwrap();
    assert!(text.starts_with("X25519MLKEM768") && text.contains("Some("), "{text}");
}

/// The first message of a TLS 1.2 client: it names no newer version.
fn old_hello() -> Vec<u8> {
    let extensions: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], body.as_slice()].concat()
}

#[tokio::test]
async fn a_tls_12_client_is_refused() {
    let site = Site::new();
    let address = site.serve().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&old_hello()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!((answer[0], &answer[5..7]), (21, &[2, 70][..]), "a fatal alert, protocol_version");
}

#[tokio::test]
async fn roots_names_and_pins_must_all_fit() {
    let (site, other) = (Site::new(), Site::new());
    let address = site.serve().await;
    let try_with =
        async |roots: &Roots, pins: &[[u8; 32]], name| ask(address, client_config(roots, pins, &[]).unwrap(), name).await;
    assert!(try_with(&site.roots(), &[site.pin()], "localhost").await.is_ok());
    assert!(try_with(&site.roots(), &[other.pin(), site.pin()], "localhost").await.is_ok());
    let wrong = try_with(&site.roots(), &[other.pin()], "localhost").await.unwrap_err();
    assert!(wrong.to_string().contains("pins"), "{wrong}");
    assert!(try_with(&other.roots(), &[site.pin()], "localhost").await.is_err(), "a right pin does not replace the chain");
    assert!(try_with(&site.roots(), &[], "example.com").await.is_err());
    assert_eq!(client_config(&Roots::Pem(b"nothing".to_vec()), &[], &[]).unwrap_err().kind, FaultKind::Invalid);
}

#[tokio::test]
async fn a_new_pair_is_served_after_reload_and_a_wrong_one_never() {
    let site = Site::new();
    let address = site.serve().await;
    let client = || client_config(&site.roots(), &[], &[]).unwrap();
    let (_, before) = ask(address, client(), "localhost").await.unwrap();
    assert_eq!(site.tls.fingerprint(), Some(before));

    site.renew();
    site.tls.reload().unwrap();
    let (_, after) = ask(address, client(), "localhost").await.unwrap();
    assert_ne!(before, after);

    let (_, stranger) = site.ca.issue_server(&["localhost".to_owned()], SystemClock.now()).unwrap();
    let key = site.dir.path().join("server.key");
    for bad in [stranger.as_bytes(), b"nothing"] {
        std::fs::write(&key, bad).unwrap();
        assert_eq!(site.tls.reload().unwrap_err().kind, FaultKind::Invalid);
        assert_eq!(ask(address, client(), "localhost").await.unwrap().1, after);
    }
    std::fs::remove_file(&key).unwrap();
    assert_eq!(site.tls.reload().unwrap_err().kind, FaultKind::Unavailable);
    assert_eq!(ask(address, client(), "localhost").await.unwrap().1, after);
}

#[tokio::test]
async fn the_watcher_takes_new_files_up_and_reports_a_bad_change_once() {
    let site = Site::new();
    let before = site.tls.fingerprint();
    let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let report = move |result: crate::base::fault::Verb<()>| sender.send(result.is_ok()).unwrap();
    let watcher = tokio::spawn(site.tls.clone().watch_every(TICK, stop.clone(), site.files(), report));
    let key = site.dir.path().join("server.key");
    std::fs::write(&key, "half a fi").unwrap();
    assert_eq!(reports.recv().await, Some(false));
    tokio::time::sleep(TICK * 6).await;
    assert!(reports.try_recv().is_err(), "the same bad files are reported once");
    assert_eq!(site.tls.fingerprint(), before);
    site.renew();
    while reports.recv().await != Some(true) {}
    assert_ne!(site.tls.fingerprint(), before);
    stop.cancel();
    watcher.await.unwrap();
}

#[tokio::test]
async fn flt_16_a_certificate_out_of_its_time_is_never_taken_up() {
    const DAY_MS: i64 = 86_400_000;
    let site = Site::new();
    let before = site.tls.fingerprint();
    for (days, why) in [(-398, "ended on"), (2, "counts only from")] {
        let (chain, key) = site.ca.issue_server(&["localhost".to_owned()], SystemClock.now().plus_ms(days * DAY_MS)).unwrap();
        std::fs::write(site.dir.path().join("server.key"), key.as_bytes()).unwrap();
        std::fs::write(site.dir.path().join("server.pem"), chain).unwrap();
        let fault = site.tls.reload().unwrap_err();
        assert!(fault.message.contains(why), "{fault}");
        assert_eq!(site.tls.fingerprint(), before);
        assert!(site.tls.served().unwrap().trouble.is_some_and(|trouble| trouble.contains(why)));
    }
    site.renew();
    site.tls.reload().unwrap();
    assert_eq!(site.tls.served().unwrap().trouble, None);
}

#[tokio::test]
async fn other_files_are_served_once_they_can_be() {
    let (site, other) = (Site::new(), Site::new());
    let aimed = std::sync::Arc::new(std::sync::Mutex::new(site.files()()));
    let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let named = aimed.clone();
    let report = move |result: crate::base::fault::Verb<()>| sender.send(result.is_ok()).unwrap();
    let watcher = tokio::spawn(site.tls.clone().watch_every(TICK, stop.clone(), move || named.lock().unwrap().clone(), report));
    let before = site.tls.fingerprint();
    let nowhere = site.dir.path().join("nowhere");
    *aimed.lock().unwrap() = Pair { cert: nowhere.clone(), key: nowhere };
    assert_eq!(reports.recv().await, Some(false));
    assert_eq!(site.tls.fingerprint(), before);
    *aimed.lock().unwrap() = other.files()();
    assert_eq!(reports.recv().await, Some(true));
    assert_eq!(site.tls.fingerprint(), other.tls.fingerprint());
    stop.cancel();
    watcher.await.unwrap();
}

#[tokio::test]
async fn a_process_knows_its_own_certificate_whoever_signed_it() {
    let (site, other) = (Site::new(), Site::new());
    let address = site.serve().await;
    let own = |tls: &ServerTls| own_client_config(tls).unwrap();
    assert!(ask(address, own(&site.tls), "any.example.com").await.is_ok());
    assert!(ask(address, own(&other.tls), "localhost").await.is_err(), "somebody else on our port");
    let kept = own(&site.tls);
    site.renew();
    site.tls.reload().unwrap();
    assert!(ask(address, kept, "localhost").await.is_ok(), "it is looked up at each handshake");
}
