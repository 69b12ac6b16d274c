//! The whole repository as one file in git's bundle format (gitformat-bundle, version 2), and a repository made from one. Stock `git clone`
//! opens it. Never takes a reference outside `refs/heads/` and `refs/lifeboat/`.

use std::io::Write as _;
use std::path::Path;

use git2::{Oid, RepositoryInitOptions};

use super::{BRANCH, Files, Repository, bad};
use crate::base::fault::{Fault, Verb};

const SIGNATURE: &str = "# v2 git bundle\n";
const OWN: [&str; 2] = ["refs/heads/", "refs/lifeboat/"];
const WHAT: &str = "cannot bundle the configuration's repository";
const BACK: &str = "cannot make a repository from the bundle";

impl Repository {
    /// All branches and our own references, with everything they reach.
    ///
    /// # Errors
    /// `Unavailable` when an object cannot be read.
    pub fn bundle(&self) -> Verb<Vec<u8>> {
        let raw = self.raw()?;
        let _turn = self.turn()?;
        let pack = || -> Result<(String, Vec<u8>), git2::Error> {
            let (mut lines, mut walk) = (SIGNATURE.to_owned(), raw.revwalk()?);
            for reference in raw.references()?.flatten() {
                let (Ok(name), Some(id)) = (reference.name(), reference.target()) else { continue };
                if OWN.iter().any(|own| name.starts_with(own)) {
                    walk.push(id)?;
                    lines.push_str(&format!("{id} {name}\n"));
                }
            }
            let mut builder = raw.packbuilder()?;
            builder.insert_walk(&mut walk)?;
            let mut pack = git2::Buf::new();
            builder.write_buf(&mut pack)?;
            lines.push('\n');
            Ok((lines, pack.to_vec()))
        };
        let (lines, pack) = pack().map_err(|e| bad(e, WHAT))?;
        Ok([lines.into_bytes(), pack].concat())
    }

    /// Makes the repository at `root`, which is empty, from a bundle; HEAD is `main`, and the working tree holds it.
    ///
    /// # Errors
    /// `Invalid` when it is no bundle of this kind or an object is missing; as `open` for the rest.
    pub fn from_bundle(root: &Path, bytes: &[u8]) -> Verb<Self> {
        let (references, pack) = parse(bytes)?;
        let mut options = RepositoryInitOptions::new();
        options.no_reinit(true).mkdir(false).mkpath(false).external_template(false).initial_head("main");
        let make = || -> Result<(), git2::Error> {
            let raw = git2::Repository::init_opts(root, &options)?;
            raw.config()?.set_bool("core.fsyncObjectFiles", true)?;
            let odb = raw.odb()?;
            let mut writer = odb.packwriter()?;
            writer.write_all(pack).map_err(|cause| git2::Error::from_str(&cause.to_string()))?;
            writer.commit()?;
            for (id, name) in &references {
                raw.find_commit(*id)?;
                raw.reference(name, *id, false, "lifeboat: rebuilt")?;
            }
            Ok(())
        };
        make().map_err(|e| bad(e, BACK))?;
        // Not by git's own checkout: what may stand in a configuration is checked first, and no attribute changes a byte.
        let made = Self::open(root)?;
        let files = made.head()?.files;
        made.bring_in(&made.raw()?, &Files::new(), &files)?;
        Ok(made)
    }
}

/// References with their commits, and the pack after them.
type Parts<'a> = (Vec<(Oid, String)>, &'a [u8]);

fn parse(bytes: &[u8]) -> Verb<Parts<'_>> {
    let wrong = |why: &str| Fault::invalid("config.bundle", why.to_owned());
    let mut rest = bytes.strip_prefix(SIGNATURE.as_bytes()).ok_or_else(|| wrong("is no git bundle of version 2"))?;
    let mut references = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong("ends in its header"))?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let line = std::str::from_utf8(line).map_err(|_| wrong("names a reference that is not UTF-8"))?;
        let (id, name) = line.split_once(' ').ok_or_else(|| wrong("needs commits that are not in it"))?;
        let id = Oid::from_str(id).map_err(|_| wrong("names a commit that is none"))?;
        let ours = OWN.iter().any(|own| name.starts_with(own)) && git2::Reference::is_valid_name(name);
        if !ours {
            return Err(wrong("names a reference that is not ours"));
        }
        references.push((id, name.to_owned()));
    }
    if !references.iter().any(|(_, name)| name == BRANCH) {
        return Err(wrong("holds no branch main"));
    }
    Ok((references, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::config::repo::{Author, Change, Files};

    #[test]
    fn a_bundle_becomes_the_same_repository() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let author = Author { name: "ana".into(), at: Timestamp(1_700_000_000_000) };
        let files = Files::from([("lifeboat.toml".to_owned(), Vec::new())]);
        let repository = Repository::init(from.path(), &author, &files).unwrap();
        let first = repository.head().unwrap().commit;
        let change = Change::Put { path: "roles/r.toml".into(), bytes: b"".to_vec() };
        let second = repository.commit(&first, &[change], &author, "more").unwrap();
        repository.write_ref("refs/lifeboat/checkpoints", "seen", &author).unwrap();
        let bundle = repository.bundle().unwrap();
        let again = Repository::from_bundle(to.path(), &bundle).unwrap();
        assert_eq!(again.head().unwrap(), repository.head().unwrap());
        assert_eq!(again.history(10, None).unwrap().len(), 2);
        assert_eq!(again.read_ref("refs/lifeboat/checkpoints").unwrap().as_deref(), Some("seen"));
        assert!(to.path().join("roles/r.toml").exists() && again.working_changes().unwrap().is_empty());
        assert_eq!(again.head().unwrap().commit, second);
    }

    #[test]
    fn what_is_no_bundle_of_ours_is_refused() {
        let id = "0123456789012345678901234567890123456789";
        let cases = [
            "PACK".to_owned(),
            SIGNATURE.to_owned(),
            format!("{SIGNATURE}{id} refs/tags/x\n\nPACK"),
            format!("{SIGNATURE}-{id} needed\n{id} refs/heads/main\n\n"),
            format!("{SIGNATURE}{id} refs/heads/../../x\n\n"),
            format!("{SIGNATURE}{id} refs/heads/main\n\nPACK"),
        ];
        for case in cases {
            let to = tempfile::tempdir().unwrap();
            assert!(Repository::from_bundle(to.path(), case.as_bytes()).is_err(), "{case:?}");
        }
    }
}
