//! Which kinds of credentials a deployment has: how each is replaced, how often when nobody says otherwise, and what its rotation means. Pure.

use crate::base::fault::{Fault, Verb};

use super::model::Strategy;
use crate::policy::tokens::LIFE_MS;

const HOUR_MS: i64 = 3_600_000;

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What a client shows at the proxy.
    ClientKey,
    /// What a client shows at the token endpoint.
    ClientSecret,
    /// What signs the tokens that are given there.
    TokenKey,
    /// A header, variable or certificate towards a server.
    Upstream,
    /// What signs the notices to a receiver of alerts.
    Webhook,
    /// The certificate that both listeners show.
    Tls,
    /// The authority that signs it.
    Ca,
    /// Who can open archives.
    Recipient,
    /// The role that a server logs in with at a PostgreSQL database.
    Postgres,
    /// A token that an issuer makes when it is asked by HTTP.
    Http,
    /// A token that an issuer makes when a command on this host asks it.
    Command,
    /// What Lifeboat itself shows another system, to replace credentials there.
    Admin,
    /// What an operator signs in with.
    OperatorPassword,
    /// What an operator shows at the API.
    OperatorKey,
    /// Browsers that are signed in.
    OperatorSession,
    /// What signs the ledger's checkpoints, archives' notes and reports.
    LedgerKey,
    /// What seals secrets at rest.
    InstanceKey,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::ClientKey,
        Self::ClientSecret,
        Self::TokenKey,
        Self::Upstream,
        Self::Webhook,
        Self::Tls,
        Self::Ca,
        Self::Recipient,
        Self::Postgres,
        Self::Http,
        Self::Command,
        Self::Admin,
        Self::OperatorPassword,
        Self::OperatorKey,
        Self::OperatorSession,
        Self::LedgerKey,
        Self::InstanceKey,
    ];

    /// What a name begins with.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientKey => "client-key",
            Self::ClientSecret => "client-secret",
            Self::TokenKey => "token-key",
            Self::Upstream => "upstream",
            Self::Webhook => "webhook",
            Self::Tls => "tls",
            Self::Ca => "ca",
            Self::Recipient => "recipient",
            Self::Postgres => "postgres",
            Self::Http => "http",
            Self::Command => "command",
            Self::Admin => "admin",
            Self::OperatorPassword => "operator-password",
            Self::OperatorKey => "operator-key",
            Self::OperatorSession => "operator-session",
            Self::LedgerKey => "ledger-key",
            Self::InstanceKey => "instance-key",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::ClientKey => "Client key",
            Self::ClientSecret => "Client secret",
            Self::TokenKey => "Token-signing key",
            Self::Upstream => "Secret towards a server",
            Self::Webhook => "Signing secret of a receiver",
            Self::Tls => "Server certificate",
            Self::Ca => "Certificate authority",
            Self::Recipient => "Backup recipient",
            Self::Postgres => "Database role",
            Self::Http => "Token of an issuer",
            Self::Command => "Token of an issuer, by command",
            Self::Admin => "Lifeboat's own secret at another system",
            Self::OperatorPassword => "Operator password",
            Self::OperatorKey => "Operator API keys",
            Self::OperatorSession => "Dashboard sessions",
            Self::LedgerKey => "Ledger-signing key",
            Self::InstanceKey => "Instance key",
        }
    }

    /// How it is replaced.
    pub fn strategy(self) -> Strategy {
        match self {
            Self::ClientKey | Self::ClientSecret | Self::TokenKey | Self::Webhook | Self::Tls => Strategy::Dual,
            Self::Postgres | Self::Http | Self::Command => Strategy::Dual,
            Self::Upstream | Self::Recipient | Self::Admin => Strategy::Assisted,
            Self::OperatorPassword | Self::OperatorKey | Self::OperatorSession => Strategy::Single,
            Self::Ca | Self::LedgerKey | Self::InstanceKey => Strategy::Elsewhere,
        }
    }

    /// Days after which it is due; 0 means never.
    pub fn days(self) -> u32 {
        match self {
            Self::ClientKey | Self::ClientSecret | Self::TokenKey => 90,
            Self::Upstream | Self::OperatorKey | Self::Postgres | Self::Http | Self::Command | Self::Admin => 90,
            Self::Webhook | Self::Recipient => 365,
            // It is renewed by itself 30 days before its end.
            Self::Tls => 367,
            Self::OperatorPassword | Self::OperatorSession | Self::Ca | Self::LedgerKey | Self::InstanceKey => 0,
        }
    }

    /// How long old and new count side by side.
    pub fn overlap_ms(self) -> i64 {
        match self {
            Self::ClientKey | Self::ClientSecret | Self::Webhook | Self::Upstream => 24 * HOUR_MS,
            // Nothing that the old one signed lives longer.
            Self::TokenKey => LIFE_MS,
            Self::Recipient => 7 * 24 * HOUR_MS,
            Self::Postgres | Self::Http | Self::Command => HOUR_MS,
            _ => 0,
        }
    }

    /// How long the old one must rest before it is taken for given up.
    pub fn quiet_ms(self) -> i64 {
        if matches!(self, Self::ClientKey | Self::ClientSecret) { 15 * 60_000 } else { 0 }
    }

    /// What its rotation does, or what is done instead.
    pub fn means(self) -> &'static str {
        match self {
            Self::ClientKey => {
                "A second key is issued, seen at work through the proxy, and handed over once. The old one ends when every place that used it uses the new one and it has rested, or when you say so."
            }
            Self::ClientSecret => {
                "A second secret is issued, seen to get a token and to call with it, and handed over once. The old one ends when every place that used it uses the new one and neither it nor a token it got was used for a while, or when you say so; the tokens it got end with it."
            }
            Self::TokenKey => {
                "A new key is published beside the one that signs. After five minutes, when everybody who keeps the published keys may know it, it signs; the old one ends when its last token has expired, ten minutes later at most. With --force it signs at once, which hurts no client: clients never check our tokens. Without overlap the tokens of the old one end at once too, and their clients get new ones by themselves."
            }
            Self::Upstream => {
                "You bring the new value. It is tried against the server before calls use it; the old one is kept sealed until it is retired, so that it can come back."
            }
            Self::Webhook => {
                "A second secret signs beside the old one, so the receiver takes either. The old one signs no more when the overlap ends."
            }
            Self::Postgres => {
                "The role that is not in use gets a new password, which is tried in the database and in the server; then the server's variables name it and its process starts anew. When the overlap is over and the old role has no session left, it can log in no more."
            }
            Self::Http => {
                "The issuer makes a new token, the server is tried with it, and calls use it. When the overlap is over the issuer is told to end the old one, and the server is seen to refuse it."
            }
            Self::Command => {
                "A command makes a new token at the issuer, the server is tried with it, and calls use it. When the overlap is over another command ends the old one there, and the server is seen to refuse it. Commands start only where they were approved: lifeboat credential approve NAME."
            }
            Self::Admin => {
                "Not by Lifeboat: change it at that system, then give it here with lifeboat credential admin KIND/NAME --password-stdin, where KIND/NAME is what stands behind admin/, with a slash for the colon. It is tried there before it is kept."
            }
            Self::Tls => "A new key and certificate of Lifeboat's own CA; new connections get it, open ones live on.",
            Self::Ca => {
                "Not by itself: every client trusts this certificate. Its ten years end on the day that is shown; a new deployment makes a new one."
            }
            Self::Recipient => {
                "You bring a new recipient and show that its identity is at hand. Archives are made for both until one was opened by the new identity; then the old one opens no new archive. What it opens today it opens for ever: keep it, or encrypt the archives anew."
            }
            Self::OperatorPassword => {
                "lifeboat operator reset NAME --password-stdin; it ends every session and key of the operator."
            }
            Self::OperatorKey => {
                "lifeboat operator key add NAME, then lifeboat operator key revoke KID when the new one is in use."
            }
            Self::OperatorSession => {
                "They end by themselves after 30 minutes without use and 12 hours in any case; disabling the operator ends them now."
            }
            Self::LedgerKey => {
                "Not by itself: archives, reports and checkpoints are trusted by it. Who rebuilds must name its public half."
            }
            Self::InstanceKey => "Not by itself: every secret at rest here is sealed with it. A rebuild brings it back.",
        }
    }
}

/// Reads `KIND/NAME`.
///
/// # Errors
/// `Invalid`, naming the kinds there are.
pub fn parse(text: &str) -> Verb<(Kind, &str)> {
    let found = text.split_once('/').and_then(|(word, name)| Some((Kind::ALL.into_iter().find(|kind| kind.word() == word)?, name)));
    found.filter(|(_, name)| !name.is_empty()).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        Fault::invalid("name", format!("\"{text}\" is no credential: its name is KIND/NAME, where KIND is {}", kinds.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_kind_first() {
        assert_eq!(parse("client-key/ci").unwrap(), (Kind::ClientKey, "ci"));
        assert_eq!(parse("upstream/github:authorization").unwrap(), (Kind::Upstream, "github:authorization"));
        for bad in ["", "ci", "client-key/", "key/x", "/x"] {
            assert_eq!(parse(bad).unwrap_err().place.as_deref(), Some("name"), "{bad}");
        }
    }

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        let mut words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Kind::ALL.len());
    }
}
