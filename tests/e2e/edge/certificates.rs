//! Certificates of an organisation's own that live for a minute, exchanged under load.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};

use crate::harness::{Lifeboat, sized, wait};
use crate::rig::{Load, Scripted};

/// An authority that openssl plays, in a folder.
struct Organisation(PathBuf);

impl Organisation {
    fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let this = Self(folder);
        this.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=Organisation \
                  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign");
        this
    }

    fn run(&self, script: &str) {
        let output = Command::new("sh").args(["-ec", script]).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{script}: {}", crate::harness::text(&output.stderr));
    }

    /// A new key and a certificate that lives so many seconds from now, under `name.key` and `name.pem`.
    fn issue(&self, name: &str, seconds: i64) {
        // `x509 -days` knows days only; the small CA of openssl takes seconds.
        let end = self.stamp(seconds);
        let begin = self.stamp(seconds.min(0) - 60);
        self.run(&format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN=lifeboat 2>/dev/null; \
             printf '[ca]\\ndefault_ca=o\\n[o]\\ndatabase=index.txt\\nrand_serial=yes\\npolicy=p\\ndefault_md=sha256\\nnew_certs_dir=.\\nunique_subject=no\\n[p]\\nCN=supplied\\n[e]\\nsubjectAltName=DNS:localhost,IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n' > ca.conf; \
             : > index.txt; openssl ca -batch -config ca.conf -extensions e -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem -notext \
             -startdate {begin} -enddate {end} 2>/dev/null"
        ));
    }

    fn stamp(&self, seconds: i64) -> String {
        let output = Command::new("date").args(["-u", "-d", &format!("{seconds} seconds"), "+%Y%m%d%H%M%SZ"]).output().unwrap();
        crate::harness::text(&output.stdout).trim().to_owned()
    }

    /// Puts a pair where Lifeboat looks for it, one file after the other, as ACME clients do.
    fn deploy(&self, name: &str) {
        for end in ["key", "pem"] {
            std::fs::copy(self.0.join(format!("{name}.{end}")), self.0.join(format!("live.{end}.new"))).unwrap();
            std::fs::rename(self.0.join(format!("live.{end}.new")), self.0.join(format!("live.{end}"))).unwrap();
        }
    }

    fn sha256_of(&self, name: &str) -> Vec<u8> {
        use rustls::pki_types::pem::PemObject;
        let der = rustls::pki_types::CertificateDer::from_pem_file(self.0.join(format!("{name}.pem"))).unwrap();
        Sha256::digest(&der).to_vec()
    }

    /// The digest of what the listener shows, when the organisation's CA vouches for it.
    fn shown(&self, authority: &str) -> Option<Vec<u8>> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(self.0.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let mut connection = rustls::ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let mut tcp = std::net::TcpStream::connect(authority).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).ok()?;
        }
        Some(Sha256::digest(connection.peer_certificates()?.first()?).to_vec())
    }
}

#[test]
fn flt_16_certificates_are_exchanged_under_load_and_bad_ones_refused() {
    let mut lifeboat = Lifeboat::start();
    let organisation = Organisation::new(lifeboat.home().join("organisation"));
    organisation.issue("first", 60);
    organisation.deploy("first");
    let settings = lifeboat.data().join("config/lifeboat.toml");
    let before = std::fs::read_to_string(&settings).unwrap();
    let folder = organisation.0.display().to_string();
    lifeboat.configure("lifeboat.toml", &format!("{before}\n[tls]\ncert = \"{folder}/live.pem\"\nkey = \"{folder}/live.key\"\n"));
    let shows =
        |name: &str, lifeboat: &Lifeboat| (organisation.shown(&lifeboat.proxy)? == organisation.sha256_of(name)).then_some(());
    wait("the organisation's certificate, without a restart", 10, || shows("first", &lifeboat));

    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "loader");
    let key_file = lifeboat.secret_file("loader.key", &key);
    lifeboat.trust(&organisation.0.join("ca.pem"));
    // Connections that live on, and one that is new for each call.
    let flags = ["--rate", "100", "--connections", "8", "--tool", "echo", "--timeout-ms", "10000"];
    let lasting = Load::start(&lifeboat, "scripted", &key_file, "lasting", &flags);
    let fresh = Load::start(&lifeboat, "scripted", &key_file, "fresh", &[&flags[..], &["--fresh"]].concat());
    for round in 0..sized(3, 12) {
        let name = format!("next{round}");
        organisation.issue(&name, 3_600);
        organisation.deploy(&name);
        let deployed = Instant::now();
        if round % 2 == 1 {
            lifeboat.signal("HUP");
        }
        wait("the new certificate within 5 s", 5, || shows(&name, &lifeboat));
        println!("round {round}: shown after {:?}", deployed.elapsed());
    }
    let refused = |lifeboat: &Lifeboat| {
        lifeboat.complaint("certificate").is_some_and(|said| said.contains("the certificate before it stays"))
    };
    let ending = lifeboat.complaint("certificate").unwrap_or_default();
    assert!(ending.contains("in 0 days"), "a certificate that lives for an hour is complained about: {ending}");
    // What must never be taken up: a key that does not fit, a certificate that has ended, half a file.
    let good = format!("next{}", sized(3, 12) - 1);
    organisation.issue("over", -5);
    for bad in ["cp over.pem live.pem; cp over.key live.key", "cp first.key live.key", "head -c 300 first.pem > live.pem"] {
        organisation.run(bad);
        lifeboat.signal("HUP");
        wait("the health says what is wrong", 6, || refused(&lifeboat).then_some(()));
        assert!(shows(&good, &lifeboat).is_some(), "{bad}: the old one stays");
    }
    let killed = lifeboat.json(&["kill", "engage", "--reason", "test", "--client", "demo-client"]);
    assert_eq!(killed["effective"], true, "a kill proves itself whoever signed the certificate: {killed}");
    organisation.issue("last", 60);
    organisation.deploy("last");
    wait("the mended pair", 5, || shows("last", &lifeboat));
    wait("the health is well again", 6, || (!refused(&lifeboat)).then_some(()));
    sleep(Duration::from_millis(500));
    for (name, load) in [("lasting", lasting), ("fresh", fresh)] {
        let calls = load.finish();
        let failed: Vec<_> = calls.iter().filter(|line| line["status"] != "ok").collect();
        assert!(calls.len() > 500 && failed.is_empty(), "{name}: {} of {}: {:?}", failed.len(), calls.len(), failed.first());
    }

    // A start with a pair that cannot be served: operators get in over Lifeboat's own certificate, and are told.
    organisation.run("cp over.pem live.pem; cp over.key live.key");
    lifeboat.distrust();
    lifeboat.kill_9();
    lifeboat.restart();
    assert!(refused(&lifeboat));
    organisation.issue("mended", 60);
    organisation.deploy("mended");
    wait("the mended pair after the start", 6, || shows("mended", &lifeboat));
}
