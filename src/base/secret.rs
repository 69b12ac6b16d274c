//! A value that must not be seen. `Secret<T>` never prints itself; reading it is one named method that a search finds.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Holds a secret; `Debug` and `Display` print dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Gives the secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

/// From the text of an order; writing one back has no way.
impl<'de> Deserialize<'de> for Secret<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_prints_dots() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret}"), "••• •••");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
