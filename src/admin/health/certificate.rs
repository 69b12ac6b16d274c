//! How long the certificate lasts that the listeners show, and whether its files are what is shown. Only looks.

use crate::admin::Admin;
use crate::base::clock::Timestamp;
use crate::crypto::ca::{self, Described};
use crate::crypto::tls::Served;
use crate::policy::feed::Way;

const DAY_MS: i64 = 86_400_000;
/// So long before its end somebody is told.
const WARNING_DAYS: i64 = 14;

/// What is wrong with the certificate, in a sentence; `None` when it serves and lasts two weeks more.
pub fn certificate(admin: &Admin) -> Option<String> {
    let now = admin.clock.now();
    match served(admin) {
        Some(served) => {
            served.trouble.map(|why| format!("{why}; the certificate before it stays")).or_else(|| ending(&served.certificate, now))
        }
        None => ending(&on_disk(admin)?, now),
    }
}

/// When the certificate that is shown ends.
pub fn certificate_ends(admin: &Admin) -> Option<Timestamp> {
    let shown = served(admin).map(|served| served.certificate).or_else(|| on_disk(admin))?;
    Some(shown.not_after)
}

/// What is shown now, when Lifeboat runs.
fn served(admin: &Admin) -> Option<Served> {
    admin.feed.listeners().into_iter().find_map(|listener| match listener.way {
        Way::Tls(_, tls) => tls.served(),
        Way::Plain(_) | Way::Socket(_) => None,
    })
}

fn on_disk(admin: &Admin) -> Option<Described> {
    let named = admin.feed.snapshot().settings.tls.cert.clone();
    ca::describe(&std::fs::read(named.unwrap_or_else(|| admin.data.server_pem())).ok()?)
}

fn ending(certificate: &Described, now: Timestamp) -> Option<String> {
    let left = certificate.not_after.since_ms(now);
    let days = left.div_euclid(DAY_MS);
    match left {
        ..=0 => Some(format!("the certificate ended on {}: clients refuse it", certificate.not_after)),
        _ if days < WARNING_DAYS => Some(format!("the certificate ends on {}, in {days} days", certificate.not_after)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_16_two_weeks_before_its_end_somebody_is_told() {
        let certificate = Described {
            subject: String::new(),
            issuer: String::new(),
            hosts: Vec::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(100 * DAY_MS),
        };
        let at = |days: i64| ending(&certificate, Timestamp(days * DAY_MS));
        assert_eq!(at(85), None);
        assert_eq!(at(86), None, "a full fortnight");
        assert!(at(87).unwrap().contains("in 13 days"));
        assert!(at(100).unwrap().contains("clients refuse it"));
    }
}
