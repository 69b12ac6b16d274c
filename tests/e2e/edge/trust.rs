//! `tls csr` and `trust install`, with openssl and the store of Debian as witnesses. The store of this machine stays as it is: the commands run
//! in a mount namespace with copies of it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Lifeboat, binary, text};

fn in_a_copy_of_the_store(lifeboat: &Lifeboat, script: &str) -> Output {
    let prepare = "set -eu; copy=$(mktemp -d); trap 'rm -rf \"$copy\"' EXIT; cp -a /etc/ssl/certs /usr/local/share/ca-certificates \"$copy\"; \
                   mount --bind \"$copy/certs\" /etc/ssl/certs; mount --bind \"$copy/ca-certificates\" /usr/local/share/ca-certificates; ";
    Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{prepare}{script}")])
        .env("LIFEBOAT", binary())
        .env("DATA", lifeboat.data())
        .output()
        .unwrap()
}

#[test]
fn trust_is_installed_and_removed_in_the_store_of_the_system() {
    let lifeboat = Lifeboat::start();
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let script = "verify() { openssl verify -CApath /etc/ssl/certs \"$DATA/tls/server.pem\" >/dev/null 2>&1; }; \
                  verify && exit 10; \"$LIFEBOAT\" --data \"$DATA\" trust install --json; verify || exit 11; \
                  \"$LIFEBOAT\" --data \"$DATA\" trust remove --json; verify && exit 12; exit 0";
    let output = in_a_copy_of_the_store(&lifeboat, script);
    assert!(output.status.success(), "{:?}\n{}\n{}", output.status.code(), text(&output.stdout), text(&output.stderr));
    let said: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [installed, removed] = said.as_slice() else { panic!("{said:?}") };
    for (said, verb) in [(installed, "copied"), (removed, "removed")] {
        let did = said["did"].as_array().unwrap();
        assert!(did.len() == 2 && did[0].as_str().unwrap().starts_with(verb), "{said}");
        assert_eq!(said["ca_sha256"].as_str(), Some(lifeboat.first_run().value("ca-sha256")));
        assert!(said["elsewhere"].as_str().unwrap().contains("certutil"), "{said}");
    }
}

#[test]
fn trust_without_root_names_the_commands() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let lifeboat = Lifeboat::start();
    // The CA's certificate is public; the directory around it is not, so somebody else gets a copy of what they may see.
    let shared = tempfile::Builder::new().prefix("lifeboat-e2e-").tempdir().unwrap();
    let copy = Command::new("sh")
        .args(["-c", "mkdir -p \"$0/tls\" && cp \"$1\" \"$0/tls/ca.pem\" && cp \"$2\" \"$0/lifeboat\" && chmod -R a+rX \"$0\""])
        .args([shared.path(), &lifeboat.ca(), &binary()])
        .status()
        .unwrap();
    assert!(copy.success());
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(shared.path().join("lifeboat"))
        .args(["trust", "install", "--json", "--data"])
        .arg(shared.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("sudo install -m 0644") && message.contains("update-ca-certificates"), "{message}");
}

#[test]
fn a_signing_request_carries_every_configured_name() {
    let lifeboat = Lifeboat::start();
    let settings = lifeboat.data().join("config/lifeboat.toml");
    let before = std::fs::read_to_string(&settings).unwrap();
    lifeboat.configure("lifeboat.toml", &format!("public_url = \"https://mcp.example.com\"\n{before}"));
    let made = lifeboat.json(&["tls", "csr"]);
    let file = lifeboat.home().join("server.csr");
    std::fs::write(&file, made["csr"].as_str().unwrap()).unwrap();
    let seen = Command::new("openssl").args(["req", "-verify", "-noout", "-text", "-in"]).arg(&file).output().unwrap();
    let seen = text(&seen.stdout) + &text(&seen.stderr);
    for part in ["verify OK", "DNS:localhost", "DNS:mcp.example.com", "IP Address:127.0.0.1"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let plain = text(&lifeboat.cli(&["tls", "csr"]).stdout);
    let (begin, end) = ("-----BEGIN CERTIFICATE REQUEST-----", "-----END CERTIFICATE REQUEST-----");
    assert!(plain.starts_with(begin) && plain.trim_end().ends_with(end), "only the request, for a pipe: {plain}");
}
