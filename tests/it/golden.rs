//! Archives that the first version of the format wrote, committed: every later version reads them. The identity beside them opens nothing else.

use std::path::{Path, PathBuf};

use lifeboat::admin::vaults::catalogue::{extract, read};
use lifeboat::admin::vaults::deny;
use lifeboat::admin::vaults::extract::Extract;
use lifeboat::admin::vaults::folder::Folder;
use lifeboat::admin::vaults::read_key;
use lifeboat::base::secret::Secret;
use lifeboat::crypto::archive::Identities;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden")
}

#[test]
fn rec_19_archives_of_format_1_are_read() {
    let text = |name: &str| std::fs::read_to_string(golden().join(name)).expect("committed");
    let (folder, key) =
        (Folder::open(&golden().join("archives")).expect("a folder"), read_key(&text("instance.pub")).expect("a key"));
    let found = read(&folder, &key).expect("a catalogue");
    assert_eq!((found.archives.len(), found.faults.len(), found.seq), (1, 0, 1), "{:?}", found.faults);
    let keys = Identities::read(&[Secret::new(text("identity.txt"))]).expect("an identity");
    let to = tempfile::TempDir::new().expect("a folder");
    let mut sink = Extract::new(to.path(), None);
    let opened = extract(&folder, &found.archives[0], &keys, &mut sink).expect("it opens");
    sink.settle().expect("it settles");
    assert_eq!((opened.meta.vault.as_str(), opened.manifest.files, sink.files), ("golden", 4, 4));
    assert_eq!(opened.meta.facts["databases"]["memory.db"]["rows"]["memory"], 50);
    assert_eq!(std::fs::read_to_string(to.path().join("memory.jsonl")).expect("memory").lines().count(), 20);
    assert_eq!(std::fs::read_to_string(to.path().join("sub").join("n".repeat(150))).expect("a long name"), "long name");
    assert_eq!(opened.manifest.skipped.len(), 1, "the link");
    let list = deny::read(&folder, &key).expect("a deny-list").expect("it is there");
    assert_eq!((list.format, list.kill.engaged()), (1, false));
}
