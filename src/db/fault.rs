//! Turns a database error into a fault. Never shows SQL or a row to a person: the error itself is kept as the cause, for the log.

use crate::base::fault::{Fault, FaultKind};

/// A database error as a fault: a row that exists already or breaks a reference is a conflict, no row is not found, a busy, full or
/// unreadable file is unavailable, everything else a bug. `what` says what could not be done: "cannot store the client".
pub fn fault(error: sqlx::Error, what: &str) -> Fault {
    let kind = kind(&error);
    let message = match kind {
        FaultKind::NotFound => format!("{what}: there is no such entry"),
        FaultKind::Conflict => format!("{what}: it exists already, or something it needs or that needs it is in the way"),
        FaultKind::Unavailable => format!("{what}: the database does not answer"),
        _ => what.to_owned(),
    };
    Fault::new(kind, message).because(error)
}

fn kind(error: &sqlx::Error) -> FaultKind {
    match error {
        sqlx::Error::RowNotFound => FaultKind::NotFound,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            FaultKind::Unavailable
        }
        sqlx::Error::Database(cause) if cause.is_unique_violation() || cause.is_foreign_key_violation() => FaultKind::Conflict,
        sqlx::Error::Database(cause) => {
            let code = cause.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
            // The low byte is SQLite's primary result code.
            match code & 0xff {
                PERM | BUSY | LOCKED | READONLY | IOERR | CORRUPT | FULL | CANTOPEN | PROTOCOL | NOTADB => FaultKind::Unavailable,
                _ => FaultKind::Bug,
            }
        }
        _ => FaultKind::Bug,
    }
}

const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const PROTOCOL: u32 = 15;
const NOTADB: u32 = 26;
