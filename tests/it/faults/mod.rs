//! Attack and fault cases against the whole app: keys, names, resources, hostile peers, strange bytes.

mod bytes;
mod hostile;
mod keys;
mod names;
mod same;
mod strange;

/// `full` with LIFEBOAT_LONG set, else `quick`.
pub(crate) fn sized(quick: u64, full: u64) -> u64 {
    if std::env::var_os("LIFEBOAT_LONG").is_some() { full } else { quick }
}
