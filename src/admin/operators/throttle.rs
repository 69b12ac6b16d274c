//! How fast passwords may be tried (ATK-A01): per address, and per account for addresses it never came from. Waiting times grow and are
//! bounded, and an address the account has signed in from is never slowed by strangers, so nobody can lock the only admin out. This host is one
//! place, whichever loopback address a program of it takes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::base::clock::Timestamp;

/// The account of tries with the setup code; no operator can have this name.
pub(super) const SETUP: &str = "(setup)";

const FREE: u32 = 5;
const ADDRESS_CAP_MS: i64 = 5 * 60_000;
const ACCOUNT_CAP_MS: i64 = 30_000;
// Whoever sits at this host shares its place with every program there, so it waits no longer than a new place does.
const HOST_CAP_MS: i64 = 30_000;
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FORGOTTEN_AFTER_MS: i64 = 15 * 60_000;
// A code is one of a million and three count at once. Whoever tries them has the password, so a new place may wait for long: 300 tries a day
// from everywhere are one chance in a thousand, and each of them stands in the ledger.
const CODES_CAP_MS: i64 = 5 * 60_000;
const CODES_FORGOTTEN_AFTER_MS: i64 = 24 * 3_600_000;
const MOST: usize = 10_000;
const KNOWN_PER_ACCOUNT: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    fn wait_ms(self, now: Timestamp, cap: i64, forgotten: i64) -> i64 {
        if self.count < FREE || now.since_ms(self.last) > forgotten {
            return 0;
        }
        let doubled = 1_000_i64.saturating_mul(1 << (self.count - FREE).min(20));
        (doubled.min(cap) - now.since_ms(self.last)).max(0)
    }
}

/// What was tried lately. Bounded: strangers cannot make it grow.
#[derive(Debug)]
pub struct Throttle {
    account_cap_ms: i64,
    host_cap_ms: i64,
    // Whether this host is a known place of every account.
    host_is_known: bool,
    forgotten_after_ms: i64,
    addresses: HashMap<IpAddr, Failures>,
    accounts: HashMap<String, Failures>,
    known: HashMap<String, Vec<IpAddr>>,
}

impl Default for Throttle {
    fn default() -> Self {
        let (addresses, accounts, known) = Default::default();
        Self {
            account_cap_ms: ACCOUNT_CAP_MS,
            host_cap_ms: HOST_CAP_MS,
            host_is_known: true,
            forgotten_after_ms: FORGOTTEN_AFTER_MS,
            addresses,
            accounts,
            known,
        }
    }
}

impl Throttle {
    /// For the codes of a second factor. A program on this host may try them too, so it is a place like others.
    pub fn of_codes() -> Self {
        Self {
            account_cap_ms: CODES_CAP_MS,
            host_cap_ms: CODES_CAP_MS,
            host_is_known: false,
            forgotten_after_ms: CODES_FORGOTTEN_AFTER_MS,
            ..Self::default()
        }
    }

    /// Milliseconds until a try counts again; 0 when it does now.
    pub fn wait_ms(&self, account: &str, remote: IpAddr, now: Timestamp) -> i64 {
        let (forgotten, place) = (self.forgotten_after_ms, place(remote));
        let cap = if place == HOST { self.host_cap_ms } else { ADDRESS_CAP_MS };
        let own = self.addresses.get(&place).map_or(0, |f| f.wait_ms(now, cap, forgotten));
        // Strangers elsewhere do not slow whoever is on this host; no name at all is the setup, where the code is what is guessed.
        if self.knows(account, remote) || (place == HOST && self.host_is_known) || account == SETUP {
            return own;
        }
        own.max(self.accounts.get(account).map_or(0, |f| f.wait_ms(now, self.account_cap_ms, forgotten)))
    }

    /// Counts a failed try.
    pub fn failed(&mut self, account: &str, remote: IpAddr, now: Timestamp) {
        let forgotten = self.forgotten_after_ms;
        make_room(&mut self.addresses, now, forgotten);
        make_room(&mut self.accounts, now, forgotten);
        count(self.addresses.entry(place(remote)).or_default(), now, forgotten);
        count(self.accounts.entry(account.to_owned()).or_default(), now, forgotten);
    }

