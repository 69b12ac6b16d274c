//! What every command does before it may hold a secret: no core files, and no look into its memory by other programs of the account. Never
//! fails a command: where the system does not allow it, the doctor's other checks still stand.

/// Asks the system for both.
pub(super) fn harden() {
    // Inherited by every child too: a server that dies leaves no memory on disk either.
    let no_core = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let closed = nix::sys::prctl::set_dumpable(false);
    if no_core.is_err() || closed.is_err() {
        tracing::debug!("the system does not let this process close its memory");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn atk_c02_no_core_file_and_no_debugger() {
        super::harden();
        assert_eq!(nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CORE), Ok((0, 0)));
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
    }
}
