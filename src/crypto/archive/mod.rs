//! The archive, format 1: `META.json`, then `payload/…`, then `MANIFEST.json` in a tar, in one zstd frame, encrypted with age to several
//! recipients. Written and read as a stream, in bounded memory; stock `age`, `zstd` and `tar` open it. Never decides what is stored where, and
//! says nothing of who made it: that is what the signed sidecar is for.

mod hashed;
mod model;
mod name;
mod parallel;
mod read;
mod standing;
#[cfg(test)]
mod tests;
mod write;

pub use hashed::{Hashed, PIECE, digest_file, hex, pour};
pub use model::{Entry, EntryKind, FORMAT, Manifest, Meta, Skipped};
pub use name::check as check_name;
pub use read::{Identities, Limits, Opened, Sink, open, reencrypt, verify};
pub use standing::{AtOnce, Pace, last, worked};
pub use write::{Ephemeral, Sealed, Writer};

/// First entry.
const META: &str = "META.json";
/// Last entry.
const MANIFEST: &str = "MANIFEST.json";
/// Everything between them stands below this.
const PAYLOAD: &str = "payload/";

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// None of the identities opens it.
    #[error("none of the given identities opens this archive")]
    WrongKey,
    /// It was changed, cut or never was an archive.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// It is well formed and holds what is never restored.
    #[error("the archive is refused: {0}")]
    Hostile(String),
    /// A newer Lifeboat wrote it.
    #[error("the archive has format {0}; this version reads format 1")]
    Newer(u32),
    /// It is larger than was said.
    #[error("the archive holds more than {0}")]
    TooLarge(String),
    /// A recipient or identity is none.
    #[error("{0}")]
    Key(String),
    /// A file could not be read or written.
    #[error("{what}: {cause}")]
    Io {
        /// What was done.
        what: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl ArchiveFault {
    /// A failure of the system while `what` was done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull)
    }
}
