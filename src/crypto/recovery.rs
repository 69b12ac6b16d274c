//! The recovery identity (age, X25519): its text is shown once and kept off the machine; archives are encrypted to its recipient. Never
//! stores anything.

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};

use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;

/// A new identity.
#[derive(Debug)]
pub struct Recovery {
    /// `AGE-SECRET-KEY-1…`: opens the archives.
    pub identity: Secret<String>,
    /// `age1…`: encrypts them.
    pub recipient: String,
}

/// Makes an identity.
pub fn create() -> Recovery {
    let identity = Identity::generate();
    let recipient = identity.to_public().to_string();
    Recovery { identity: Secret::new(identity.to_string().expose_secret().to_owned()), recipient }
}

/// The recipient of an identity's text.
///
/// # Errors
/// `Invalid` when the text is no identity; the fault does not repeat it.
pub fn recipient_of(identity: &Secret<String>) -> Verb<String> {
    let parsed: Result<Identity, _> = identity.reveal().trim().parse();
    parsed.map(|identity| identity.to_public().to_string()).map_err(|_| Fault::invalid("identity", "is no age identity"))
}

/// Opens a short text with an identity of an age key file.
///
/// # Errors
/// `Invalid` when the file holds no identity, or none of its identities opens the text; nothing of either is repeated.
pub fn decrypt(file: &Secret<String>, sealed: &[u8]) -> Verb<Secret<String>> {
    let lines = file.reveal().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identities: Vec<Identity> = lines.filter_map(|line| line.parse().ok()).collect();
    if identities.is_empty() {
        return Err(Fault::invalid("identity", "the file holds no age identity"));
    }
    let opened = identities.iter().find_map(|identity| age::decrypt(identity, sealed).ok());
    let opened = opened.and_then(|bytes| String::from_utf8(bytes).ok()).map(Secret::new);
    opened.ok_or_else(|| Fault::invalid("identity", "does not open what was encrypted to this recipient"))
}

/// Whether a text is a recipient.
///
/// # Errors
/// `Invalid` when it is not.
pub fn check_recipient(text: &str) -> Verb<()> {
    let parsed: Result<Recipient, _> = text.parse();
    parsed.map(|_| ()).map_err(|_| Fault::invalid("recipient", "is no age recipient: it begins with age1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_opens_what_its_recipient_encrypts() {
        let made = create();
        assert_eq!(recipient_of(&made.identity).unwrap(), made.recipient);
        check_recipient(&made.recipient).unwrap();
        let recipient: Recipient = made.recipient.parse().unwrap();
        let identity: Identity = made.identity.reveal().parse().unwrap();
        let sealed = age::encrypt(&recipient, b"memory").unwrap();
        assert_eq!(age::decrypt(&identity, &sealed).unwrap(), b"memory");
        assert_ne!(create().recipient, made.recipient);
    }

    #[test]
    fn what_is_no_identity_is_refused_without_repeating_it() {
        let fault = recipient_of(&Secret::new("AGE-SECRET-KEY-1NOPE".into())).unwrap_err();
        assert!(!fault.to_string().contains("NOPE"));
        assert!(check_recipient("age1nope").is_err());
    }
}
