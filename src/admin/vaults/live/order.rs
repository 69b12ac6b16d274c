//! The order of a restore in place, pure: what comes after what ended how. Whatever fails, the server is started again on a whole tree, and the
//! kill is released only where nothing is in doubt. Never does a step itself.

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An archive of what is there.
    Backup,
    /// The archive beside its place, compared.
    Unpack,
    /// The kill for the servers that use the vault.
    Stop,
    /// Their processes end, and none starts.
    Quiet,
    /// New and old change their places.
    Swap,
    /// What the disk has, against the manifest.
    Compare,
    /// Old and new change back.
    Undo,
    /// The processes start again.
    Start,
    /// What the servers show, against what was approved.
    Tools,
    /// The kill that this restore engaged.
    Release,
}

impl Step {
    /// The word in answers.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Unpack => "unpack",
            Self::Stop => "stop",
            Self::Quiet => "quiet",
            Self::Swap => "swap",
            Self::Compare => "compare",
            Self::Undo => "undo",
            Self::Start => "start",
            Self::Tools => "tools",
            Self::Release => "release",
        }
    }

    /// Whether nothing but archives can have changed when it fails.
    pub(super) fn is_before_all(self) -> bool {
        matches!(self, Self::Backup | Self::Unpack)
    }
}

/// What comes next; `None` at the end. `served` says whether any server uses the vault.
pub(super) fn next(done: &[(Step, bool)], served: bool) -> Option<Step> {
    let Some((last, passed)) = done.last().copied() else { return Some(Step::Backup) };
    let again = || served.then_some(Step::Start);
    match (last, passed) {
        (Step::Backup, true) => Some(Step::Unpack),
        // Also where nobody is stopped: the answer says so.
        (Step::Unpack, true) => Some(Step::Stop),
        (Step::Stop, true) if served => Some(Step::Quiet),
        (Step::Stop, true) => Some(Step::Swap),
        (Step::Quiet, true) => Some(Step::Swap),
        (Step::Swap, true) => Some(Step::Compare),
        // The archive was whole beside its place, and is not in it: the disk cannot be trusted with it.
        (Step::Compare, false) => Some(Step::Undo),
        // Nothing changed yet, or everything did, or it changed back.
        (Step::Quiet | Step::Swap, false) | (Step::Compare | Step::Undo, true) => again(),
        (Step::Start, true) => Some(Step::Tools),
        (Step::Tools, true) if is_certain(done) => Some(Step::Release),
        // A stop that is not proved is looked at by somebody; a damaged tree starts nothing.
        (Step::Backup | Step::Unpack | Step::Stop | Step::Undo | Step::Start, false) | (Step::Tools | Step::Release, _) => None,
    }
}

/// The tree is the new one, compared, or the old one, which nothing touched.
fn is_certain(done: &[(Step, bool)]) -> bool {
    done.contains(&(Step::Compare, true)) || !done.contains(&(Step::Swap, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(served: bool, failing: &[Step]) -> Vec<&'static str> {
        let mut done = Vec::new();
        while let Some(step) = next(&done, served) {
            done.push((step, !failing.contains(&step)));
        }
        done.iter().map(|(step, _)| step.word()).collect()
    }

    #[test]
    fn everything_in_its_order() {
        let whole = ["backup", "unpack", "stop", "quiet", "swap", "compare", "start", "tools", "release"];
        assert_eq!(walk(true, &[]), whole);
        assert_eq!(walk(false, &[]), ["backup", "unpack", "stop", "swap", "compare"]);
    }

    #[test]
    fn nobody_is_stopped_for_what_cannot_be_done() {
        assert_eq!(walk(true, &[Step::Backup]), ["backup"]);
        assert_eq!(walk(true, &[Step::Unpack]), ["backup", "unpack"]);
        assert!(Step::Backup.is_before_all() && Step::Unpack.is_before_all() && !Step::Stop.is_before_all());
    }

    #[test]
    fn nothing_is_exchanged_while_the_stop_is_not_proved_or_a_process_lives() {
        assert_eq!(walk(true, &[Step::Stop]), ["backup", "unpack", "stop"]);
        assert_eq!(walk(true, &[Step::Quiet]), ["backup", "unpack", "stop", "quiet", "start", "tools", "release"]);
    }

    #[test]
    fn what_did_not_change_is_released_and_what_is_in_doubt_is_not() {
        let swap = walk(true, &[Step::Swap]);
        assert_eq!(swap[4..], ["swap", "start", "tools", "release"]);
        let compare = walk(true, &[Step::Compare]);
        assert_eq!(compare[4..], ["swap", "compare", "undo", "start", "tools"], "it stays stopped");
        let undo = walk(true, &[Step::Compare, Step::Undo]);
        assert_eq!(undo[4..], ["swap", "compare", "undo"], "no process on a damaged tree");
        assert_eq!(walk(true, &[Step::Start]).last(), Some(&"start"));
        assert_eq!(walk(true, &[Step::Tools]).last(), Some(&"tools"));
    }

    #[test]
    fn every_way_ends_and_releases_only_after_start_and_tools_passed() {
        let all = [
            Step::Backup,
            Step::Unpack,
            Step::Stop,
            Step::Quiet,
            Step::Swap,
            Step::Compare,
            Step::Undo,
            Step::Start,
            Step::Tools,
            Step::Release,
        ];
        for bits in 0..1u32 << all.len() {
            let failing: Vec<Step> = all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, step)| *step).collect();
            let steps = walk(true, &failing);
            assert!(steps.len() <= all.len(), "{steps:?}");
            if steps.contains(&"release") {
                assert!([Step::Start, Step::Tools, Step::Stop].iter().all(|step| !failing.contains(step)), "{steps:?}");
            }
        }
    }
}
