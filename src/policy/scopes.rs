//! What a token may be used for at most: scopes, one a class. A scope holds for its class and for what is more harmless (the hierarchy that
//! MCP's authorization asks servers to have). Never gives a client more than its grants do: both must permit a call.

use std::fmt;

use crate::config::Class;

const ALL: [(Class, &str); 3] =
    [(Class::Read, "tools:read"), (Class::Write, "tools:write"), (Class::Destructive, "tools:destructive")];

/// Every scope there is, as discovery documents name them.
pub const SUPPORTED: [&str; 3] = [ALL[0].1, ALL[1].1, ALL[2].1];
/// What a client without a token should ask for first.
pub const FIRST: &str = ALL[0].1;

/// A set of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scopes(u8);

/// A scope that there is none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownScope;

impl Scopes {
    /// The scope of one class.
    pub fn of(class: Class) -> Self {
        Self(bit(class))
    }

    /// Reads a list as RFC 6749 section 3.3 writes it: names with one space between.
    ///
    /// # Errors
    /// When one of them is none, or there is none at all.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        text.split(' ').try_fold(Self::default(), |all, name| {
            let known = ALL.iter().find(|(_, scope)| *scope == name).ok_or(UnknownScope)?;
            Ok(all.and(Self::of(known.0)))
        })
    }

    /// Reads a list that others wrote too: what is no scope of ours counts for nothing.
    pub fn of_ours(text: &str) -> Self {
        let known = text.split(' ').filter_map(|name| Self::parse(name).ok());
        known.fold(Self::default(), Self::and)
    }

    /// These and others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The most dangerous class that is in it.
    pub fn top(self) -> Option<Class> {
        ALL.iter().rev().map(|(class, _)| *class).find(|class| self.0 & bit(*class) != 0)
    }

    /// Whether calls of a class are within it.
    pub fn cover(self, class: Class) -> bool {
        self.top().is_some_and(|top| class <= top)
    }
}

fn bit(class: Class) -> u8 {
    match class {
        Class::Read => 1,
        Class::Write => 2,
        Class::Destructive => 4,
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALL.iter().filter(|(class, _)| self.0 & bit(*class) != 0).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_for_what_is_more_harmless() {
        let write = Scopes::parse("tools:write").expect("scope");
        assert!(write.cover(Class::Read) && write.cover(Class::Write) && !write.cover(Class::Destructive));
        assert!(!Scopes::default().cover(Class::Read));
        let both = Scopes::parse("tools:destructive tools:read").expect("scopes");
        assert_eq!(both.to_string(), "tools:read tools:destructive");
        assert_eq!(Scopes::parse(&SUPPORTED.join(" ")).map(Scopes::top), Ok(Some(Class::Destructive)));
    }

    #[test]
    fn atk_o06_what_is_no_scope_is_none() {
        for odd in ["", "*", "tools:*", "tools:read ", "tools:read  tools:write", "TOOLS:READ", "tools:read\ttools:write", "admin"]
        {
            assert_eq!(Scopes::parse(odd), Err(UnknownScope), "{odd:?}");
        }
        assert_eq!(Scopes::of_ours("openid * tools:write").to_string(), "tools:write");
        assert_eq!(Scopes::of_ours("openid profile"), Scopes::default());
    }
}
