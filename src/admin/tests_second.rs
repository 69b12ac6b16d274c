//! The second factor as an attacker and as a tired operator meet it: set up, asked for, counted once, thrown away, required.

use std::sync::Arc;

use axum::http::StatusCode;

use super::actor::FRESH_LOGIN_MS;
use super::operators::{self, NotSignedIn, Visitor};
use super::tests_ask::{Ask, PASSWORD, cookie_of, location, secret, session, text, visitor};
use super::tests_house::{House, root};
use super::{Actor, OperatorRole};
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::base::secret::Secret;
use crate::crypto::totp;
use crate::web::cookie;

const STEP_MS: i64 = 30_000;
pub(super) const NAME: &str = "admin";

/// A house whose clock stands still, so that a code stays the code.
pub(super) struct Stage {
    pub(super) house: House,
    pub(super) clock: Arc<ManualClock>,
    token: String,
}

/// The admin's second factor, as its telephone has it.
pub(super) struct Phone {
    secret: Secret<Vec<u8>>,
    pub(super) recovery: Vec<String>,
}

impl Phone {
    fn code(&self, at: Timestamp) -> String {
        totp::code(&self.secret, at)
    }
}

// Base 32 of RFC 4648, as an authenticator reads what somebody types.
fn read_secret(text: &str) -> Secret<Vec<u8>> {
    let (mut out, mut pending, mut bits) = (Vec::new(), 0u32, 0);
    for c in text.bytes().filter(u8::is_ascii_alphanumeric) {
        let value = if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 };
        pending = pending << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(pending >> bits & 0xff).unwrap());
        }
    }
    Secret::new(out)
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split(from).nth(1).and_then(|rest| rest.split(to).next()).expect("it is on the page").trim()
}

impl Stage {
    pub(super) async fn open() -> Self {
        Self::open_at(tempfile::tempdir().unwrap()).await
    }

    async fn open_at(dir: tempfile::TempDir) -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let house = House::open_with(dir, clock.clone()).await;
        let token = session(&house.admin, OperatorRole::Admin).await;
        Self { house, clock, token }
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, String) {
        let answer = Ask::new("POST", path).cookie(&self.token).body(body).send(&self.house).await;
        (answer.status(), text(answer).await)
    }

    async fn get(&self, path: &str) -> String {
        text(Ask::new("GET", path).cookie(&self.token).send(&self.house).await).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn code(&self, phone: &Phone) -> String {
        phone.code(self.now())
    }

    /// Sets the second factor up by the pages alone.
    pub(super) async fn enrol(&self) -> Phone {
        let (status, html) = self.post("/account/totp/begin", "").await;
        assert_eq!(status, StatusCode::OK, "{html}");
        assert!(html.contains("<svg class=\"qr\"") && html.contains("id=\"new-secret\""), "{html}");
        let shown =
            between(between(&html, "id=\"new-secret\"", "</section>"), "<pre", "</pre>").split('>').nth(1).unwrap().to_owned();
        let secret = read_secret(&shown);
        let (status, html) = self.post("/account/totp/confirm", &format!("code={}", totp::code(&secret, self.now()))).await;
        assert_eq!(status, StatusCode::OK, "{html}");
        let codes = between(between(&html, "id=\"new-codes\"", "</section>"), "<pre", "</pre>").split('>').nth(1).unwrap();
        let recovery: Vec<String> = codes.split_whitespace().map(str::to_owned).collect();
        assert_eq!(recovery.len(), 10, "{codes}");
        Phone { secret, recovery }
    }

    async fn first_step(&self, from: &Visitor) -> Result<String, NotSignedIn> {
        let tried = operators::login(&self.house.admin, NAME, &secret(PASSWORD), from, (None, "/kill")).await;
        match tried.map(|_| ()) {
            Err(NotSignedIn::Code(token)) => Ok(token.reveal().clone()),
            Err(other) => Err(other),
            Ok(()) => panic!("the password alone is enough"),
        }
    }

    async fn second_step(&self, step: &str, code: &str) -> Result<String, NotSignedIn> {
        let done = operators::login_code(&self.house.admin, step, code, &visitor(), None).await;
        done.map(|(signed, next)| {
            assert_eq!(next, "/kill", "where it wanted to go");
            signed.token.reveal().clone()
        })
    }

    pub(super) async fn sign_in(&self, code: &str) -> Result<String, NotSignedIn> {
        let step = self.first_step(&visitor()).await?;
        self.second_step(&step, code).await
    }

    fn actor(&self) -> Actor {
        operators::who(&self.house.admin, &self.token, operators::Touch::No).expect("signed in")
    }
}

