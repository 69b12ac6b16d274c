//! Credentials of other systems in the inventory: database roles, tokens of issuers, and what Lifeboat itself shows those systems. Never sees a secret but to
//! name it.

use std::collections::HashMap;

use super::issuer::{self, Issuer};
use super::{context, has_admin, store};
use crate::admin::Admin;
use crate::admin::credentials::drivers::{issued_and_sent, named_in_variables};
use crate::admin::credentials::inventory::{DAY_MS, Found, RENEW_MS, version};
use crate::admin::credentials::kinds::Kind;
use crate::admin::credentials::model::{Strategy, Version};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::config::credentials::Credentials;

/// Every one.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn listed(
    admin: &Admin,
    said: &Credentials,
    proved: &HashMap<String, Timestamp>,
) -> Verb<Vec<Found>> {
    let mut all = databases(admin, said, proved).await?;
    for issuer in issuer::all(said) {
        all.push(token(admin, &issuer, proved).await?);
    }
    all.extend(admins(admin, said).await?);
    Ok(all)
}

async fn databases(admin: &Admin, said: &Credentials, proved: &HashMap<String, Timestamp>) -> Verb<Vec<Found>> {
    let mut all = Vec::new();
    for config in &said.postgres {
        let since = proved.get(&format!("{}/{}", Kind::Postgres.word(), config.name)).copied();
        let named = named_in_variables(admin, config).ok().flatten();
        let odd = match (&named, has_admin(admin, config).await?) {
            (_, false) => Some(format!("this host keeps no password of role {} that fits the configuration", config.admin)),
            (None, _) => Some(format!("the variables of server {} name none of its roles", config.server)),
            _ => None,
        };
        // VALID UNTIL counts from the rotation that set it.
        let ends = since.filter(|_| config.valid_days > 0).map(|at| at.plus_ms(i64::from(config.valid_days) * DAY_MS));
        let versions = named.map(|(_, id)| Version { expires_at: ends, ..version(id, "current", since) });
        let strategy = if config.roles.len() == 1 { Strategy::Single } else { Strategy::Dual };
        let due_at = ends.map(|ends| ends.plus_ms(-RENEW_MS));
        let odd = odd.map(|note| ("missing", note));
        let versions = versions.into_iter().collect();
        all.push(Found { odd, due_at, strategy, ..Found::new(Kind::Postgres, &config.name, versions) });
    }
    Ok(all)
}

async fn token(admin: &Admin, issuer: &Issuer, proved: &HashMap<String, Timestamp>) -> Verb<Found> {
    let since = proved.get(&issuer.credential()).copied();
    let sent = issued_and_sent(admin, issuer).ok().flatten();
    let waits = match issuer {
        Issuer::Http(_) if issuer::has_admin(admin, issuer).await? => None,
        Issuer::Http(_) => Some("this host keeps nothing to show the issuer that fits its address".to_owned()),
        Issuer::Command(_) => issuer::waits(admin, issuer).await?,
    };
    let unsent = || sent.is_none().then(|| format!("server {} is sent no token: a rotation has one made", issuer.server()));
    let odd = waits.or_else(unsent).map(|note| ("missing", note));
    let versions = sent.map(|(_, id)| version(id, "current", since)).into_iter().collect();
    Ok(Found { odd, ..Found::new(issuer.kind(), issuer.name(), versions) })
}

/// What this host keeps to show other systems. What is not kept is missed where it is needed.
async fn admins(admin: &Admin, said: &Credentials) -> Verb<Vec<Found>> {
    let databases = said.postgres.iter().map(|one| (Kind::Postgres, one.name.clone(), context(one)));
    let issuers = issuer::all(said).into_iter().filter(Issuer::needs_admin);
    let issuers = issuers.map(|one| (one.kind(), one.name().to_owned(), one.context()));
    let mut all = Vec::new();
    for (kind, name, context) in databases.chain(issuers) {
        let Some((sealed, at)) = store::read(&admin.db, &format!("{}/{name}", kind.word())).await? else { continue };
        let opened = admin.sealer.open(&context, &sealed).ok();
        let said =
            format!("it was given for another address or command line, and is not shown to {}/{name} as it is now", kind.word());
        let odd = opened.is_none().then_some(("missing", said));
        let id = opened.map(|opened| admin.sealer.fingerprint(opened.reveal()));
        let versions = vec![version(id.unwrap_or_else(|| "sealed".to_owned()), "current", Some(at))];
        all.push(Found { odd, ..Found::new(Kind::Admin, format!("{}:{name}", kind.word()), versions) });
    }
    Ok(all)
}
