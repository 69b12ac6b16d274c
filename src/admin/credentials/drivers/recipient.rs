//! Who can open archives: a new recipient beside the old one, its possession shown by a word, archives for both, and then the old one opens no new
//! archive. Never sees an identity: what the old one opens today it opens for ever.

use serde_json::{Value, json};

use super::super::machine::{Drain, Place, Seen, Step};
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::vaults::{self, AddRecipient, RecipientView};
use crate::admin::{Actor, Admin};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::crypto::recovery;

/// The driver.
pub(super) struct Recipients;

fn actor() -> Actor {
    Actor::system("rotation")
}

async fn all(admin: &Admin) -> Result<Vec<RecipientView>, Trouble> {
    Ok(vaults::list_recipients(admin, &actor()).await?.recipients)
}

impl Driver for Recipients {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            let there = all(admin).await?.into_iter().find(|one| one.name == name);
            let there = there.ok_or_else(|| Trouble::permanent(format!("there is no recipient {name}")))?;
            Ok(vec![there.recipient])
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            // A recipient is public; it is kept with the secrets only because that is where what somebody brings is kept.
            let Some(key) = scene.kept.secret.clone() else {
                return Ok(Mint::Waits(format!(
                    "bring the new recipient, age1…: lifeboat credential supply {}",
                    scene.row.credential
                )));
            };
            let base: String = scene.name.chars().take(50).collect();
            let called = format!("{base}-{}", ids::short(6, scene.admin.entropy.as_ref()));
            let facts = json!({ "called": called, "recipient": key });
            Ok(Mint::Made(Box::new(Minted { version: key, kept: Kept::default(), facts, to_fetch: false })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            let (there, new) = (all(scene.admin).await?, scene.new_version()?);
            Ok(match step {
                Step::Install if there.iter().any(|one| one.recipient == new) => Seen::Holds(json!({ "recipients": there.len() })),
                Step::Promote => Seen::Holds(json!({ "said": "archives are made for both from now on" })),
                Step::Retire if !there.iter().any(|one| scene.row.old.contains(&one.recipient)) => {
                    Seen::Holds(json!({ "recipients": there.len() }))
                }
                _ => Seen::Not,
            })
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let (admin, new) = (scene.admin, scene.new_version()?.to_owned());
            let called = scene.row.facts["called"].as_str().unwrap_or_default().to_owned();
            match step {
                Step::Install => {
                    vaults::add_recipient(admin, &actor(), AddRecipient { name: called.clone(), recipient: new }).await?;
                    Ok(json!({ "added": called }))
                }
                Step::Verify => {
                    let there = all(admin).await?.into_iter().find(|one| one.recipient == new);
                    match there.and_then(|one| one.proved_at) {
                        Some(at) => Ok(json!({ "possession_shown_at": at })),
                        None => Err(Trouble::transient(format!(
                            "show that the identity of {called} is at hand: lifeboat recipient prove {called} --identity FILE"
                        ))),
                    }
                }
                Step::Retire => {
                    vaults::remove_recipient(admin, &actor(), scene.name).await?;
                    Ok(json!({ "removed": scene.name }))
                }
                _ => {
                    let there = all(admin).await?;
                    let accepted = there.iter().any(|one| one.recipient == new);
                    let gone = !there.iter().any(|one| scene.row.old.contains(&one.recipient));
                    if !(accepted && gone) {
                        return Err(Trouble::transient("the recipients are not what the rotation made of them"));
                    }
                    Ok(json!({ "accepted": new, "rejected": scene.row.old, "said": "new archives are made for the new one alone" }))
                }
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move {
            let (admin, new) = (scene.admin, scene.new_version()?);
            let (_, found) = vaults::destination(admin).await?;
            let vaults = vaults::vaults(admin, &actor()).await?.vaults;
            let place = |vault: &vaults::VaultView| {
                let newest =
                    found.archives.iter().filter(|note| note.vault == vault.name && !note.safety).max_by_key(|note| note.seq);
                let (at, both) =
                    newest.map_or((None, false), |note| (Some(note.verified_at), note.recipients.iter().any(|one| one == new)));
                // A vault is on the old one until an archive of it is for the new one too.
                let (old, new) = if both { (None, at) } else { (at.or(scene.row.draining_at), None) };
                Place::new(format!("vault {}", vault.name), old, new)
            };
            Ok(Drain { places: vaults.iter().map(place).collect(), ..Drain::default() })
        })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            let there = all(scene.admin).await?;
            let Some(added) = there.iter().find(|one| Some(&one.recipient) == scene.row.new.as_ref()) else {
                return Ok(json!({ "said": "the new recipient is not there" }));
            };
            vaults::remove_recipient(scene.admin, &actor(), &added.name).await?;
            Ok(json!({ "removed": added.name }))
        })
    }

    fn supply<'a>(&'a self, scene: &'a Scene<'a>, value: Secret<String>) -> Doing<'a, (Kept, &'static str)> {
        Box::pin(async move {
            let key = value.reveal().trim().to_owned();
            recovery::check_recipient(&key)?;
            if all(scene.admin).await?.iter().any(|one| one.recipient == key) {
                return Err(Trouble::permanent("this is a recipient already: bring another"));
            }
            Ok((
                Kept { secret: Some(key), old: None },
                "archives are made for it beside the old one as soon as its identity was shown",
            ))
        })
    }
}
