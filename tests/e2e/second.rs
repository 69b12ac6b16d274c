//! The second factor in a real browser: set up, signed in with, asked for again; on each screen, and without script. The codes are made by
//! Python's own library, not by ours.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::browser::Browser;
use crate::dashboard::{SHAPES, enter, look, see, sign_in};
use crate::harness::{Lifeboat, text};
use crate::pages::{
    ACCOUNT, ADMIN, AGAIN_CODE, AGAIN_PASSWORD, AGAIN_SUBMIT, CODE, CODE_SUBMIT, KEY_SUBMIT, LOGIN, LOGIN_NAME, LOGIN_PASSWORD,
    LOGIN_SUBMIT, NEW_CODES, NEW_KEY, OPERATOR_NAME, OPERATOR_PASSWORD, OPERATOR_SUBMIT, OPERATORS, PASSWORD, SESSION_ROW, STOP,
    TOTP_BEGIN, TOTP_CODE, TOTP_QR, TOTP_SECRET, TOTP_SUBMIT,
};

// RFC 6238 in a few lines of another language.
const TOTP: &str = "import base64,hmac,struct,sys
s=base64.b32decode(sys.argv[1].replace(' ',''));d=hmac.new(s,struct.pack('>Q',int(sys.argv[2])),'sha1').digest()
o=d[-1]&15;print('%06d'%((struct.unpack('>I',d[o:o+4])[0]&0x7fffffff)%1000000))";

fn step() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30
}

fn code(secret: &str, step: u64) -> String {
    let made = Command::new("python3").args(["-c", TOTP, secret, &step.to_string()]).output().unwrap();
    text(&made.stdout).trim().to_owned()
}

/// A code that was not used yet: of the step after the last, which counts half a minute early.
async fn next_code(secret: &str, used: &mut u64) -> String {
    while step() < *used {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    *used = (*used + 1).max(step());
    code(secret, *used)
}

/// Six minutes pass for every login while Lifeboat is down; the sessions go on.
fn age_logins(lifeboat: &mut Lifeboat) {
    const OLDER: &str = "import sqlite3,sys
with sqlite3.connect(sys.argv[1]) as db: db.execute('UPDATE sessions SET login_at = login_at - 360000')";
    lifeboat.kill_9();
    let aged = Command::new("python3").args(["-c", OLDER]).arg(lifeboat.data().join("state.db")).output().unwrap();
    assert!(aged.status.success(), "{}", text(&aged.stderr));
    lifeboat.restart();
}

async fn password(browser: &Browser) {
    browser.goto(LOGIN).await;
    browser.fill(LOGIN_NAME, ADMIN).await;
    browser.fill(LOGIN_PASSWORD, PASSWORD).await;
    browser.click(LOGIN_SUBMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_set_up_and_asked_for_on_every_screen() {
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    let browser = Browser::open(&lifeboat.admin).await;
    let mut faults = Vec::new();
    enter(&browser).await;
    look(&browser, ACCOUNT, "account-plain", &mut faults).await;
    // The page of the secret, and each shape of it without asking for another secret.
    browser.goto(ACCOUNT).await;
    browser.click(TOTP_BEGIN).await;
    let secret = browser.find(TOTP_SECRET).await.text().await.unwrap();
    for shape in SHAPES {
        browser.show_as(shape.0, shape.1).await;
        browser.find(TOTP_QR).await;
        see(&browser, shape, "totp-begin", &mut faults).await;
    }
    browser.fill(TOTP_CODE, "000000").await;
    browser.click(TOTP_SUBMIT).await;
    browser.find("#code-e").await;
    assert!(!browser.client.source().await.unwrap().contains(&secret), "the secret is shown once");
    for shape in SHAPES {
        browser.show_as(shape.0, shape.1).await;
        see(&browser, shape, "totp-wrong", &mut faults).await;
    }
    let mut used = step();
    browser.fill(TOTP_CODE, &code(&secret, used)).await;
    browser.click(TOTP_SUBMIT).await;
    let recovery = browser.find(NEW_CODES).await.text().await.unwrap();
    assert_eq!(recovery.lines().count(), 10, "{recovery}");
    for shape in SHAPES {
        browser.show_as(shape.0, shape.1).await;
        see(&browser, shape, "recovery-codes", &mut faults).await;
    }
    browser.goto(ACCOUNT).await;
    browser.click(KEY_SUBMIT).await;
    browser.find(NEW_KEY).await;
    for shape in SHAPES {
        browser.show_as(shape.0, shape.1).await;
        see(&browser, shape, "account-key", &mut faults).await;
    }
    look(&browser, ACCOUNT, "account-second", &mut faults).await;
    look(&browser, OPERATORS, "operators-second", &mut faults).await;
    // Signing in: the password, then the code.
    browser.client.delete_all_cookies().await.unwrap();
    password(&browser).await;
    for shape in SHAPES {
        browser.show_as(shape.0, shape.1).await;
        see(&browser, shape, "login-code", &mut faults).await;
    }
    browser.fill(CODE, "000000").await;
    browser.click(CODE_SUBMIT).await;
    browser.find("#code-fault").await;
    see(&browser, (375, "dark"), "login-code-wrong", &mut faults).await;
    browser.fill(CODE, &next_code(&secret, &mut used).await).await;
    browser.click(CODE_SUBMIT).await;
    browser.find(STOP).await;
    // What the console says of a page with status 401 is the browser's own remark on the status.
    let own = |fault: &String| !fault.contains("Failed to load resource") || !(fault.contains("401") || fault.contains("422"));
    faults.retain(own);
    assert_eq!(faults, Vec::<String>::new());
    let seen = lifeboat.json(&["operator", "sessions", "list", ADMIN]);
    assert!(seen["sessions"].as_array().unwrap().iter().any(|one| one["agent"].as_str().unwrap().contains("Chrome")), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_login_is_renewed_right_there_without_script() {
    let mut lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    let browser = Browser::open(&lifeboat.admin).await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    browser.show_as(375, "light").await;
    enter(&browser).await;
    browser.goto(ACCOUNT).await;
    browser.click(TOTP_BEGIN).await;
    let secret = browser.find(TOTP_SECRET).await.text().await.unwrap();
    let mut used = step();
    browser.fill(TOTP_CODE, &code(&secret, used)).await;
    browser.click(TOTP_SUBMIT).await;
    browser.find(NEW_CODES).await;
    age_logins(&mut lifeboat);
    assert_eq!(browser.client.get_all_cookies().await.unwrap().len(), 1, "one cookie");
    browser.goto(OPERATORS).await;
    browser.fill(OPERATOR_NAME, "mira").await;
    browser.fill(OPERATOR_PASSWORD, "a first password of mira").await;
    browser.click(OPERATOR_SUBMIT).await;
    browser.find(AGAIN_CODE).await;
    let mut faults = Vec::new();
    for shape in SHAPES {
        browser.show_as(shape.0, shape.1).await;
        browser.find(AGAIN_PASSWORD).await;
        browser.picture(&format!("again-{}-{}", shape.0, shape.1)).await;
    }
    browser.fill(AGAIN_PASSWORD, PASSWORD).await;
    browser.fill(AGAIN_CODE, &next_code(&secret, &mut used).await).await;
    browser.fill("main input[name=password]", "a first password of mira").await;
    browser.click(AGAIN_SUBMIT).await;
    browser.find("#operator-mira").await;
    faults.extend(browser.complaints().await.into_iter().filter(|said| !said.contains("403")));
    assert_eq!(faults, Vec::<String>::new());
    browser.goto(ACCOUNT).await;
    browser.find(SESSION_ROW).await;
}