    /// Forgets what failed from here, and remembers that the account comes from here.
    pub fn succeeded(&mut self, account: &str, remote: IpAddr) {
        // Who shares a place with others takes back its own try alone: else any account there would be leave to guess at another.
        match (place(remote), self.addresses.get_mut(&HOST)) {
            (HOST, Some(failures)) => failures.count = failures.count.saturating_sub(1),
            (place, _) => drop(self.addresses.remove(&place)),
        }
        // This try was counted before it was looked at; those of others stay counted.
        if let Some(failures) = self.accounts.get_mut(account) {
            failures.count = failures.count.saturating_sub(1);
        }
        if !self.knows(account, remote) {
            let known = self.known.entry(account.to_owned()).or_default();
            known.truncate(KNOWN_PER_ACCOUNT - 1);
            known.insert(0, place(remote));
        }
    }

    /// Takes back a try that was counted and then not looked at.
    pub fn not_looked_at(&mut self, account: &str, remote: IpAddr) {
        for failures in self.addresses.get_mut(&place(remote)).into_iter().chain(self.accounts.get_mut(account)) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// Whether anybody has signed in from here; this host always counts as such a place.
    pub fn is_known(&self, remote: IpAddr) -> bool {
        let place = place(remote);
        place == HOST || self.known.values().any(|known| known.contains(&place))
    }

    fn knows(&self, account: &str, remote: IpAddr) -> bool {
        self.known.get(account).is_some_and(|known| known.contains(&place(remote)))
    }
}

// One IPv6 customer has a whole /64, and any program here all of 127.0.0.0/8; a try from any of these addresses is a try of the same one.
fn place(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        host if host.is_loopback() => HOST,
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

fn count(failures: &mut Failures, now: Timestamp, forgotten: i64) {
    let fresh = now.since_ms(failures.last) <= forgotten;
    *failures = Failures { count: if fresh { failures.count.saturating_add(1) } else { 1 }, last: now };
}

fn make_room<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Failures>, now: Timestamp, forgotten: i64) {
    if map.len() < MOST {
        return;
    }
    map.retain(|_, failures| now.since_ms(failures.last) <= forgotten);
    if map.len() >= MOST {
        // A flood from everywhere: those who tried once or twice are let go before those who insist.
        map.retain(|_, failures| failures.count >= FREE);
    }
    if map.len() >= MOST {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: [u8; 4] = [203, 0, 113, 9];
    const HOME: [u8; 4] = [10, 0, 0, 7];

    #[test]
    fn atk_a01_one_address_waits_longer_each_time() {
        let mut throttle = Throttle::default();
        let remote = IpAddr::from(STRANGER);
        let mut now = Timestamp(1_000_000);
        let mut tried = 0;
        // A thousand tries a minute for ten minutes.
        for _ in 0..10_000 {
            if throttle.wait_ms("ana", remote, now) == 0 {
                throttle.failed("ana", remote, now);
                tried += 1;
            }
            now = now.plus_ms(60);
        }
        assert!((5..25).contains(&tried), "{tried} passwords in ten minutes");
    }

    #[test]
    fn atk_a01_many_addresses_share_the_waiting_time_of_an_account() {
        let mut throttle = Throttle::default();
        let mut tried = 0;
        for n in 0..2_000u32 {
            let remote = IpAddr::from(n.to_be_bytes());
            let now = Timestamp(1_000_000 + i64::from(n) * 60);
            if throttle.wait_ms("ana", remote, now) == 0 {
                throttle.failed("ana", remote, now);
                tried += 1;
            }
        }
        assert!(tried < 20, "{tried} passwords in two minutes");
    }

    #[test]
    fn atk_a01_strangers_never_lock_out_the_only_admin() {
        let mut throttle = Throttle::default();
        let home = IpAddr::from(HOME);
        throttle.succeeded("ana", home);
        let mut now = Timestamp(1_000_000);
        for n in 0..1_000u32 {
            throttle.failed("ana", IpAddr::from((n << 8 | 1).to_be_bytes()), now);
            now = now.plus_ms(10);
        }
        assert_eq!(throttle.wait_ms("ana", home, now), 0);
        let elsewhere = throttle.wait_ms("ana", IpAddr::from(STRANGER), now);
        assert!((1..=ACCOUNT_CAP_MS).contains(&elsewhere), "a new place waits, but never longer than 30 s: {elsewhere}");
    }

    #[test]
    fn atk_a01_strangers_keep_nobody_from_the_setup_or_from_this_host() {
        let mut throttle = Throttle::default();
        for n in 0..1_000u32 {
            throttle.failed(SETUP, IpAddr::from((n << 8 | 1).to_be_bytes()), Timestamp(1_000));
            throttle.failed("ana", IpAddr::from((n << 8 | 1).to_be_bytes()), Timestamp(1_000));
        }
        assert_eq!(throttle.wait_ms(SETUP, IpAddr::from(HOME), Timestamp(1_000)), 0);
        assert_eq!(throttle.wait_ms("ana", IpAddr::from([127, 0, 0, 1]), Timestamp(1_000)), 0);
        for _ in 0..6 {
            throttle.failed(SETUP, IpAddr::from(STRANGER), Timestamp(1_000));
        }
        assert!(throttle.wait_ms(SETUP, IpAddr::from(STRANGER), Timestamp(1_000)) > 0, "one address still waits");
    }

    #[test]
    fn atk_a01_codes_from_everywhere_are_a_few_hundred_a_day() {
        let mut throttle = Throttle::of_codes();
        let mut tried = 0;
        // A try each second, each from an address that was never seen.
        for n in 0..86_400u32 {
            let (remote, now) = (IpAddr::from((n << 8 | 1).to_be_bytes()), Timestamp(1_000_000 + i64::from(n) * 1_000));
            if throttle.wait_ms("ana", remote, now) == 0 {
                throttle.failed("ana", remote, now);
                tried += 1;
            }
        }
        assert!((100..350).contains(&tried), "{tried} codes in a day");
    }

    /// Tries from this host, each from another loopback address; gives how many were looked at.
    fn tries_here(throttle: &mut Throttle, account: &str, (every_ms, many): (i64, u32)) -> u32 {
        let mut tried = 0;
        for n in 0..many {
            let [_, b, c, d] = n.to_be_bytes();
            let (remote, now) = (IpAddr::from([127, b, c, d | 1]), Timestamp(1_000_000 + i64::from(n) * every_ms));
            if throttle.wait_ms(account, remote, now) == 0 {
                throttle.failed(account, remote, now);
                tried += 1;
            }
        }
        tried
    }

    #[test]
    fn atk_a01_this_host_is_one_place_and_waits_a_little() {
        let mut throttle = Throttle::default();
        let tried = tries_here(&mut throttle, "ana", (60, 10_000));
        assert!((5..35).contains(&tried), "{tried} passwords in ten minutes");
        let now = Timestamp(1_000_000 + 10_000 * 60);
        let wait = throttle.wait_ms("ana", IpAddr::from([127, 0, 0, 1]), now);
        assert!((1..=HOST_CAP_MS).contains(&wait), "whoever sits here waits, never for long: {wait}");
        assert_eq!(throttle.wait_ms("ana", "::1".parse().unwrap(), now), wait, "by either version");
        throttle.succeeded("ana", IpAddr::from(HOME));
        assert_eq!(throttle.wait_ms("ana", IpAddr::from(HOME), now), 0, "and not at home");
    }

    #[test]
    fn atk_a01_an_account_of_ones_own_is_no_leave_to_guess_at_another_from_this_host() {
        let (mut throttle, here) = (Throttle::default(), IpAddr::from([127, 0, 0, 1]));
        let mut now = Timestamp(1_000_000);
        let mut tried = 0;
        for n in 0..10_000 {
            let account = if n % 4 == 3 { "viewer" } else { "ana" };
            if throttle.wait_ms(account, here, now) == 0 {
                throttle.failed(account, here, now);
                match account {
                    "viewer" => throttle.succeeded("viewer", here),
                    _ => tried += 1,
                }
            }
            now = now.plus_ms(60);
        }
        assert!(tried < 40, "{tried} passwords in ten minutes");
    }

    #[test]
    fn atk_a01_codes_from_this_host_are_a_few_hundred_a_day() {
        let mut throttle = Throttle::of_codes();
        throttle.succeeded("ana", IpAddr::from([127, 0, 0, 1]));
        let tried = tries_here(&mut throttle, "ana", (1_000, 86_400));
        assert!((100..350).contains(&tried), "{tried} codes in a day");
    }

    #[test]
    fn memory_is_bounded_and_time_forgets() {
        let mut throttle = Throttle::default();
        for n in 0..30_000u32 {
            throttle.failed(&format!("u{n}"), IpAddr::from(n.to_be_bytes()), Timestamp(1));
        }
        assert!(throttle.addresses.len() <= MOST && throttle.accounts.len() <= MOST);
        let mut throttle = Throttle::default();
        for _ in 0..20 {
            throttle.failed("ana", IpAddr::from(STRANGER), Timestamp(0));
        }
        assert_eq!(throttle.wait_ms("ana", IpAddr::from(STRANGER), Timestamp(FORGOTTEN_AFTER_MS + 1)), 0);
    }
}
