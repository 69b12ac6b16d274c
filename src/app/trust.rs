//! Makes this host trust Lifeboat's own CA, or no longer, in the store of Debian: one file and `update-ca-certificates`. Says each thing it
//! does; never does anything without root, and never touches another authority.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;
use serde::Serialize;

use crate::base::fault::{Fault, Verb};
use crate::config::DataDir;
use crate::crypto::ca;
use crate::crypto::files::{Readers, read, write};

const STORE: &str = "/usr/local/share/ca-certificates";
const UPDATE: &str = "/usr/sbin/update-ca-certificates";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// Each thing, in order; empty when all was so already.
    pub did: Vec<String>,
    /// The file in the store.
    pub file: String,
    /// SHA-256 of the CA's certificate, to compare.
    pub ca_sha256: String,
    /// Programs that have stores of their own.
    pub elsewhere: String,
}

struct Authority {
    pem: Vec<u8>,
    sha256: String,
    from: PathBuf,
    file: PathBuf,
}

/// Has every program of this host that uses the system's store trust the CA.
///
/// # Errors
/// `Denied` without root, with the commands that do the same; `Unavailable` where there is no such store or it cannot be changed.
pub fn install(data: &DataDir) -> Verb<Trust> {
    let authority = authority(data)?;
    let (from, file) = (authority.from.display(), authority.file.display());
    need_root("trust install", &format!("sudo install -m 0644 {from} {file} && sudo {UPDATE}"))?;
    need_store()?;
    let mut did = Vec::new();
    if read(&authority.file)?.as_deref() != Some(&authority.pem) {
        write(&authority.file, &authority.pem, Readers::Everybody)?;
        did.push(format!("copied {from} to {file}"));
    }
    update(&mut did)?;
    Ok(done(did, &authority))
}

/// Takes the CA out of the system's store again.
///
/// # Errors
/// As `install`.
pub fn remove(data: &DataDir) -> Verb<Trust> {
    let authority = authority(data)?;
    let file = authority.file.display();
    need_root("trust remove", &format!("sudo rm {file} && sudo {UPDATE}"))?;
    need_store()?;
    let mut did = Vec::new();
    match std::fs::remove_file(&authority.file) {
        Ok(()) => did.push(format!("removed {file}")),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(done(did, &authority)),
        Err(cause) => return Err(super::unavailable(&format!("{file} cannot be removed"), cause)),
    }
    update(&mut did)?;
    Ok(done(did, &authority))
}

fn done(did: Vec<String>, authority: &Authority) -> Trust {
    let from = authority.from.display();
    let elsewhere = format!(
        "Firefox and Chromium keep stores of their own: import {from} in their settings under certificates, authorities, or run: \
         certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n Lifeboat -i {from} (package libnss3-tools). Node: NODE_EXTRA_CA_CERTS={from}"
    );
    Trust { did, file: authority.file.display().to_string(), ca_sha256: authority.sha256.clone(), elsewhere }
}

fn authority(data: &DataDir) -> Verb<Authority> {
    let from = std::path::absolute(data.ca_pem()).unwrap_or_else(|_| data.ca_pem());
    let pem =
        read(&from)?.ok_or_else(|| Fault::not_found(format!("{} is not there; make one with lifeboat up", from.display())))?;
    let sha256 = ca::fingerprint_sha256(&String::from_utf8_lossy(&pem));
    let sha256 = sha256.ok_or_else(|| Fault::invalid(from.display().to_string(), "holds no certificate in PEM"))?;
    // One file for each authority: two Lifeboats on one host do not take each other's place.
    let tag: String = sha256.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let file = Path::new(STORE).join(format!("lifeboat-{}.crt", tag.to_lowercase()));
    Ok(Authority { pem, sha256, from, file })
}

fn need_root(verb: &str, commands: &str) -> Verb<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::denied(format!("{verb} needs root, since it changes what this host trusts; run it as root, or run: {commands}")))
}

fn need_store() -> Verb<()> {
    let there = Path::new(STORE).is_dir() && Path::new(UPDATE).exists();
    let message = format!("this host has no {STORE} and {UPDATE} (package ca-certificates); give tls/ca.pem to its own store");
    if there { Ok(()) } else { Err(Fault::unavailable(message)) }
}

fn update(did: &mut Vec<String>) -> Verb<()> {
    let ran = Command::new(UPDATE).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let ran = ran.map_err(|cause| super::unavailable(&format!("{UPDATE} cannot be run"), cause))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr).trim().replace('\n', "; ");
        return Err(Fault::unavailable(format!("{UPDATE} failed: {said}")));
    }
    did.push(format!("ran {UPDATE}"));
    Ok(())
}
