//! What doctor says about how servers are trusted: TLS 1.2 and until when, client certificates that end. Only looks.

use super::{Check, State, check};
use crate::admin::servers::waiver;
use crate::base::clock::Timestamp;
use crate::crypto::tls::ends_at;
use crate::policy::Snapshot;
use crate::policy::snapshot::ServerEntry;

const SOON_MS: i64 = 14 * 24 * 60 * 60 * 1_000;

/// One check for each thing that will stop a server from being reached.
pub(super) fn checks(snapshot: &Snapshot, now: Timestamp) -> Vec<Check> {
    let servers = snapshot.servers.values();
    servers.flat_map(|entry| [tls12(entry, now), certificate(entry, now)]).flatten().collect()
}

fn tls12(entry: &ServerEntry, now: Timestamp) -> Option<Check> {
    let waiver = waiver(&entry.config, now)?;
    let mend = format!("let it speak TLS 1.3, then take tls12_until out of servers/{}.toml", entry.name);
    if waiver.ended {
        let detail = format!("the waiver of {} for TLS 1.2 ended on {}: {}", entry.name, waiver.until, waiver.reason);
        return Some(check("tls 1.2", State::Fail, detail, mend));
    }
    let detail = format!("{} may speak TLS 1.2 through {}: {}", entry.name, waiver.until, waiver.reason);
    Some(check("tls 1.2", State::Warn, detail, mend))
}

fn certificate(entry: &ServerEntry, now: Timestamp) -> Option<Check> {
    let ends = ends_at(entry.secrets.client.as_ref()?.reveal())?;
    if now.plus_ms(SOON_MS) < ends {
        return None;
    }
    let (state, word) = if ends <= now { (State::Fail, "ended") } else { (State::Warn, "ends") };
    let detail = format!("the client certificate shown to {} {word} at {ends}", entry.name);
    let mend = format!("lifeboat server secrets {} --client-cert FILE --client-key FILE", entry.name);
    Some(check("client certificate", state, detail, mend))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::secret::Secret;
    use crate::config::ServerConfig;
    use crate::policy::snapshot::ServerSecrets;

    fn seen(toml: &str, client: Option<String>, now: &str) -> Vec<(String, State)> {
        let config: ServerConfig = toml::from_str(&format!("[upstream.http]\nurl = \"https://x.example/mcp\"\n{toml}")).unwrap();
        let secrets = ServerSecrets { approved: true, client: client.map(Secret::new), ..ServerSecrets::default() };
        let mut snapshot = Snapshot::default();
        snapshot.servers.insert("x".into(), Arc::new(ServerEntry { name: "x".into(), config, secrets }));
        checks(&snapshot, Timestamp::parse(now).unwrap()).into_iter().map(|check| (check.name, check.state)).collect()
    }

    #[test]
    fn what_will_stop_a_server_is_told_before() {
        let now = "2026-11-25T10:00:00Z";
        assert_eq!(seen("", None, now), []);
        let waiver = "tls12_until = \"2026-11-25\"\ntls12_reason = \"old box\"";
        assert_eq!(seen(waiver, None, now), [("tls 1.2".to_owned(), State::Warn)], "its last day counts");
        assert_eq!(seen(waiver, None, "2026-11-26T00:00:00Z"), [("tls 1.2".to_owned(), State::Fail)]);
    }

    #[test]
    fn flt_16_a_client_certificate_that_ends_is_told_two_weeks_before() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["us".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2026, 12, 10);
        let pem = params.self_signed(&key).unwrap().pem();
        for (now, due) in [
            ("2026-11-20T00:00:00Z", None),
            ("2026-11-27T00:00:00Z", Some(State::Warn)),
            ("2026-12-11T00:00:00Z", Some(State::Fail)),
        ] {
            let state = seen("client_certificate = true", Some(pem.clone()), now).first().map(|(_, state)| *state);
            assert_eq!(state, due, "{now}");
        }
    }
}
