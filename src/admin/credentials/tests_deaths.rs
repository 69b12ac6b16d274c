//! A process that is really killed, with SIGKILL, at any moment of a rotation: this test runs its own binary once more for each moment, on a copy of one data
//! directory. What comes up again goes on to the same end.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::observer::{Observer, Point, Unobserved};
use super::tests_crash::{Alone, Case, house};
use super::tests_crash_kinds::{OfClient, OfTokens, with_secret};
use super::*;
use crate::admin::tests_house::{House, root};
use crate::base::clock::SystemClock;

/// `NAME MOMENT DIRECTORY`, in the process that is to die.
const TOLD: &str = "LIFEBOAT_TEST_DEATH";
/// Processes at once.
const AT_ONCE: usize = 3;

/// Ends its own process at the n-th moment, as nothing can be done about.
struct Killed {
    at: usize,
    seen: AtomicUsize,
}

impl Observer for Killed {
    fn goes_on(&self, _: Point) -> bool {
        if self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        true
    }
}

/// In the process that is to die: begins a rotation and goes as far as it lives. False in every other process.
async fn lives_and_dies() -> bool {
    let Ok(told) = std::env::var(TOLD) else { return false };
    let mut parts = told.splitn(3, ' ');
    let (name, moment, root_dir) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let house = House::open_in(Path::new(root_dir), Arc::new(SystemClock)).await;
    house.listen("proxy").await;
    resume(&house.admin).await.unwrap();
    let order = RotateOrder { overlap: Some("now".into()), ..Default::default() };
    let row = begin(&house.admin, &root(), name, &order).await.unwrap();
    let killed = Killed { at: moment.parse().unwrap(), seen: AtomicUsize::new(0) };
    let row = work::drive(&house.admin, &row.id, &killed).await.unwrap();
    assert_eq!(row.state, State::Done, "{row:?}");
    true
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
}

/// Runs `test` of this binary in a process of its own.
fn run(test: &str, told: String) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("admin::credentials::tests_deaths::{test}"), "--exact", "--nocapture"]).env(TOLD, told);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

/// One moment: a process dies there, and the next one ends what it began. Whether there was such a moment.
async fn one(test: &'static str, case: &impl Case, name: &str, (moment, place): (usize, PathBuf)) -> bool {
    let told = format!("{name} {moment} {}", place.display());
    let status = tokio::task::spawn_blocking(move || run(test, told)).await.unwrap();
    if status.success() {
        return false;
    }
    assert_eq!(status.signal(), Some(9), "{name}, moment {moment}: {status:?}");
    let house = House::open_in(&place, Arc::new(SystemClock)).await;
    house.listen("proxy").await;
    resume(&house.admin).await.unwrap();
    let row = store::of(&house.admin.db, name, 1).await.unwrap().remove(0);
    let row = work::drive(&house.admin, &row.id, &Unobserved).await.unwrap();
    case.check(&house, name, &row, None).await;
    true
}

async fn killed_everywhere(test: &'static str, case: impl Case, house: House) {
    let name = case.name(&house.admin).await;
    let (base, copies) = (house.close().await, tempfile::tempdir().unwrap());
    let mut moment = 0;
    loop {
        let places = (moment..moment + AT_ONCE).map(|moment| {
            let place = copies.path().join(moment.to_string());
            copy(base.path(), &place);
            (moment, place)
        });
        let died = futures_util::future::join_all(places.map(|place| one(test, &case, &name, place))).await;
        let first_to_live = died.iter().position(|died| !died);
        if let Some(more) = first_to_live {
            assert!(moment + more >= 14, "{name}: a rotation has more moments than {}", moment + more);
            assert!(died.iter().skip(more).all(|died| !died), "{name}: {died:?} from {moment}");
            return;
        }
        moment += AT_ONCE;
        assert!(moment < 60, "{name}: no end in 60 moments");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_client_key_survives_sigkill_at_every_moment() {
    if lives_and_dies().await {
        return;
    }
    killed_everywhere("i1_a_client_key_survives_sigkill_at_every_moment", Alone("client-key/ci"), house().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_certificate_survives_sigkill_at_every_moment() {
    if lives_and_dies().await {
        return;
    }
    killed_everywhere("i1_a_certificate_survives_sigkill_at_every_moment", Alone("tls/server"), house().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_client_secret_survives_sigkill_at_every_moment() {
    if lives_and_dies().await {
        return;
    }
    let house = house().await;
    with_secret(&house).await;
    killed_everywhere("i1_a_client_secret_survives_sigkill_at_every_moment", OfClient, house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_token_signing_key_survives_sigkill_at_every_moment() {
    if lives_and_dies().await {
        return;
    }
    killed_everywhere("i1_a_token_signing_key_survives_sigkill_at_every_moment", OfTokens, house().await).await;
}
