//! Operators' passwords: argon2id with 19 MiB, 2 passes, 1 lane. Never more than two at once, so that logins cannot take all memory, never on a
//! thread that serves requests, and never more than a few that wait: a flood of strangers is refused instead of holding up everybody.

use std::sync::LazyLock;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use super::random::SystemEntropy;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy as _;
use crate::base::secret::Secret;

/// Longest password that is looked at, in bytes.
pub const MAX_PASSWORD: usize = 1024;

/// Who may look at passwords at once, and who may wait for that.
struct Places {
    turns: Semaphore,
    known: Semaphore,
    strangers: Semaphore,
}

impl Places {
    const fn new() -> Self {
        // So few strangers that whoever is known never waits long behind them.
        Self { turns: Semaphore::const_new(2), known: Semaphore::const_new(32), strangers: Semaphore::const_new(8) }
    }

    fn of(&self, queue: Queue) -> &Semaphore {
        match queue {
            Queue::Known => &self.known,
            Queue::Stranger => &self.strangers,
        }
    }
}

static PLACES: Places = Places::new();

/// Who waits for a turn. Each has places of its own, so that strangers take none from those who signed in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// From a place that somebody signed in from, or signed in.
    Known,
    /// Anybody else.
    Stranger,
}

/// A hash of a password nobody knows, for `dummy_verify`.
static DUMMY: LazyLock<Option<String>> = LazyLock::new(|| {
    let mut random = [0u8; 32];
    SystemEntropy.fill(&mut random);
    hash_now(&random).ok()
});

/// Hashes a password into a PHC string (`$argon2id$v=19$m=19456,t=2,p=1$…`).
///
/// # Errors
/// `Invalid` for an empty or overlong password; `Unavailable` when too many wait; `Bug` when hashing fails.
pub async fn hash(password: Secret<String>) -> Verb<String> {
    if password.reveal().is_empty() || password.reveal().len() > MAX_PASSWORD {
        return Err(Fault::invalid("password", format!("a password has 1 to {MAX_PASSWORD} bytes")));
    }
    let hashed = in_turn(&PLACES, Queue::Known, move || hash_now(password.reveal().as_bytes())).await?;
    hashed.unwrap_or_else(|| Err(Fault::unavailable("too many passwords are being looked at. Try again in a second")))
}

/// Whether the password is the one that was hashed. `false` for a hash that cannot be read; `None` when too many wait, and it was not looked at.
///
/// # Errors
/// `Unavailable` when no turn is to be had because the process is ending.
pub async fn verify(password: Secret<String>, phc: String, queue: Queue) -> Verb<Option<bool>> {
    in_turn(&PLACES, queue, move || verify_now(password.reveal(), &phc)).await
}

/// Takes as long as `verify` and is never true, so that an unknown operator cannot be told from a wrong password by the clock.
///
/// # Errors
/// As `verify`.
pub async fn dummy_verify(password: Secret<String>, queue: Queue) -> Verb<Option<bool>> {
    in_turn(&PLACES, queue, move || dummy_now(password.reveal())).await
}

async fn in_turn<T: Send + 'static>(
    places: &'static Places,
    queue: Queue,
    work: impl FnOnce() -> T + Send + 'static,
) -> Verb<Option<T>> {
    let ending = || Fault::unavailable("the process is ending");
    let Ok(place) = places.of(queue).try_acquire() else { return Ok(None) };
    let turn = places.turns.acquire().await.map_err(|_| ending())?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        // Held until the work is done: who goes away meanwhile makes no room for more of it.
        drop((turn, place));
        done
    });
    done.await.map(Some).map_err(|_| ending())
}

fn hash_now(password: &[u8]) -> Verb<String> {
    let mut salt = [0u8; 16];
    SystemEntropy.fill(&mut salt);
    let hashed = Argon2::default().hash_password_with_salt(password, &salt);
    hashed.map(|hashed| hashed.to_string()).map_err(|_| Fault::bug("the password cannot be hashed"))
}

fn dummy_now(password: &str) -> bool {
    let matched = DUMMY.as_ref().is_some_and(|phc| verify_now(password, phc));
    // Keeps the optimiser from leaving the work out; the answer does not depend on it.
    std::hint::black_box(matched);
    false
}

fn verify_now(password: &str, phc: &str) -> bool {
    if password.len() > MAX_PASSWORD {
        return false;
    }
    PasswordHash::new(phc).is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    async fn right(password: &str, phc: &str) -> bool {
        verify(secret(password), phc.to_owned(), Queue::Known).await.unwrap().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn atk_a01_a_flood_of_strangers_is_refused_and_holds_up_nobody_known() {
        // Places of their own: other tests sign in as well.
        static MINE: Places = Places::new();
        let phc = hash_now(b"correct horse").unwrap();
        let guess = || in_turn(&MINE, Queue::Stranger, || dummy_now("a guess"));
        let flood: Vec<_> = (0..400).map(|_| tokio::spawn(guess())).collect();
        while MINE.strangers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let known = in_turn(&MINE, Queue::Known, move || verify_now("correct horse", &phc)).await;
        assert_eq!(known.unwrap(), Some(true), "there is a place");
        let waiting = flood.iter().filter(|one| !one.is_finished()).count();
        assert!(waiting <= 8, "{waiting} wait");
        let mut looked_at = 0;
        for one in flood {
            looked_at += usize::from(one.await.unwrap().unwrap().is_some());
        }
        assert!((8..400).contains(&looked_at), "{looked_at} of 400 were looked at");
    }

    #[tokio::test]
    async fn atk_a01_who_goes_away_keeps_the_place_until_the_work_is_done() {
        static MINE: Places = Places::new();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let gone = tokio::spawn(in_turn(&MINE, Queue::Stranger, move || wait.recv()));
        while MINE.turns.available_permits() == 2 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        gone.abort();
        assert!(gone.await.is_err(), "nobody waits for it any more");
        assert_eq!((MINE.turns.available_permits(), MINE.strangers.available_permits()), (1, 7), "and it still works");
        drop(go);
        while MINE.turns.available_permits() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(MINE.strangers.available_permits(), 8);
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let phc = hash(secret("correct horse")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash(secret("correct horse")).await.unwrap());
        assert!(right("correct horse", &phc).await);
        assert!(!right("correct horsE", &phc).await);
        assert!(!right("", &phc).await);
        assert!(!right("x", "no hash").await);
        assert_eq!(dummy_verify(secret("correct horse"), Queue::Known).await.unwrap(), Some(false));
    }

    #[tokio::test]
    async fn empty_and_overlong_passwords_are_refused() {
        assert!(hash(secret("")).await.is_err());
        assert!(hash(secret(&"x".repeat(MAX_PASSWORD + 1))).await.is_err());
    }

    #[tokio::test]
    async fn a_dummy_takes_as_long_as_a_real_one() {
        let phc = hash(secret("a")).await.unwrap();
        dummy_verify(secret("warm up"), Queue::Known).await.unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(verify(secret("b"), phc, Queue::Known).await.unwrap(), Some(false));
        let real = begun.elapsed();
        let begun = std::time::Instant::now();
        assert_eq!(dummy_verify(secret("b"), Queue::Known).await.unwrap(), Some(false));
        assert!(begun.elapsed() > real / 8, "{:?} against {real:?}", begun.elapsed());
    }
}
