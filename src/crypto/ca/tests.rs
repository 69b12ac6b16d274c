//! Tests of the own authority, with openssl as a second opinion where it is installed. Never touches a trust store.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::base::clock::{Clock, SystemClock};

struct Paths {
    _dir: tempfile::TempDir,
    ca: PathBuf,
    ca_key: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

fn paths() -> Paths {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    Paths { ca: at("ca.pem"), ca_key: at("ca.key"), cert: at("server.pem"), key: at("server.key"), _dir: dir }
}

fn hosts(list: &[&str]) -> Vec<String> {
    list.iter().map(|host| (*host).to_owned()).collect()
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[test]
fn the_ca_is_made_once_and_read_afterwards() {
    let p = paths();
    let names = hosts(&["localhost", "127.0.0.1", "::1"]);
    let made = ensure_ca(&p.ca, &p.ca_key, &names, now()).unwrap();
    let read = ensure_ca(&p.ca, &p.ca_key, &names, now()).unwrap();
    assert_eq!(made.pem(), read.pem());
    assert_eq!(fingerprint_sha256(made.pem()).unwrap().len(), 95);
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&p.ca), mode(&p.ca_key)), (0o644, 0o600));
    let (chain, _) = read.issue_server(&names, now()).unwrap();
    let found = describe(chain.as_bytes()).unwrap();
    assert_eq!(found.hosts, names);
    assert!(found.not_after.since_ms(now()) <= 397 * DAY_MS);
    assert!(found.issuer.starts_with("CN=Lifeboat CA "));

    std::fs::remove_file(&p.ca_key).unwrap();
    assert!(ensure_ca(&p.ca, &p.ca_key, &names, now()).is_err(), "a lost key is not made new behind the operator's back");
}

#[test]
fn a_key_of_another_ca_is_refused() {
    let (a, b) = (paths(), paths());
    ensure_ca(&a.ca, &a.ca_key, &hosts(&["localhost"]), now()).unwrap();
    ensure_ca(&b.ca, &b.ca_key, &hosts(&["localhost"]), now()).unwrap();
    assert!(ensure_ca(&a.ca, &b.ca_key, &hosts(&["localhost"]), now()).is_err());
}

#[test]
fn names_outside_the_constraints_are_not_certified() {
    for (given, others) in [
        (vec!["localhost", "127.0.0.1"], ["example.com", "10.0.0.1", "::1"]),
        (vec!["lifeboat.example.com"], ["example.com", "127.0.0.1", "::1"]),
        (vec!["127.0.0.1"], ["localhost", "127.0.0.2", "::1"]),
    ] {
        let p = paths();
        let ca = ensure_ca(&p.ca, &p.ca_key, &hosts(&given), now()).unwrap();
        ca.issue_server(&hosts(&given), now()).unwrap();
        for other in others {
            assert!(ca.issue_server(&hosts(&[other]), now()).is_err(), "{given:?} {other}");
        }
    }
}

#[test]
fn the_server_certificate_is_kept_renewed_or_left_to_its_owner() {
    let p = paths();
    let names = hosts(&["localhost", "127.0.0.1"]);
    let ca = ensure_ca(&p.ca, &p.ca_key, &names, now()).unwrap();
    let ensure = |names: &[String], at: Timestamp| ensure_server(&ca, &p.cert, &p.key, names, at).unwrap();
    assert_eq!(ensure(&names[..1], now()), Ensured::Issued);
    assert_eq!(ensure(&names[..1], now()), Ensured::Kept);
    assert_eq!(ensure(&names, now()), Ensured::Issued, "another host");
    assert_eq!(ensure(&names, now().plus_ms(366 * DAY_MS)), Ensured::Kept);
    assert_eq!(ensure(&names, now().plus_ms(368 * DAY_MS)), Ensured::Issued, "29 days left");
    assert_eq!(std::fs::metadata(&p.key).unwrap().permissions().mode() & 0o777, 0o600);

    let other = paths();
    let theirs = ensure_ca(&other.ca, &other.ca_key, &names, now()).unwrap();
    ensure_server(&theirs, &p.cert, &p.key, &names, now()).unwrap();
    let before = std::fs::read(&p.cert).unwrap();
    assert_eq!(ensure_server(&theirs, &p.cert, &p.key, &hosts(&["localhost"]), now()).unwrap(), Ensured::Foreign);
    assert_eq!(std::fs::read(&p.cert).unwrap(), before);
}

#[test]
fn openssl_accepts_the_chain_strictly() {
    let p = paths();
    let names = hosts(&["localhost", "127.0.0.1", "::1"]);
    let ca = ensure_ca(&p.ca, &p.ca_key, &names, now()).unwrap();
    ensure_server(&ca, &p.cert, &p.key, &names, now()).unwrap();
    let verify = |extra: &[&str]| {
        Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
            .arg(&p.ca)
            .args(extra)
            .arg(&p.cert)
            .output()
    };
    let Ok(_present) = Command::new("openssl").arg("version").output() else { return };
    for extra in [vec![], vec!["-verify_hostname", "localhost"], vec!["-verify_ip", "127.0.0.1"], vec!["-verify_ip", "::1"]] {
        let out = verify(&extra).unwrap();
        assert!(out.status.success(), "{extra:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    assert!(!verify(&["-verify_hostname", "example.com"]).unwrap().status.success());
}

#[test]
fn a_request_names_every_host_and_is_signed_with_the_servers_key() {
    let p = paths();
    let names = hosts(&["lifeboat.example.com", "10.0.0.7", "::1"]);
    let ca = ensure_ca(&p.ca, &p.ca_key, &names, now()).unwrap();
    ensure_server(&ca, &p.cert, &p.key, &names, now()).unwrap();
    let made = request(&std::fs::read(&p.key).unwrap(), &names).unwrap();
    assert!(made.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert!(request(b"no key", &names).is_err());
    let file = p.cert.with_file_name("server.csr");
    std::fs::write(&file, made).unwrap();
    let Ok(seen) = Command::new("openssl").args(["req", "-verify", "-noout", "-text", "-in"]).arg(&file).output() else { return };
    let text = String::from_utf8_lossy(&[seen.stdout, seen.stderr].concat()).into_owned();
    assert!(seen.status.success() && text.contains("verify OK"), "{text}");
    for part in ["DNS:lifeboat.example.com", "IP Address:10.0.0.7", "IP Address:0:0:0:0:0:0:0:1", "CN = lifeboat.example.com"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