fn elsewhere(last: u8) -> Visitor {
    Visitor { remote: [203, 0, 113, last].into(), agent: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_counts_once_it_is_confirmed_and_is_asked_for_from_then_on() {
    let stage = Stage::open().await;
    let (_, html) = stage.post("/account/totp/begin", "").await;
    let never = between(between(&html, "id=\"new-secret\"", "</section>"), "<pre", "</pre>").split('>').nth(1).unwrap().to_owned();
    assert!(operators::login(&stage.house.admin, NAME, &secret(PASSWORD), &visitor(), (None, "/")).await.is_ok(), "not yet");
    let (status, html) = stage.post("/account/totp/confirm", "code=000000").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(html.contains("id=\"code-e\"") && !html.contains(&never) && !html.contains("class=\"qr\""), "shown once: {html}");
    let phone = stage.enrol().await;
    assert!(!stage.get("/account").await.contains(&never));
    // By the forms, as a browser without script does it.
    stage.clock.advance_ms(STEP_MS);
    let body = "operator=admin&password=correct+horse+battery&next=%2Fkill";
    let first = Ask::new("POST", "/login").body(body).send(&stage.house).await;
    assert_eq!((first.status(), location(&first)), (StatusCode::SEE_OTHER, "/login/code"));
    assert_eq!(cookie_of(&first, cookie::NAME), None, "no session yet");
    let step = cookie_of(&first, cookie::STEP).expect("a first step");
    let set = first.headers()["set-cookie"].to_str().unwrap();
    assert!(set.contains("; Path=/; Secure; HttpOnly; SameSite=Strict"), "ATK-A04: {set}");
    let step_cookie = format!("{}={step}", cookie::STEP);
    let page = Ask::new("GET", "/login/code").with("cookie", &step_cookie).send(&stage.house).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(text(page).await.contains("The second step for admin"));
    for path in ["/", "/kill", "/account"] {
        let page = Ask::new("GET", path).with("cookie", &step_cookie).send(&stage.house).await;
        assert_eq!(page.status(), StatusCode::SEE_OTHER, "{path} opens to no half of a sign-in");
        let page = Ask::new("GET", path).cookie(&step).send(&stage.house).await;
        assert_eq!(page.status(), StatusCode::SEE_OTHER, "{path}, under the other name");
    }
    let body = format!("code={}", stage.code(&phone));
    let second = Ask::new("POST", "/login/code").with("cookie", &step_cookie).body(&body).send(&stage.house).await;
    assert_eq!((second.status(), location(&second)), (StatusCode::SEE_OTHER, "/kill"));
    let session = cookie_of(&second, cookie::NAME).expect("a session");
    assert_ne!(session, step, "ATK-A03");
    assert_eq!(cookie_of(&second, cookie::STEP).as_deref(), Some(""), "the first step is over");
    assert_eq!(Ask::new("GET", "/").cookie(&session).send(&stage.house).await.status(), StatusCode::OK);
    let again = Ask::new("POST", "/login/code").with("cookie", &step_cookie).body(&body).send(&stage.house).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED, "one first step makes one session");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a01_a_code_counts_once_also_after_a_restart() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    let used = stage.code(&phone);
    assert!(matches!(stage.sign_in(&used).await, Err(NotSignedIn::Wrong)), "the one that confirmed it is used");
    stage.clock.advance_ms(STEP_MS);
    let code = stage.code(&phone);
    let (a, b) = (stage.first_step(&visitor()).await.unwrap(), stage.first_step(&visitor()).await.unwrap());
    let (a, b) = tokio::join!(stage.second_step(&a, &code), stage.second_step(&b, &code));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "of two at once, one");
    let earlier = phone.code(stage.now().plus_ms(-STEP_MS));
    assert!(matches!(stage.sign_in(&earlier).await, Err(NotSignedIn::Wrong)), "an earlier one neither");
    let (clock, token) = (stage.clock.clone(), stage.token.clone());
    let house = House::open_with(stage.house.close().await, clock.clone()).await;
    let stage = Stage { house, clock, token };
    assert!(matches!(stage.sign_in(&code).await, Err(NotSignedIn::Wrong)), "nor after a restart");
    stage.clock.advance_ms(STEP_MS);
    assert!(stage.sign_in(&stage.code(&phone)).await.is_ok(), "the next one does");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a01_codes_wait_like_passwords_and_a_known_place_does_not_suffer() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    stage.clock.advance_ms(STEP_MS);
    let step = stage.first_step(&elsewhere(9)).await.unwrap();
    let admin = &stage.house.admin;
    for tried in 1..=5 {
        let wrong = operators::login_code(admin, &step, "000000", &elsewhere(9), None).await.map(|_| ());
        let last = tried == 5;
        assert!(if last { matches!(wrong, Err(NotSignedIn::Over)) } else { matches!(wrong, Err(NotSignedIn::Wrong)) }, "{tried}");
    }
    assert!(operators::waits(admin, &step).is_none(), "five wrong codes, and the password is asked for again");
    // The right password from there, or from a place that was never seen: the right code is not looked at.
    for place in [elsewhere(9), elsewhere(10)] {
        let step = stage.first_step(&place).await;
        let Ok(step) = step else { continue };
        let slowed = operators::login_code(admin, &step, &stage.code(&phone), &place, None).await.map(|_| ());
        assert!(matches!(slowed, Err(NotSignedIn::Later(_))), "{place:?}");
    }
    let home = stage.sign_in(&stage.code(&phone)).await.expect("and at home it is");
    let told = operators::take_flash(admin, &home).unwrap_or_default();
    assert!(told.contains("5 wrong codes came with your password"), "somebody has the password: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a02_a_wrong_password_says_nothing_of_a_second_factor() {
    let stage = Stage::open().await;
    stage.enrol().await;
    drop(session(&stage.house.admin, OperatorRole::Viewer).await);
    let mut pages = Vec::new();
    for name in [NAME, "viewer", "nobody"] {
        let body = format!("operator={name}&password=not+this+password");
        let answer = Ask::new("POST", "/login").body(&body).send(&stage.house).await;
        assert_eq!((answer.status(), cookie_of(&answer, cookie::STEP)), (StatusCode::UNAUTHORIZED, None), "{name}");
        let html = text(answer).await.replace(&format!("value=\"{name}\""), "");
        // What differs by response only: the nonce.
        pages.push(html.split("<main").nth(1).unwrap().to_owned());
    }
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a03_a04_a_first_step_is_short_and_ends_with_what_made_it() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    stage.clock.advance_ms(STEP_MS);
    let step = stage.first_step(&visitor()).await.unwrap();
    let planted = operators::login_code(&stage.house.admin, "planted", &stage.code(&phone), &visitor(), None).await.map(|_| ());
    assert!(matches!(planted, Err(NotSignedIn::Over)), "a step nobody made");
    stage.clock.advance_ms(operators::HALF_MS + 1);
    assert!(matches!(stage.second_step(&step, &stage.code(&phone)).await, Err(NotSignedIn::Over)), "after five minutes");
    let step = stage.first_step(&visitor()).await.unwrap();
    operators::reset(&stage.house.admin, &root(), NAME, &secret("another long password")).await.unwrap();
    assert!(matches!(stage.second_step(&step, &stage.code(&phone)).await, Err(NotSignedIn::Over)), "after a reset");
    let two = format!("{}=a; {0}=b", cookie::STEP);
    let two = Ask::new("POST", "/login/code").with("cookie", two).body("code=123456").send(&stage.house).await;
    assert_eq!(two.status(), StatusCode::UNAUTHORIZED, "ATK-A17");
    // A sign-in that ends in a second step ends the session that the browser showed.
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    stage.clock.advance_ms(STEP_MS);
    let step = stage.first_step(&visitor()).await.unwrap();
    let both = format!("{}={}; {}={step}", cookie::NAME, stage.token, cookie::STEP);
    let body = format!("code={}", stage.code(&phone));
    let entered = Ask::new("POST", "/login/code").with("cookie", both).body(&body).send(&stage.house).await;
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let old = Ask::new("GET", "/").cookie(&stage.token).send(&stage.house).await;
    assert_eq!(old.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_codes_count_once_for_good_and_new_ones_end_the_old() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    let typed = phone.recovery[0].to_uppercase().replace('-', " ");
    let token = stage.sign_in(&typed).await.expect("as somebody types it");
    assert!(operators::take_flash(&stage.house.admin, &token).unwrap().contains("9 are left"));
    assert!(matches!(stage.sign_in(&phone.recovery[0]).await, Err(NotSignedIn::Wrong)), "once");
    let (clock, token) = (stage.clock.clone(), stage.token.clone());
    let house = House::open_with(stage.house.close().await, clock.clone()).await;
    let stage = Stage { house, clock, token };
    assert!(matches!(stage.sign_in(&phone.recovery[0]).await, Err(NotSignedIn::Wrong)), "also after a restart");
    for code in &phone.recovery[1..8] {
        stage.sign_in(code).await.expect("each once");
    }
    assert!(stage.get("/account").await.contains("Few are left"));
    let (status, html) = stage.post("/account/recovery-codes", "").await;
    assert_eq!(status, StatusCode::OK);
    let fresh: Vec<String> = between(between(&html, "id=\"new-codes\"", "</section>"), "<pre", "</pre>")
        .split('>')
        .nth(1)
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert!(matches!(stage.sign_in(&phone.recovery[9]).await, Err(NotSignedIn::Wrong)), "those before have ended");
    assert!(stage.sign_in(&fresh[0]).await.is_ok());
    let page = stage.get("/account").await;
    assert!(page.contains("9 recovery codes") && !fresh.iter().any(|code| page.contains(code)), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a11_removing_and_replacing_want_a_fresh_login_with_its_code() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    stage.clock.advance_ms(FRESH_LOGIN_MS + 1);
    for path in ["/account/totp/remove", "/account/totp/begin", "/account/recovery-codes"] {
        let (status, html) = stage.post(path, "").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(html.contains("name=\"again_code\"") && html.contains("name=\"again_password\""), "{path} asks for both: {html}");
    }
    let half = "again_password=correct+horse+battery";
    let (status, html) = stage.post("/account/totp/remove", half).await;
    assert!(status == StatusCode::FORBIDDEN && html.contains("Password or code is wrong"), "the password alone is not enough");
    assert!(operators::standing(&stage.house.admin, NAME).since.is_some());
    let whole = format!("{half}&again_code={}", stage.code(&phone));
    let removed = Ask::new("POST", "/account/totp/remove").cookie(&stage.token).body(&whole).send(&stage.house).await;
    assert_eq!((removed.status(), location(&removed)), (StatusCode::SEE_OTHER, "/account"), "right there, and it went on");
    assert!(operators::standing(&stage.house.admin, NAME).since.is_none());
    let fresh = cookie_of(&removed, cookie::NAME).expect("a new session id");
    assert_eq!(Ask::new("GET", "/").cookie(&stage.token).send(&stage.house).await.status(), StatusCode::SEE_OTHER, "ATK-A03");
    let page = text(Ask::new("GET", "/account").cookie(&fresh).send(&stage.house).await).await;
    assert!(page.contains("Your second factor is gone"), "the sentence is in the new session");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_removes_anothers_second_factor_and_a_reset_on_the_host_removes_everything() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    let admin = &stage.house.admin;
    let by_key = Actor { via: super::Via::Api, ..root() };
    assert!(operators::totp_remove(admin, &by_key, NAME).await.is_err(), "no key may");
    let gone = operators::totp_remove(admin, &root(), NAME).await.unwrap();
    assert_eq!((gone.totp_since, gone.recovery_codes), (None, 0));
    assert!(operators::who(admin, &stage.token, operators::Touch::No).is_none(), "its sessions have ended");
    assert!(operators::totp_remove(admin, &root(), NAME).await.is_err(), "there is none any more");
    // A reset is the way back in for whoever lost all of it: the verb works on the files alone (tests/it/operators.rs).
    let stage = Stage::open().await;
    stage.enrol().await;
    let admin = &stage.house.admin;
    let key = operators::key_add(admin, &root(), NAME, operators::AddKey::default()).await.unwrap();
    operators::reset(admin, &root(), NAME, &secret("another long password")).await.unwrap();
    assert!(operators::who(admin, &stage.token, operators::Touch::No).is_none());
    assert!(operators::who_by_key(admin, &key.key).is_none());
    assert!(
        operators::login(admin, NAME, &secret("another long password"), &visitor(), (None, "/")).await.is_ok(),
        "no code is asked for"
    );
    drop(phone);
    let house = House::open_with(stage.house.close().await, stage.clock.clone()).await;
    assert_eq!(operators::standing(&house.admin, NAME).since, None, "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_have_a_second_factor_sets_it_up_or_stops_tools_and_nothing_else() {
    let stage = Stage::open().await;
    let admin = &stage.house.admin;
    let change = super::tree::write("lifeboat.toml".to_owned(), "[operators]\nrequire_totp = true\n".to_owned());
    super::tree::edit(admin, &root(), "everybody shows a code", |_, _| Ok(vec![change.clone()])).await.unwrap();
    let home = Ask::new("GET", "/").cookie(&stage.token).send(&stage.house).await;
    assert_eq!((home.status(), location(&home)), (StatusCode::SEE_OTHER, "/account"));
    for (method, path) in
        [("GET", "/servers"), ("POST", "/clients/add"), ("POST", "/kill/release"), ("POST", "/account/keys/add"), ("GET", "/nope")]
    {
        let kept = Ask::new(method, path).cookie(&stage.token).send(&stage.house).await;
        assert_eq!((kept.status(), location(&kept)), (StatusCode::SEE_OTHER, "/account"), "{method} {path}");
    }
    let page = stage.get("/account").await;
    assert!(page.contains("This deployment asks for a second factor.") && page.contains("id=\"stop\""), "{page}");
    let stopped = Ask::new("POST", "/kill/engage")
        .cookie(&stage.token)
        .body("scope=everything&mode=full&reason=runaway")
        .send(&stage.house)
        .await;
    assert_eq!(stopped.status(), StatusCode::SEE_OTHER);
    assert!(admin.feed.kill().engaged(), "nobody is kept from stopping");
    stage.enrol().await;
    assert_eq!(Ask::new("GET", "/servers").cookie(&stage.token).send(&stage.house).await.status(), StatusCode::OK);
    let (status, html) = stage.post("/account/totp/remove", "").await;
    assert!(status == StatusCode::CONFLICT && html.contains("Replace it by another instead"), "{status}");
    assert!(!operators::must_enrol(admin, &stage.actor()));
}
