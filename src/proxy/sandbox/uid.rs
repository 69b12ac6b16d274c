//! The user a server runs as where Lifeboat runs as root. Pure arithmetic and two questions to the system; changes nothing.

use sha2::{Digest, Sha256};

// Between what systemd gives to containers (up to 0x6FFF_FFFF) and the numbers some programs take for negative: nobody hands
// out accounts here.
const FIRST: u32 = 0x7000_0000;
const COUNT: u32 = 0x0f00_0000;
// A container often maps 65536 users only.
const SMALL_FIRST: u32 = 40_000;
const SMALL_COUNT: u32 = 20_000;

/// The user of a server, by its name: always the same on one machine.
pub fn uid_of(name: &str) -> u32 {
    let digest = Sha256::digest(name.as_bytes());
    let number = digest.iter().take(4).fold(0u32, |n, byte| (n << 8) | u32::from(*byte));
    if mapped(FIRST) && mapped(FIRST + COUNT - 1) { FIRST + number % COUNT } else { SMALL_FIRST + number % SMALL_COUNT }
}

/// Whether this process may become another user: root, with the rights for it, and a user to become.
pub fn may_change() -> bool {
    // CAP_CHOWN 0, CAP_SETGID 6, CAP_SETUID 7.
    const NEEDED: u64 = 1 | 1 << 6 | 1 << 7;
    nix::unistd::geteuid().is_root() && capabilities() & NEEDED == NEEDED && mapped(uid_of("probe"))
}

/// The effective capabilities of this process; none when the system does not tell.
pub(super) fn capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn mapped(uid: u32) -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().filter_map(|field| field.parse::<u64>().ok());
        match (fields.next(), fields.next(), fields.next()) {
            (Some(inside), Some(_), Some(count)) => (inside..inside.saturating_add(count)).contains(&u64::from(uid)),
            _ => false,
        }
    })
}
